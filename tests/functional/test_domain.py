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

"""FlexMem domains under the host's own libvirtd and QEMU.

The guests are started paused and never run: what matters here is how QEMU
maps root.pmem, and that libvirt can still plug in devices.
"""

import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from unittest import mock
import uuid

import libvirt
import testtools

import nova.privsep

from nova_flexmem import accel
from nova_flexmem.demo import hypervisor
from nova_flexmem.guest import domain
from nova_flexmem.virt import capability

_SIZE_BYTES = 64 << 20

_PCI = {'pc': '',
        'q35': '<controller type="pci" model="pcie-root"/>'
               + '<controller type="pci" model="pcie-root-port"/>' * 6}

_STOCK = """
<domain type="qemu">
  <name>{name}</name>
  <memory unit="MiB">256</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch="x86_64" machine="{machine}">hvm</type>
    <boot dev="hd"/>
  </os>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw"/>
      <source file="{folder}/delta"/>
      <target dev="vda" bus="virtio"/>
    </disk>
    {pci}
  </devices>
</domain>
"""

_INTERFACE = '<interface type="user"><model type="virtio"/></interface>'

_DISK = """
<disk type="file" device="disk">
  <driver name="qemu" type="raw"/>
  <source file="{folder}/extra"/>
  <target dev="vdb" bus="virtio"/>
</disk>
"""


class DomainTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root')
        kernel = accel.newest_host_kernel()
        if kernel is None:
            self.skipTest('needs a kernel in /boot')
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='flexmem-test-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.connection = self.enterContext(
            hypervisor.connect(str(self.folder)))
        # QEMU runs as a user of its own
        self.folder.chmod(0o755)
        for name in ('delta', 'extra'):
            self._file(name, 1 << 20)
        self.root_pmem = self._file('root.pmem', _SIZE_BYTES)
        self.root_pmem.write_bytes(os.urandom(4096) * (_SIZE_BYTES // 4096))
        self._file('initramfs', 4096)
        shutil.copyfile(kernel, self.folder / 'kernel')
        for name in ('root.pmem', 'kernel', 'initramfs'):
            (self.folder / name).chmod(0o444)

    def _file(self, name, size_bytes):
        path = self.folder / name
        path.touch()
        os.truncate(path, size_bytes)
        return path

    def _start(self, machine, device, stock=_STOCK, switch=()):
        name = f'flexmem-test-{uuid.uuid4().hex[:8]}'
        stock = stock.format(name=name, machine=machine, folder=self.folder,
                             pci=_PCI[machine])
        boot = domain.Boot(
            root_pmem=str(self.root_pmem), size_bytes=_SIZE_BYTES,
            kernel=str(self.folder / 'kernel'),
            initramfs=str(self.folder / 'initramfs'), kernel_args='quiet',
            base_uuid=str(uuid.uuid4()), layout=uuid.uuid4().hex,
            rootfs='erofs')
        # libvirt ends the guest with our connection, even if we are killed
        guest = self.connection.createXML(
            domain.transform(stock, boot, device=device, switch=switch),
            libvirt.VIR_DOMAIN_START_PAUSED
            | libvirt.VIR_DOMAIN_START_AUTODESTROY)
        self.addCleanup(guest.destroy)
        return guest, int(pathlib.Path(
            f'/run/libvirt/qemu/{name}.pid').read_text())

    def _check(self, machine, device, stock=_STOCK):
        """Start a guest and check it; returns QEMU's process id."""
        before = _fingerprint(self.root_pmem)
        guest, pid = self._start(machine, device, stock)

        owner = os.stat(f'/proc/{pid}').st_uid
        self.assertNotEqual(0, owner, 'QEMU runs as root')
        mappings = [line.split()[1] for line in pathlib.Path(
            f'/proc/{pid}/maps').read_text().splitlines()
            if line.endswith(str(self.root_pmem))]
        self.assertEqual(['r--s'], mappings)
        # QEMU's user may not own what other guests boot from
        for name in ('root.pmem', 'kernel', 'initramfs'):
            self.assertEqual(0, os.stat(self.folder / name).st_uid, name)

        guest.attachDeviceFlags(_INTERFACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        guest.attachDeviceFlags(_DISK.format(folder=self.folder),
                                libvirt.VIR_DOMAIN_AFFECT_LIVE)
        live = guest.XMLDesc()
        self.assertIn("<interface type='user'>", live)
        self.assertIn(f'{self.folder}/extra', live)
        self.assertIn('<serial>flexmem-delta</serial>', live)
        self.assertEqual(before, _fingerprint(self.root_pmem))
        return pid

    def _why_not(self, machine, device='nvdimm', stock=_STOCK):
        """Start a guest as nova-compute does, and ask its QEMU."""
        self.patch(nova.privsep.sys_admin_pctxt, 'client_mode', False)
        host = mock.Mock(get_version=self.connection.getVersion,
                         get_connection=lambda: self.connection)
        offered = capability.Capability(
            host, mock.Mock(store_path=str(self.folder)))
        arguments = offered.arguments(str(self.folder))
        self.assertNotEqual([], arguments)
        guest, _pid = self._start(machine, device, stock, arguments)
        return capability.why_not(mock.Mock(_domain=guest))

    def test_capability_is_on_with_pc(self):
        self.assertIsNone(self._why_not('pc'))

    def test_capability_is_on_with_q35(self):
        self.assertIsNone(self._why_not('q35'))

    def test_capability_is_off_with_virtio_pmem(self):
        self.assertIn('without the capability',
                      self._why_not('pc', 'virtio-pmem'))

    def test_capability_is_off_where_ram_is_shared(self):
        self.assertIn('without the capability', self._why_not(
            'pc', stock=_STOCK.replace(
                '<vcpu>', '<memoryBacking><source type="memfd"/>'
                '<access mode="shared"/></memoryBacking><vcpu>')))

    def test_pc_nvdimm(self):
        self._check('pc', 'nvdimm')

    def test_locked_memory(self):
        """QEMU locks the base too, by the limit that the domain has."""
        stock = _STOCK.replace(
            '<vcpu>', '<memtune><hard_limit unit="MiB">1024</hard_limit>'
            '</memtune><memoryBacking><locked/></memoryBacking><vcpu>')
        try:
            pid = self._check('pc', 'nvdimm', stock)
        except libvirt.libvirtError as e:
            if 'cannot limit locked memory' not in str(e):
                raise
            self.assertIn(f' to {(1 << 30) + _SIZE_BYTES}:', str(e))
            self.skipTest('libvirt may not let QEMU lock memory here')
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        locked = int(re.search(r'^VmLck:\s+(\d+) kB', status, re.M)[1])
        self.assertGreater(locked << 10, (256 << 20) + _SIZE_BYTES)
        limits = pathlib.Path(f'/proc/{pid}/limits').read_text()
        limit = re.search(r'^Max locked memory\s+(\d+)', limits, re.M)[1]
        self.assertEqual((1 << 30) + _SIZE_BYTES, int(limit))

    def test_pc_virtio_pmem(self):
        self._check('pc', 'virtio-pmem')

    def test_q35_nvdimm(self):
        self._check('q35', 'nvdimm')

    def test_q35_virtio_pmem(self):
        self._check('q35', 'virtio-pmem')


def _fingerprint(path):
    status = path.stat()
    with path.open('rb') as f:
        digest = hashlib.file_digest(f, 'sha256').hexdigest()
    return status.st_uid, status.st_gid, status.st_mode, digest
