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

"""The demo's picture: host memory by number of guests."""

import os
import tempfile

from oslo_utils import units

from nova_flexmem import exception

#: (what, colour), from the bottom of a bar to its top.
_PARTS = (('base, shared once', '#2a9d8f'),
          ("QEMU's own", '#9aa5b1'),
          ('guest RAM, other', '#457b9d'),
          ('guest RAM, page cache', '#e76f51'))
_BAR_WIDTH = 0.38

#: The number of guests up to which the picture extrapolates.
EXTRAPOLATED_TO = 16


def prepare(folder):
    """See that the picture can be drawn into a folder, and make that.

    :raises: DemoFailed if matplotlib is not installed, or nothing can be
        written there
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as e:
        raise exception.DemoFailed(
            reason=f'{folder}: no picture, since a Python package is not'
            f' installed ({e}); install nova-flexmem[demo]')
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise exception.DemoFailed(
            reason=f'{folder}: no results can be written there'
            f' ({e.strerror}); give --output another folder')


def draw(path, stock, flexmem, title):
    """Draw a PNG: what was measured, and what more guests would take.

    :param path: in a folder that prepare() has seen to
    :param stock: KindFigures of the stock guests
    :param flexmem: KindFigures of the FlexMem guests, as many
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, (bars, lines) = pyplot.subplots(
        1, 2, figsize=(13, 5.2), layout='constrained')
    figure.suptitle(title, x=0.01, ha='left', fontsize=11)
    _draw_bars(bars, stock, flexmem)
    _draw_lines(lines, stock, flexmem)
    for axes in (bars, lines):
        axes.set_ylabel('host memory in MiB')
        axes.margins(y=0.15)
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_bars(axes, stock, flexmem):
    """Draw what the first guest takes, the first two, and so on."""
    numbers = range(1, len(stock.guests) + 1)
    for name, kind, side in (('stock', stock, -1), ('FlexMem', flexmem, 1)):
        places = [number + side * (_BAR_WIDTH / 2 + 0.02)
                  for number in numbers]
        bottom = [0.0] * len(places)
        for (label, colour), heights in zip(
                _PARTS, zip(*(parts(kind, number) for number in numbers))):
            axes.bar(places, heights, _BAR_WIDTH, bottom, color=colour,
                     label=label if side < 0 else None)
            bottom = [a + b for a, b in zip(bottom, heights)]
        for place, top in zip(places, bottom):
            axes.annotate(f'{name}\n{top:.0f}', (place, top), (0, 3),
                          textcoords='offset points', ha='center',
                          va='bottom', fontsize=9)
    axes.set_xticks(numbers, [f'{number} VM{"s" * (number > 1)}'
                              for number in numbers])
    axes.set_title('measured', loc='left', fontsize=10)
    axes.legend(reverse=True, frameon=False, loc='upper left')


def _draw_lines(axes, stock, flexmem):
    """Draw the sums, and on to more guests by what each further one takes."""
    measured = range(1, len(stock.guests) + 1)
    further = range(measured[-1], max(EXTRAPOLATED_TO, measured[-1]) + 1)
    for name, kind, colour in (('stock', stock, '#e76f51'),
                               ('FlexMem', flexmem, '#2a9d8f')):
        sums = [sum(parts(kind, number)) for number in measured]
        slope = kind.marginal_bytes / units.Mi
        axes.plot(measured, sums, 'o-', color=colour,
                  label=f'{name}, measured')
        if len(further) > 1:
            line = [sums[-1] + slope * (number - measured[-1])
                    for number in further]
            axes.plot(further, line, '--', color=colour,
                      label=f'{name}, extrapolated: {slope:.0f} MiB for each'
                      ' further VM')
            sums = line
        axes.annotate(f'{sums[-1]:.0f}', (further[-1], sums[-1]), (5, 0),
                      textcoords='offset points', va='center', fontsize=9)
    axes.set_xlabel('VMs')
    axes.set_xticks(range(1, further[-1] + 1))
    axes.set_ylim(bottom=0)
    axes.set_title('measured (dots), extrapolated (dashes)', loc='left',
                   fontsize=10)
    axes.legend(frameon=False, loc='upper left')


def parts(kind, number):
    """Return the heights of a bar's parts in MiB, for the first guests.

    What a guest has in its page cache is part of its RAM, as the guest tells.
    """
    guests = kind.guests[:number]
    cache = sum(min(guest.page_cache_after.files_bytes
                    + guest.page_cache_after.metadata_bytes,
                    guest.usage.ram_bytes) for guest in guests)
    ram = sum(guest.usage.ram_bytes for guest in guests)
    qemu = sum(guest.qemu_bytes for guest in guests)
    return [size / units.Mi for size in
            (kind.shared_bytes[number - 1], qemu, ram - cache, cache)]
