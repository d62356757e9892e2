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

"""A host's memory figures in Prometheus's text format."""

import prometheus_client
from prometheus_client import core

_INSTANCE = (
    ('guest_ram', 'RAM of the guest that is backed by memory of this instance'
     ' alone', lambda each: each.ram_bytes),
    ('qemu', 'All other anonymous memory of the QEMU process',
     lambda each: each.qemu_bytes),
    ('page_tables', 'Page tables of the QEMU process',
     lambda each: each.page_tables_bytes),
    ('swap', 'Memory of the QEMU process that is swapped out',
     lambda each: each.swap_bytes),
    ('base_mapped', 'Pages of the base in the page table of the QEMU process,'
     ' fault-around included', lambda each: each.base_mapped_bytes),
    ('base_used', 'Pages of the base that were used while it was watched',
     lambda each: each.base_used_bytes),
    ('page_structs', 'What the guest keeps for the pages of its FlexMem'
     ' device', lambda each: each.page_structs_bytes),
    ('guest_page_cache', 'Page cache in the guest, as its balloon has it',
     lambda each: each.guest_cache_bytes))

_BASE = (
    ('resident', 'What the host\'s page cache holds of the base',
     lambda base: base.resident_bytes),
    ('mapped', 'Pages of the base that any instance has mapped, each once',
     lambda base: base.mapped_bytes),
    ('saved_at_least', 'What instances used of the base while they were'
     ' watched, less the pages mapped',
     lambda base: base.saved_at_least_bytes),
    ('saved_at_most', 'What instances have mapped of the base, less the pages'
     ' mapped', lambda base: base.saved_at_most_bytes))


class _Collector:

    def __init__(self, taken):
        self._taken = taken

    def collect(self):
        yield from _families('instance', _INSTANCE, {
            (each.uuid, each.name, str(each.pid), each.base or ''): each
            for each in self._taken.instances}, 'uuid', 'name', 'pid', 'base')
        yield from _families('base', _BASE, {
            (base.key,): base for base in self._taken.bases}, 'base')


def _families(kind, figures, found, *labels):
    for name, text, get in figures:
        family = core.GaugeMetricFamily(f'nova_flexmem_{kind}_{name}_bytes',
                                        text, labels=labels)
        for values, each in found.items():
            size_bytes = get(each)
            if size_bytes is not None:
                family.add_metric(values, size_bytes)
        yield family


def text(taken):
    """Return an accounting.HostMemory as text."""
    return prometheus_client.generate_latest(_registry(taken)).decode()


def write(taken, path):
    """Write an accounting.HostMemory to a file, which is replaced at once.

    :raises: OSError
    """
    prometheus_client.write_to_textfile(path, _registry(taken))


def _registry(taken):
    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(taken))
    return registry
