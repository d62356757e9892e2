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

"""What the density benchmark sees of a host's memory, and figures of it."""

import dataclasses

from oslo_utils import units

from nova_flexmem.bench import pagetypes
from nova_flexmem.bench import results
from nova_flexmem.bench import slope
from nova_flexmem.demo import kinds


@dataclasses.dataclass
class Sample:
    """What all guests of a kind hold, taken at one time, in bytes.

    :ivar ksm: off, always (and converged), or once
    :ivar ram: private memory of guests' RAM
    :ivar qemu: QEMU's own, page tables included
    :ivar translated: of qemu, code that QEMU translated; 0 with KVM
    :ivar ksm_pages: what KSM keeps for all pages that it merged
    :ivar base_mapped: of the base, each page once; reclaimable
    :ivar page_structs: of ram, what guests keep for the device's pages
    :ivar types: of ram, {type: pagetypes.Part}; empty where not looked at
    :ivar explained: of ram, {kind of explain.KINDS: pagetypes.Part}, where
        that was asked for
    :ivar estimated: of stock guests without KSM, what ram would be with
        FlexMem (nova-flexmem host estimate); None where not estimated
    """

    kind: str
    ksm: str
    guests: int
    ram: int
    qemu: int
    translated: int
    ksm_pages: int
    base_mapped: int
    page_structs: int
    types: dict[str, pagetypes.Part]
    explained: dict[str, pagetypes.Part] = dataclasses.field(
        default_factory=dict)
    estimated: int | None = None

    @property
    def not_reclaimable(self):
        return self.ram + self.qemu + self.ksm_pages

    def row(self):
        """Return it as a dict of numbers and texts."""
        row = {field.name: getattr(self, field.name)
               for field in dataclasses.fields(self)
               if field.name not in ('types', 'explained')}
        parts = self.types | {f'explained: {name}': part
                              for name, part in self.explained.items()}
        for name, part in parts.items():
            row[f'{name}, private'] = part.private_bytes
            row[f'{name}, merged'] = part.merged_bytes
        return row


@dataclasses.dataclass(frozen=True)
class Scan:
    """What KSM took at one number of guests of a kind.

    :ivar way: always, or once
    :ivar seconds: to converge, or until the bounded scan ended
    :ivar cpu_s: of ksmd until then
    :ivar cpu_s_per_hour: of ksmd from then on
    """

    kind: str
    way: str
    guests: int
    seconds: float
    cpu_s: float
    cpu_s_per_hour: float


@dataclasses.dataclass(frozen=True)
class Seen:
    """All that one run saw.

    :ivar over_time: while KSM converged
    :ivar boots: {kind: seconds from power-on to multi-user}
    """

    samples: list[Sample]
    scans: list[Scan]
    over_time: list[dict]
    boots: dict[str, list[float]]


def figures(seen, ksm_counts):
    """Return the results.Figures of what was seen.

    :param seen: Seen
    :param ksm_counts: numbers of guests at which KSM was measured
    """
    figures = []
    counts = {each.guests for each in seen.samples}
    for name, value in (
            ('guest RAM per further VM', lambda each: each.ram),
            ('guest RAM and QEMU\'s own per further VM',
             lambda each: each.ram + each.qemu),
            ('guest RAM and QEMU\'s own, no translated code, per further VM',
             lambda each: each.ram + each.qemu - each.translated)):
        fits = {kind: slope.fit([(each.guests, value(each) / units.Mi)
                                 for each in seen.samples
                                 if each.kind == kind and each.ksm == 'off'])
                for kind in kinds.KINDS} if len(counts) > 1 else {}
        figures.append(results.Figure(f'{name} (slope)', 'MiB', {
            kind: [fit.value] for kind, fit in fits.items()}))
        figures.append(results.Figure(f'{name} (standard error)', 'MiB', {
            kind: [fit.error] for kind, fit in fits.items()
            if fit.error is not None}, compared=False))
    for count in sorted(counts):
        samples = {
            each.kind: [(each.estimated if each.kind == 'stock' else each.ram)
                        / units.Mi] for each in seen.samples
            if each.guests == count and each.ksm == 'off'
            and (each.kind != 'stock' or each.estimated is not None)}
        if 'stock' in samples:
            figures.append(results.Figure(
                f'{count} VMs: guest RAM with FlexMem, estimated from stock'
                ' VMs and then measured', 'MiB', samples))
    for count in ksm_counts:
        figures += _at(seen, count)
        figures += _explained(seen, count)
    figures.append(results.Figure('power-on to multi-user', 's', seen.boots))
    return figures


def _at(seen, count):
    """Return the Figures for a number of guests with and without KSM."""
    samples = {_column(each.kind, each.ksm): each for each in seen.samples
               if each.guests == count and each.types}
    scans = {_column(each.kind, each.way): each for each in seen.scans
             if each.guests == count}

    def of_samples(name, value, chosen=samples):
        return results.Figure(f'{count} VMs: {name}', 'MiB', {
            column: [value(each) / units.Mi]
            for column, each in chosen.items()})

    def of_scans(name, unit, value):
        return results.Figure(f'{count} VMs: {name}', unit, {
            column: [value(each)] for column, each in scans.items()})

    by_type = [
        of_samples(f'guest {name}, private',
                   lambda each, name=name: each.types[name].private_bytes)
        for name in pagetypes.TYPES]
    duplicates = {each.kind: each for each in samples.values()
                  if each.ksm == 'always'}
    return [
        of_samples('not reclaimable', lambda each: each.not_reclaimable),
        *by_type,
        of_samples('of guest kernel: page structs of the device',
                   lambda each: each.page_structs),
        of_samples("QEMU's own", lambda each: each.qemu),
        of_samples("of QEMU's own: translated code",
                   lambda each: each.translated),
        of_samples('kept by KSM for what it merged',
                   lambda each: each.ksm_pages),
        of_samples('base mapped (reclaimable)',
                   lambda each: each.base_mapped),
        of_samples('guest page cache that KSM finds redundant',
                   lambda each: each.types['page cache'].merged_bytes,
                   duplicates),
        of_scans('KSM, until it finds no more, or ends', 's',
                 lambda each: each.seconds),
        of_scans("ksmd's processor time until then", 's',
                 lambda each: each.cpu_s),
        of_scans("ksmd's processor time in each hour after", 's',
                 lambda each: each.cpu_s_per_hour)]


def _explained(seen, count):
    """Return the Figures of what one guest has, by kind of page."""
    samples = {_column(each.kind, each.ksm): each for each in seen.samples
               if each.guests == count and each.explained}
    names = next((list(each.explained) for each in samples.values()), [])
    return [results.Figure(f'{count} VMs, one of them: {name}', 'MiB', {
        column: [each.explained[name].private_bytes / count / units.Mi]
        for column, each in samples.items()}) for name in names]


def _column(kind, way):
    return kind + {'off': '', 'always': ' + KSM', 'once': ' + KSM once'}[way]
