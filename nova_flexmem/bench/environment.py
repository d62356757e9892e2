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

"""The machine and the software that a benchmark ran on."""

import os
import platform
import time

import libvirt
from lxml import etree
from oslo_utils import units

from nova_flexmem import accel
from nova_flexmem.demo import hypervisor
from nova_flexmem.host import hugepages
from nova_flexmem.host import memory


def describe(ready):
    """Return the facts about this machine, {name: text}.

    :param ready: the kinds.Kinds that guests are made with
    """
    return {
        'date': time.strftime('%Y-%m-%d %H:%M %Z'),
        'kernel': platform.release(),
        'processors': str(os.cpu_count()),
        'memory': f'{memory.host_total_bytes() / units.Gi:.1f} GiB',
        'QEMU': _version(ready.launcher.connection.getVersion()),
        'libvirt': _version(libvirt.getVersion()),
        'accelerator': 'KVM' if accel.kvm_works() else
                       'TCG (emulation: ratios tell more than times)',
        'CPU model of guests': ready.options.cpu_model or _host_model(
            ready.launcher.connection),
        'transparent huge pages': hugepages.mode(),
        'pages that khugepaged fills in': str(hugepages.max_filled_pages()),
        'read-ahead of the disk': _read_ahead(ready.raw),
        'load when it began': f'{os.getloadavg()[0]:.1f}'}


def _version(number):
    # as libvirt counts: major * 1,000,000 + minor * 1,000 + release
    return (f'{number // 1_000_000}.{number // 1_000 % 1_000}'
            f'.{number % 1_000}')


def _host_model(connection):
    """Return which CPU model libvirt gives a guest that has the host's."""
    capabilities = connection.getDomainCapabilities(
        virttype=hypervisor.domain_type())
    model = etree.fromstring(capabilities).findtext(
        "cpu/mode[@name='host-model']/model")
    return f'{model}, the host model'


def _read_ahead(path):
    """Return how far the host reads ahead in a file, for its whole disk."""
    device = os.stat(path).st_dev
    # Documentation/ABI/stable/sysfs-class-bdi
    try:
        with open(f'/sys/class/bdi/{os.major(device)}:{os.minor(device)}'
                  '/read_ahead_kb', encoding='ascii') as f:
            return f'{f.read().strip()} KiB'
    except FileNotFoundError:
        return 'not known'
