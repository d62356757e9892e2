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

"""The libvirt domain of a FlexMem guest, made from a stock one.

The guest boots the base's kernel and initramfs, has root.pmem as its FlexMem
device and its root disk as the delta. The rest of the XML stays as it was.
"""

import dataclasses
import os

from lxml import etree
from stevedore import driver
from stevedore import exception as stevedore_exception

from nova_flexmem import exception
from nova_flexmem.guest import basedisk
from nova_flexmem.guest import cmdline
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.guest import fitness
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import leandomain
from nova_flexmem.guest import memory
from nova_flexmem.guest import qemuargs
from nova_flexmem.guest import xmledit
from nova_flexmem.store import basefiles

#: The serial by which the guest's initramfs knows its delta.
DELTA_SERIAL = 'flexmem-delta'

#: What root.pmem's size must be a multiple of: the align=2M of its mapping.
_ALIGN_BYTES = 2 << 20


@dataclasses.dataclass(frozen=True)
class Boot:
    """What a guest boots from: a base, as its domain needs to know it."""

    #: path of the base's root.pmem
    root_pmem: str
    #: size of root.pmem, a multiple of 2 MiB
    size_bytes: int
    #: path of the base's kernel
    kernel: str
    #: path of the base's initramfs
    initramfs: str
    #: the image's own kernel command line, without root= and the like
    kernel_args: str
    #: UUID in root.pmem's pfn superblock
    base_uuid: str
    #: of root.pmem's layout: the first 32 hex digits of its SHA-256
    layout: str
    #: 'erofs' or 'ext4'
    rootfs: str
    #: as uname -r says; '' if it is not known
    kernel_release: str = ''

    @classmethod
    def of(cls, built, boot_folder=None):
        """Return what guests of a base boot from.

        :param built: the basefiles.Base
        :param boot_folder: what bootfiles.folder() returned; None for the
            boot files that the base was built with
        """
        manifest = built.manifest
        boot_folder = boot_folder or built.path
        return cls(
            root_pmem=built.file(basefiles.ROOT_PMEM),
            size_bytes=manifest.files[basefiles.ROOT_PMEM].size_bytes,
            kernel=os.path.join(boot_folder, basefiles.KERNEL),
            initramfs=os.path.join(boot_folder, basefiles.INITRAMFS),
            kernel_args=manifest.kernel_args, base_uuid=manifest.uuid,
            layout=manifest.files[basefiles.ROOT_PMEM].sha256[:32],
            rootfs=manifest.rootfs, kernel_release=manifest.kernel_release)

    @property
    def files(self):
        """The paths of all files that a guest boots from."""
        return self.root_pmem, self.kernel, self.initramfs


def transform(xml, boot, *, device='nvdimm', writes='disk', direct_paths=(),
              extra_kernel_args='', reporting_order=0, switch=(),
              kernel='base', host_devices=False, without=()):
    """Return the FlexMem domain XML for a stock one, text.

    :param xml: libvirt domain XML, text
    :param boot: the Boot
    :param device: name of a driver in namespace nova_flexmem.device
    :param writes: 'disk' makes the root disk the delta, 'memory' has zeros
        in its place
    :param direct_paths: folders in the guest that lie directly on the delta
    :param extra_kernel_args: arguments appended to the kernel command line
    :param reporting_order: the guest returns free memory through its balloon,
        in blocks of at least 2**reporting_order pages; None: it returns none,
        as if its memory is locked, pinned or in huge pages
    :param switch: arguments of an ignoreshared.Switch, left out where the
        domain cannot be moved with them
    :param kernel: 'own' for a guest that may start a kernel installed in it,
        else 'base'
    :param host_devices: whether the domain may have devices of the host
    :param without: parts of lean.PARTS that the guest does without
    :raises: DomainRefused if the domain cannot have a FlexMem device
    """
    root = xmledit.parse(xml)
    try:
        if _is_flexmem(root):
            raise ValueError('it is a FlexMem domain already; use the'
                             ' stock domain')
        fitness.check(root, host_devices)
        _check_boot(boot)
        memory.check_addresses(root, boot.size_bytes)
        memory.check_lockable(root, boot.size_bytes)
        if not memory.is_returnable(root):
            reporting_order = None
        line = cmdline.build(boot, writes, direct_paths, reporting_order,
                             extra_kernel_args,
                             not memory.ram_is_below_4_gib(root), kernel,
                             int(root.findtext('vcpu', '1')), without,
                             emulated=root.get('type') == 'qemu')
        _set_delta(root, writes, boot)
        _unset_boot(root)
        _set_features(root)
        leandomain.apply(root, without)
        dimm_slot = memory.make_room(root, boot.size_bytes)
        if reporting_order is not None:
            _set_free_page_reporting(root)
        loaded = _load(device)
        if (not loaded.movable or ignoreshared.is_ram_shared(root)
                or fitness.has_host_device(root)):
            switch = ()
        qemuargs.add(root, [
            # not in <os>: libvirt would hand the files of <kernel> and
            # <initrd> to QEMU's user while a guest runs, who could then
            # write to what all other guests boot from
            '-kernel', boot.kernel, '-initrd', boot.initramfs,
            '-append', line,
            *flexmem_device.memory_backend(boot.root_pmem, boot.size_bytes),
            *loaded.arguments(fitness.chipset(root), dimm_slot), *switch])
    except ValueError as e:
        raise exception.DomainRefused(
            domain=root.findtext('name') or '(unnamed)', reason=str(e))
    return xmledit.serialize(root)


def _is_flexmem(root):
    return (any(flexmem_device.BACKEND_ID in value
                for value in qemuargs.values(root)) or
            root.xpath('devices/disk/serial[.=$serial]', serial=DELTA_SERIAL))


def _check_boot(boot):
    for path in boot.files:
        if not os.path.isabs(path) or not path.isprintable():
            raise ValueError(f'{path!r} cannot be in a domain; keep the base'
                             ' store at an absolute path without control'
                             ' characters')
    if boot.size_bytes <= 0 or boot.size_bytes % _ALIGN_BYTES:
        raise ValueError(f'{boot.root_pmem} is {boot.size_bytes} bytes long,'
                         ' not a multiple of 2 MiB; build the base again')


def _load(name):
    try:
        return driver.DriverManager('nova_flexmem.device', name,
                                    invoke_on_load=True).driver
    except stevedore_exception.NoMatches:
        raise ValueError(f'there is no FlexMem device {name!r}; choose nvdimm'
                         ' or virtio-pmem, or install the driver')


def _set_delta(root, writes, boot):
    disk = fitness.root_disk(root)
    if writes == 'memory':
        basedisk.put_zeros(disk, boot.root_pmem)
    elif writes == 'disk':
        fitness.check_delta_bus(root, disk)
        serial = disk.find('serial')
        if serial is None:
            serial = etree.Element('serial')
            xmledit.append(disk, serial)
        serial.text = DELTA_SERIAL
    else:
        raise ValueError(f'there is no writes policy {writes!r}; choose disk'
                         ' or memory')


def _unset_boot(root):
    """Take out firmware and boot devices."""
    root.find('os').attrib.pop('firmware', None)
    for element in root.xpath('os/loader | os/nvram | os/firmware | os/boot'
                              ' | os/bootmenu | devices/*/boot'):
        xmledit.remove(element)


def _set_features(root):
    """Give the guest ACPI, through which it finds NVDIMMs."""
    features = root.find('features')
    if features is None:
        features = etree.Element('features')
        xmledit.insert_after(root, ['os'], features)
    if features.find('acpi') is None:
        xmledit.insert(features, 0, etree.Element('acpi'))


def _set_free_page_reporting(root):
    balloon = root.find('devices/memballoon')
    if balloon is None:
        # as libvirt adds by itself
        balloon = etree.Element('memballoon', model='virtio')
        xmledit.append(root.find('devices'), balloon)
    if balloon.get('model', 'virtio').startswith('virtio'):
        balloon.set('freePageReporting', 'on')
