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

"""A guest that writes to its base by all means that it has."""

import collections
import dataclasses
import hashlib
import mmap
import os
import re
import shutil
import signal
import tempfile

from nova_flexmem.build import builder
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import stock
from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock
from tests.drills import filestate
from tests.drills import harness
from tests.drills.hostile import device as hostile_device
from tests.drills.hostile import means
from tests.drills import hostile_disk
from tests.functional import harness as functional
from tests.witness import guest_image

_DATA_BYTES = 16 * harness.MIB
_FLAVOR = stock.Flavor(ram_mib=512, disk_bytes=1 << 30)

_ROOTFS = ('erofs', 'ext4')

#: Without an answer for that long, a guest is lost.
_ANSWER_S = 120

#: A tenant's kernel takes what the tenant gives it. One that panics is to end
#: the guest at once.
_KERNEL_ARGS = f'iomem=relaxed panic=-1 {functional.NO_TIMER_CHECK}'
_ENDS = '<on_reboot>destroy</on_reboot><devices>'

_DISK = '''\
<disk type="file" device="disk">
  <driver name="qemu" type="raw"/>
  <source file="{path}"/>
  <target dev="vdb" bus="virtio"/>
  <readonly/>
</disk></devices>'''

#: One for each way to the device.
_TELLING = ['direct', 'physical_map', 'firmware', 'random_numbers', 'balloon',
            'reported_pages']

_READ = 'echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/pmem0'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a means in the guest.

    :ivar said: done, or the name of an error or signal, or nothing
    :ivar cached: how many bytes of the device the guest's page cache has
        otherwise than before, or - if it could not be read
    :ivar read: the same past the page cache
    :ivar lost: whether the guest gave no answer
    """

    said: str = ''
    cached: str = '-'
    read: str = '-'
    lost: bool = False

    @property
    def kind(self):
        if not self.said:
            return 'no_answer'
        if self.said != 'done':
            return 'refused'
        return 'without_effect' if self.cached == self.read == '0' else (
            'harmed_guest_alone')


class StateTest(harness.DrillTestCase):

    def test_one_byte_is_noticed(self):
        path = os.path.join(self.folder, 'file')
        with open(path, 'wb') as f:
            f.write(self.random.randbytes(2 * harness.MIB))
            os.fsync(f.fileno())
        before = filestate.State.of(path)
        self.assertEqual(before, filestate.State.of(path))
        with open(path, 'r+b') as f, mmap.mmap(f.fileno(), 0) as view:
            view[harness.MIB] ^= 1
            after = filestate.State.of(path)
        self.assertEqual(0, before.dirty_kib)
        self.assertGreater(after.dirty_kib, 0)
        for field in 'cached_sha256', 'disk_sha256', 'times':
            self.assertNotEqual(getattr(before, field),
                                getattr(after, field), field)


class GuestTest(harness.DrillTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-drill-', dir='/var/tmp'))
        os.chmod(folder, 0o711)
        image = guest_image.build(functional.CACHE, 'drill', _DATA_BYTES)
        cls.bases = {rootfs: builder.build(
            functional.shared_store(), image.raw,
            builder.Options(rootfs=rootfs))[0] for rootfs in _ROOTFS}
        cls.disk = os.path.join(folder, 'disk')
        hostile_disk.create(cls.disk, os.path.join(folder, 'content'),
                            cls.bases['erofs'].manifest.kernel_release)

    def setUp(self):
        super().setUp()
        # QEMU runs as a user of its own, and must get to the files
        os.chmod(self.folder, 0o711)
        self.launcher = launcher.Launcher(
            self.enterContext(hypervisor.connect(self.folder)), self.folder,
            hypervisor.domain_type(), _FLAVOR)
        self.guests = 0

    def test_guest_writes_to_erofs_by_nvdimm(self):
        self._write_to_base('erofs', 'nvdimm')

    def test_guest_writes_to_erofs_by_virtio_pmem(self):
        self._write_to_base('erofs', 'virtio-pmem')

    def test_guest_writes_to_ext4_by_nvdimm(self):
        self._write_to_base('ext4', 'nvdimm')

    def test_guest_writes_to_ext4_by_virtio_pmem(self):
        self._write_to_base('ext4', 'virtio-pmem')

    def _write_to_base(self, rootfs, device):
        """Use all means on a base that another guest uses."""
        built = self.bases[rootfs]
        boot = domain.Boot.of(built)
        state, content = filestate.State.of(boot.root_pmem), _content(boot)
        neighbour = self._start(boot, device)
        kinds, lost, changed, wrong = collections.Counter(), 0, 0, []
        for name, outcome in self._use_all(lambda: self._start(boot, device)):
            kinds[outcome.kind] += 1
            lost += outcome.lost
            changed += hostile_device.changed_bytes(content, _content(boot))
            if filestate.State.of(boot.root_pmem) != state:
                wrong.append((name, outcome))
            if outcome.lost:
                self._check_neighbour(neighbour, content)
        self._check_neighbour(neighbour, content)
        neighbour.destroy()
        basefiles.Base(built.path).verify()
        self.figures(means=kinds.total(), **kinds, guests_lost=lost,
                     bytes_changed=changed, wrong=len(wrong))
        self.assertEqual((0, []), (changed, wrong))

    def _check_neighbour(self, neighbour, content):
        digest = hashlib.sha256(content[superblock.DATA_OFFSET_BYTES:])
        self.assertEqual(digest.hexdigest(),
                         neighbour.output(_READ).split()[0])

    def test_guest_writes_to_copy_by_nvdimm(self):
        self._write_to_copy('erofs', 'nvdimm')

    def test_guest_writes_to_copy_by_virtio_pmem(self):
        self._write_to_copy('ext4', 'virtio-pmem')

    def _write_to_copy(self, rootfs, device):
        """See that the means work where nothing is in their way."""
        boot = domain.Boot.of(self.bases[rootfs])
        copy = dataclasses.replace(boot, root_pmem=os.path.join(
            self.folder, 'copy'))
        content = _content(boot)

        def start():
            shutil.copyfile(boot.root_pmem, copy.root_pmem)
            os.chmod(copy.root_pmem, 0o666)
            return self._start(copy, device, lambda xml: xml.replace(
                'readonly=on', 'readonly=off').replace(
                    'unarmed=on', 'unarmed=off'))

        wrote = [name for name, _outcome in self._use_all(start, _TELLING)
                 if _content(copy) != content]
        self.figures(means=len(_TELLING), wrote=len(wrote))
        self.assertEqual(_TELLING, wrote)

    def _use_all(self, start, names=means.MEANS):
        """Use means, each in a guest that is well; yield the Outcomes."""
        guest = None
        for name in names:
            guest = guest or start()
            outcome = self._use(guest, name)
            yield name, outcome
            if outcome.lost or outcome.read != '0':
                guest.destroy()
                guest = None

    def _use(self, guest, name):
        try:
            code, text = guest.run(hostile_disk.use(name), _ANSWER_S)
            lost = False
        except exception.DemoFailed:
            code, text = 0, guest.console
            lost = True
        found = re.findall(rf'^MEANS {name} (\w+) (\S+) (\S+)\r?$', text,
                           re.MULTILINE)
        if found:
            return Outcome(*found[-1], lost)
        if lost:
            return Outcome(lost=True)
        self.assertGreater(code, 128, text)
        return Outcome(signal.Signals(code - 128).name)

    def _start(self, boot, device, change=str):
        """Start a guest with the means at hand, and wait for it."""
        self.guests += 1
        guest = self.launcher.flexmem(
            f'guest{self.guests}', boot, device=device,
            extra_kernel_args=_KERNEL_ARGS)
        guest.xml = change(guest.xml).replace(
            '<devices>', _ENDS).replace(
                '</devices>', _DISK.format(path=self.disk))
        self.addCleanup(guest.destroy)
        guest.start()
        guest.wait_shell()
        guest.output(hostile_disk.PREPARE)
        return guest


def _content(boot):
    with open(boot.root_pmem, 'rb') as f:
        return f.read()
