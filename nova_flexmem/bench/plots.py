# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The pictures of a report, drawn from a benchmark's results."""

import collections
import os

import matplotlib
from matplotlib import pyplot
from matplotlib import ticker
from oslo_utils import units

_COLOURS = {'stock': '#e76f51', 'flexmem': '#2a9d8f'}
_OTHER_COLOURS = ('#457b9d', '#e9c46a', '#9aa5b1', '#6d597a')

#: Parts of a bar from the bottom: (label, colour, function of a row).
_PARTS = (
    ('base, mapped (reclaimable)', '#b7e4c7', lambda row: row['base_mapped']),
    ("QEMU's own", '#9aa5b1', lambda row: row['qemu']),
    ('KSM pages', '#6d597a', lambda row: row['ksm_pages']))
_RAM_PARTS = (
    ('guest: kernel', '#1d3557',
     lambda row: row['kernel, private'] - row['page_structs']),
    ('guest: page structs of the device', '#2a9d8f',
     lambda row: row['page_structs']),
    ('guest: anonymous', '#457b9d', lambda row: row['anonymous, private']),
    ('guest: free, not handed back', '#cfd8dc',
     lambda row: row['free, private']),
    ('guest: page cache', '#e76f51', lambda row: row['page cache, private']))


def draw(results, folder):
    """Draw each picture that the results have figures for.

    :param results: results.Results
    :param folder: where to have the PNG files
    :returns: [(file name, caption)]
    """
    matplotlib.use('Agg')
    pictures = []
    for name, caption, draw_one in _PICTURES[results.bench]:
        figure, axes = pyplot.subplots(figsize=(9, 5), layout='constrained')
        axes.spines[['top', 'right']].set_visible(False)
        if draw_one(axes, results):
            figure.savefig(os.path.join(folder, name), dpi=120)
            pictures.append((name, caption))
        pyplot.close(figure)
    return pictures


def _by_count(axes, results):
    """Private memory by number of VMs: lines, one for each kind."""
    for kind, colour in _COLOURS.items():
        rows = [row for row in results.series['memory']
                if row['kind'] == kind and row['ksm'] == 'off']
        counts = [row['guests'] for row in rows]
        for label, value, style in (
                ('guest RAM', lambda row: row['ram'], 'o-'),
                ("guest RAM and QEMU's own",
                 lambda row: row['ram'] + row['qemu'], 's--')):
            axes.plot(counts, [value(row) / units.Mi for row in rows], style,
                      color=colour, label=f'{kind}: {label}')
    axes.set_xlabel('VMs')
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_ylabel('private host memory in MiB')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return True


def _breakdown(axes, results):
    """What the memory is used for, stacked, where page types are known."""
    rows = [row for row in results.series['memory']
            if 'kernel, private' in row]
    rows.sort(key=lambda row: row['guests'])
    labels = [f'{row["kind"]}\n{_WAYS[row["ksm"]]}' for row in rows]
    bottom = [0.0] * len(rows)
    for label, colour, value in _PARTS + _RAM_PARTS:
        heights = [value(row) / units.Mi / row['guests'] for row in rows]
        axes.bar(range(len(rows)), heights, 0.7, bottom, color=colour,
                 label=label)
        bottom = [a + b for a, b in zip(bottom, heights)]
    for place, (row, top) in enumerate(zip(rows, bottom)):
        axes.annotate(f'{top:.0f}', (place, top), (0, 3), ha='center',
                      textcoords='offset points', fontsize=9)
    axes.set_xticks(range(len(rows)),
                    [f'{label}\n{row["guests"]} VMs'
                     for label, row in zip(labels, rows)], fontsize=8)
    axes.set_ylabel('host memory per VM in MiB')
    axes.legend(reverse=True, frameon=False, fontsize=8,
                loc='upper left', bbox_to_anchor=(1, 1))
    return bool(rows)


def _ksm(axes, results):
    """The host's anonymous memory over time while KSM converges."""
    lines = collections.defaultdict(list)
    for row in results.series['ksm']:
        lines[row['kind'], row['guests']].append(row)
    for (kind, count), rows in lines.items():
        if count != max(row['guests'] for row in results.series['ksm']):
            continue
        seconds = [row['seconds'] for row in rows]
        axes.plot(seconds, [row['private'] / units.Mi for row in rows],
                  color=_COLOURS[kind], label=f'{kind} + KSM, {count} VMs')
        axes.axhline(rows[0]['private'] / units.Mi, color=_COLOURS[kind],
                     linestyle=':', label=f'{kind} without KSM')
    axes.set_xlabel('seconds since KSM began to scan')
    axes.set_ylabel("the host's anonymous memory in MiB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return bool(lines)


def _bars(axes, results):
    """Medians of the figures relative to stock, with their ranges."""
    return _draw_bars(axes, results.figures)


def _latencies(axes, results):
    """As _bars, of the figures that are times, over a wide range."""
    return _draw_wide(axes, [figure for figure in results.figures
                             if figure.unit in _TIMES])


def _speeds(axes, results):
    """As _latencies, of those that are speeds."""
    return _draw_wide(axes, [figure for figure in results.figures
                             if figure.unit.endswith('/s')])


def _draw_wide(axes, figures):
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    return _draw_bars(axes, figures)


def _draw_bars(axes, figures):
    figures = [figure for figure in figures if figure.median('stock')]
    names = sorted({kind for figure in figures for kind in figure.samples},
                   key=lambda kind: (kind != 'stock', kind))
    width = 0.8 / max(1, len(names))
    others = iter(_OTHER_COLOURS * len(names))
    for number, kind in enumerate(names):
        colour = _COLOURS.get(kind) or next(others)
        for place, figure in enumerate(figures):
            values, to = figure.samples.get(kind), figure.median('stock')
            if values:
                middle = figure.median(kind) / to
                axes.barh(place + number * width, middle - 1, width * 0.9,
                          left=1, color=colour,
                          label=None if place or kind == 'stock' else kind,
                          xerr=[[middle - min(values) / to],
                                [max(values) / to - middle]],
                          error_kw={'elinewidth': 0.8})
    axes.set_yticks([place + 0.4 - width / 2
                     for place in range(len(figures))],
                    [f'{figure.name} ({figure.unit})' for figure in figures],
                    fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color='black', linewidth=0.8, label='stock')
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
    axes.set_xlabel('relative to the median of stock')
    axes.legend(frameon=False)
    return bool(figures)


def _month(axes, results, label, value):
    """A line for each kind over the days of a simulated month."""
    for kind, colour in _COLOURS.items():
        rows = [row for row in results.series['month'] if row['kind'] == kind]
        axes.plot([row['at_s'] / 86400 for row in rows],
                  [value(row) for row in rows],
                  color=colour, label={
                      'stock': "Nova's weighers",
                      'flexmem': 'with the FlexMem weigher'}[kind])
    axes.set_xlabel('day')
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    return True


def _saved(axes, results):
    """Memory saved in a cloud over a month."""
    axes.axhline(0, color='black', linewidth=0.8)
    return _month(axes, results, 'memory saved in GiB',
                  lambda row: row['saved_mib'] / 1024)


def _bases_in_use(axes, results):
    """Bases that take memory in a cloud over a month."""
    done = _month(axes, results, 'bases in use on all hosts',
                  lambda row: row['bases'])
    axes.set_ylim(bottom=0)
    return done


def _spread(axes, results):
    """How evenly hosts are filled over a month."""
    done = _month(axes, results, 'largest load of a host / mean load',
                  lambda row: row['largest'] / row['mean'])
    axes.set_ylim(bottom=1)
    return done


_TIMES = ('us', 'ms', 's')

_WAYS = {'off': 'no KSM', 'always': '+ KSM', 'once': '+ KSM once'}

_PICTURES = {
    'density': (
        ('by-count.png', 'Private host memory by number of VMs', _by_count),
        ('breakdown.png', 'What it is used for, per VM', _breakdown),
        ('ksm.png', 'Memory over time while KSM merges', _ksm)),
    'placement': (
        ('saved.png', 'Memory saved in the cloud', _saved),
        ('bases.png', 'Bases in use: fewer are better', _bases_in_use),
        ('spread.png', 'Fullest host against the mean', _spread)),
    'fit': (('fit.png', 'VMs that fit', _bars),),
    'boot': (('boot.png', 'Times relative to stock', _bars),),
    'io': (
        ('latencies.png', 'Latencies relative to stock: less is better',
         _latencies),
        ('speeds.png', 'Speeds relative to stock: more is better', _speeds))}
