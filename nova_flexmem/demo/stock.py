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

"""A stock guest: the domain that Nova's libvirt driver makes from an image.

The domain is what an unmodified Nova generates for a small flavor with a
config drive, less what costs both kinds of guests the same (VNC, network):
machine type pc, which is Nova's default for x86_64, firmware and boot loader,
a qcow2 overlay on the raw image with cache none, the config drive as an IDE
CD, serial console with a log, and a balloon by which the guest hands free
pages back and reports what it uses. The second serial port is the demo's own.
"""

import dataclasses
import os

from lxml import etree

from nova_flexmem import process

#: As Nova's [libvirt] tb_cache_size: TCG would keep up to 1 GiB of translated
#: code per guest, which says nothing about guests on KVM.
_TCG_CACHE_MIB = 64


@dataclasses.dataclass(frozen=True)
class Flavor:
    """What a guest gets.

    :ivar cpu_model: a CPU model of libvirt's; None means the host model, as
        with Nova
    """

    ram_mib: int
    disk_bytes: int
    cpu_model: str | None = None


def create_disk(path, image, flavor):
    """Create the root disk of a stock guest: an overlay on a raw image."""
    process.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw',
                '-b', image, path, str(flavor.disk_bytes), timeout_s=60)


def domain_xml(*, name, uuid, domain_type, flavor, folder,
               disk_format, config_drive):
    """Return the XML of a stock domain.

    :param domain_type: kvm or qemu
    :param folder: a Folder with the guest's files
    :param disk_format: of its root disk, qcow2 or raw
    :param config_drive: whether it has one
    """
    domain = etree.Element('domain', type=domain_type)
    _child(domain, 'name', name)
    _child(domain, 'uuid', uuid)
    _child(domain, 'memory', str(flavor.ram_mib), unit='MiB')
    _child(domain, 'vcpu', '1')
    system = _child(domain, 'os')
    _child(system, 'type', 'hvm', arch='x86_64', machine='pc')
    _child(system, 'boot', dev='hd')
    features = _child(domain, 'features')
    for feature in ('acpi', 'apic', 'vmcoreinfo'):
        _child(features, feature)
    if domain_type == 'qemu':
        _child(_child(features, 'tcg'), 'tb-cache', str(_TCG_CACHE_MIB),
               unit='MiB')
    _cpu(domain, flavor.cpu_model)
    clock = _child(domain, 'clock', offset='utc')
    _child(clock, 'timer', name='pit', tickpolicy='delay')
    _child(clock, 'timer', name='rtc', tickpolicy='catchup')
    _child(clock, 'timer', name='hpet', present='no')
    devices = _child(domain, 'devices')
    _disk(devices, 'disk', folder.disk, disk_format, 'vda', 'virtio')
    if config_drive:
        _disk(devices, 'cdrom', folder.config_drive, 'raw', 'hda', 'ide')
    console = _child(devices, 'serial', type='pty')
    _child(console, 'log', file=folder.console, append='on')
    _child(console, 'target', port='0')
    shell = _child(devices, 'serial', type='unix')
    _child(shell, 'source', mode='bind', path=folder.shell)
    _child(shell, 'target', port='1')
    # GRUB gets no further than its first character without a video BIOS.
    video = _child(devices, 'video')
    _child(video, 'model', type='virtio')
    rng = _child(devices, 'rng', model='virtio')
    _child(rng, 'backend', '/dev/urandom', model='random')
    balloon = _child(devices, 'memballoon', model='virtio', autodeflate='on',
                     freePageReporting='on')
    # [libvirt] mem_stats_period_seconds
    _child(balloon, 'stats', period='10')
    return etree.tostring(domain, encoding='unicode', pretty_print=True)


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of one guest."""

    path: str

    @property
    def disk(self):
        return os.path.join(self.path, 'disk')

    @property
    def config_drive(self):
        return os.path.join(self.path, 'disk.config')

    @property
    def console(self):
        return os.path.join(self.path, 'console.log')

    @property
    def shell(self):
        return os.path.join(self.path, 'shell')


def _disk(devices, device, path, disk_format, target, bus):
    disk = _child(devices, 'disk', type='file', device=device)
    _child(disk, 'driver', name='qemu', type=disk_format, cache='none')
    _child(disk, 'source', file=path)
    _child(disk, 'target', dev=target, bus=bus)
    if device == 'cdrom':
        _child(disk, 'readonly')


def _cpu(domain, model):
    if model is None:
        _child(domain, 'cpu', mode='host-model', match='exact')
    else:
        # what of the model the host can't do is left out
        cpu = _child(domain, 'cpu', mode='custom', match='exact',
                     check='none')
        _child(cpu, 'model', model)


def _child(parent, tag, text=None, **attributes):
    child = etree.SubElement(parent, tag, attributes)
    child.text = text
    return child
