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

"""The memory of a host as metrics in Prometheus's text format."""

import prometheus_client
from prometheus_client import core

_INSTANCE = (
    ('guest_ram', 'Guest RAM that is backed by memory of this instance alone',
     lambda each: each.ram_bytes),
    ('qemu', 'All other anonymous memory of the QEMU process',
     lambda each: each.qemu_bytes),
    ('page_tables', 'Page tables of the QEMU process',
     lambda each: each.page_tables_bytes),
    ('swap', 'Memory of the QEMU process that is swapped out',
     lambda each: each.swap_bytes),
    ('base_mapped', 'Pages of the base in the page table of the QEMU process,'
     ' fault-around included', lambda each: each.base_mapped_bytes),
    ('base_used', 'Pages of the base that the guest used while it was watched',
     lambda each: each.base_used_bytes),
    ('page_structs', 'Guest memory for page structs of the FlexMem device',
     lambda each: each.page_structs_bytes),
    ('guest_page_cache', 'Page cache in the guest, from its balloon',
     lambda each: each.guest_cache_bytes))

_BASE = (
    ('resident', "Pages of the base in the host's page cache",
     lambda base: base.resident_bytes),
    ('mapped', 'Pages of the base that any instance has mapped, each once',
     lambda base: base.mapped_bytes),
    ('saved_at_least', 'Sum of the pages that each instance used of the base'
     ' while it was watched, less the pages mapped',
     lambda base: base.saved_at_least_bytes),
    ('saved_at_most', 'Sum of the pages that each instance has mapped of the'
     ' base, less the pages mapped', lambda base: base.saved_at_most_bytes))


class _Collector:
    """Generates the metrics of an accounting.HostMemory."""

    def __init__(self, host_memory):
        self._host_memory = host_memory

    def collect(self):
        """Yield the metric families, as prometheus_client asks for them."""
        yield from _families('instance', _INSTANCE, {
            (each.uuid, each.name, str(each.pid), each.base or ''): each
            for each in self._host_memory.instances},
            'uuid', 'name', 'pid', 'base')
        yield from _families('base', _BASE, {
            (base.key,): base for base in self._host_memory.bases}, 'base')


def _families(kind, figures, sources, *labels):
    """Yield a metric family for each figure.

    :param kind: 'instance' or 'base', for the metrics' names
    :param figures: _INSTANCE or _BASE
    :param sources: {values of the labels: what the figures are of}
    :param labels: names of the labels
    """
    for name, help_text, get in figures:
        family = core.GaugeMetricFamily(f'nova_flexmem_{kind}_{name}_bytes',
                                        help_text, labels=labels)
        for values, each in sources.items():
            size_bytes = get(each)
            if size_bytes is not None:
                family.add_metric(values, size_bytes)
        yield family


def text(host_memory):
    """Return the metrics of an accounting.HostMemory, text."""
    return prometheus_client.generate_latest(_registry(host_memory)).decode()


def write(host_memory, path):
    """Write the metrics of an accounting.HostMemory to a file.

    The file is replaced in one step, so a reader never sees half of it.

    :raises: OSError
    """
    prometheus_client.write_to_textfile(path, _registry(host_memory))


def _registry(host_memory):
    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(host_memory))
    return registry
