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

"""Accounting for real processes that stand for QEMU: Python, by its name."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import uuid

import testtools

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import balloon
from nova_flexmem.host import memory
from nova_flexmem.host import pages
from nova_flexmem.host import processes
from nova_flexmem.host import working_set
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

MIB = 1 << 20

_RAM_MIB = 64
_BASE_BYTES = 16 * MIB

#: Maps what QEMU maps, then does as it is told: it reads pages of the base.
_QEMU = textwrap.dedent(f'''\
    import mmap, os, sys
    if sys.argv[2] == 'shared':
        file = os.memfd_create('ram')
        os.truncate(file, {_RAM_MIB * MIB})
        ram = mmap.mmap(file, 0)
    else:
        ram = mmap.mmap(-1, {_RAM_MIB * MIB},
                        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ram.madvise(mmap.MADV_NOHUGEPAGE)
    ram[:8 << 20] = bytes([1]) * (8 << 20)
    if sys.argv[1]:
        with open(sys.argv[1], 'rb') as f:
            base = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
    print(flush=True)
    for line in sys.stdin:
        first, end = map(int, line.split())
        print(sum(base[first << 20:end << 20:4096]), flush=True)
''')


class _Qemu:
    """A process that the kernel calls qemu-system-x86."""

    def __init__(self, folder, root_pmem='', ram='private'):
        program = os.path.join(folder, 'qemu-system-x86_64')
        if not os.path.exists(program):
            os.symlink(os.path.realpath(sys.executable), program)
        self.uuid = str(uuid.uuid4())
        self._popen = subprocess.Popen(
            [program, '-I', '-S', '-c', _QEMU, root_pmem, ram,
             '-name', 'guest=some,,name,debug-threads=on', '-uuid', self.uuid,
             '-m', f'size={_RAM_MIB << 10}k,slots=1'], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._popen.pid
        self._popen.stdout.readline()

    def read_base(self, first_mib, end_mib):
        self._popen.stdin.write(f'{first_mib} {end_mib}\n')
        self._popen.stdin.flush()
        self._popen.stdout.readline()

    def end(self):
        self._popen.kill()
        self._popen.communicate()


class RamTest(testtools.TestCase):

    def _ram_kib(self, maps, *ram_mib):
        qemu = processes.Qemu(1, '', '', tuple(size * MIB
                                               for size in ram_mib))
        return [area.size_bytes >> 10 for area in accounting.ram_areas(
            memory.parse(maps), qemu)]

    def test_nodes_of_the_same_size(self):
        self.assertEqual([65536, 65536], self._ram_kib(
            '7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \n'
            '7f0004001000-7f0008001000 rw-p 00000000 00:00 0 \n'
            '7f0010000000-7f0014000000 r--s 00000000 fe:00 7   /root.pmem\n',
            64, 64))

    def test_nodes_that_the_kernel_has_merged(self):
        self.assertEqual([131076], self._ram_kib(
            '7f0000000000-7f0008001000 rw-p 00000000 00:00 0 \n', 64, 64))

    def test_nodes_in_files(self):
        self.assertEqual([65536, 65536], self._ram_kib(
            '7f0000000000-7f0004000000 rw-s 00000000 00:01 3  /memfd:a (x)\n'
            '7f0004000000-7f0008000000 rw-s 00000000 00:01 4  /memfd:b (x)\n',
            64, 64))


class AccountingTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        context = tempfile.TemporaryDirectory(dir='/var/tmp')
        self.folder = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        self.store = basestore.Store(os.path.join(self.folder, 'store'))
        self.keys = ['0' * 32, '1' * 32]
        for key in self.keys:
            os.mkdir(os.path.dirname(self._root_pmem(key)))
            with open(self._root_pmem(key), 'wb') as f:
                f.write(os.urandom(_BASE_BYTES))
                os.fsync(f.fileno())
        self.patch(balloon, 'page_caches', lambda: {})
        # no others that this host may run
        running = processes.running
        self.pids = set()
        self.patch(processes, 'running', lambda: [
            qemu for qemu in running() if qemu.pid in self.pids])

    def _root_pmem(self, key):
        return os.path.join(self.store.folder('bases'), key,
                            basefiles.ROOT_PMEM)

    def _start(self, *arguments):
        qemu = _Qemu(self.folder, *arguments)
        self.addCleanup(qemu.end)
        self.pids.add(qemu.pid)
        return qemu

    def _take(self, used=None):
        """Return the bases and the stock instances."""
        taken = accounting.measure(self.store, used)
        return taken.bases, taken.stock

    def test_instances_of_a_base(self):
        qemus = [self._start(self._root_pmem(self.keys[0]))
                 for _number in range(2)]
        qemus[0].read_base(0, 8)
        qemus[1].read_base(6, 12)
        (used, unused), stock = self._take()
        self.assertEqual(self.keys, [used.key, unused.key])
        self.assertEqual([], stock + unused.instances)
        self.assertEqual([qemu.pid for qemu in qemus],
                         [each.pid for each in used.instances])
        first, second = used.instances
        # the kernel may map pages around those that were read, 64 KiB or a
        # huge page at a time
        self._assert_between(8 * MIB, 10 * MIB, first.base_mapped_bytes)
        self._assert_between(6 * MIB, 10 * MIB, second.base_mapped_bytes)
        self._assert_between(12 * MIB, 14 * MIB, used.mapped_bytes)
        self.assertEqual(first.base_mapped_bytes + second.base_mapped_bytes
                         - used.mapped_bytes, used.saved_at_most_bytes)
        self.assertIsNone(used.saved_at_least_bytes)
        self.assertEqual(_BASE_BYTES, used.resident_bytes)
        self.assertEqual((0, 0), (unused.mapped_bytes,
                                  unused.saved_at_most_bytes))

    def test_a_base_that_is_removed_meanwhile(self):
        keys = self.store.keys()
        shutil.rmtree(os.path.dirname(self._root_pmem(self.keys[0])))
        self.patch(type(self.store), 'keys', lambda _self: keys)
        bases, _stock = self._take()
        self.assertEqual(self.keys[1:], [each.key for each in bases])

        def remove():
            shutil.rmtree(os.path.dirname(self._root_pmem(self.keys[1])))
            return {}

        self.patch(balloon, 'page_caches', remove)
        self.assertEqual(([], []), self._take())

    def test_instance(self):
        qemu = self._start(self._root_pmem(self.keys[1]))
        self.patch(balloon, 'page_caches', lambda: {qemu.uuid: 3 * MIB})
        (_, of_base), _ = self._take()
        [each] = of_base.instances
        self.assertEqual('some,name', each.name)
        self.assertEqual(qemu.uuid, each.uuid)
        self.assertEqual(8 * MIB, each.ram_bytes)
        # what an interpreter takes
        self._assert_between(MIB, 64 * MIB, each.qemu_bytes)
        self.assertEqual(each.ram_bytes + each.qemu_bytes, each.private_bytes)
        self.assertGreater(each.page_tables_bytes, 0)
        self.assertEqual(_BASE_BYTES // 64, each.page_structs_bytes)
        self.assertEqual(3 * MIB, each.guest_cache_bytes)

    def test_kernel_without_the_ioctl(self):
        qemu = self._start(self._root_pmem(self.keys[0]))
        qemu.read_base(0, 4)
        [new, _], _ = self._take()

        def refuse(_pagemap, _start, _end):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

        self.patch(pages.Pagemap, '_scan', refuse)
        [old, _], _ = self._take()
        self.assertEqual(new.mapped_bytes, old.mapped_bytes)
        self.assertEqual([each.ram_bytes for each in new.instances],
                         [each.ram_bytes for each in old.instances])

    def test_stock_instance(self):
        self._start()
        bases, [each] = self._take()
        self.assertEqual([], bases[0].instances + bases[1].instances)
        self.assertIsNone(each.base)
        self.assertEqual(8 * MIB, each.ram_bytes)
        self.assertEqual((0, 0), (each.base_mapped_bytes,
                                  each.page_structs_bytes))

    def test_ram_in_a_shared_file(self):
        self._start()
        self._start('', 'shared')
        _, (first, second) = self._take()
        self.assertEqual(8 * MIB, second.ram_bytes)
        self.assertLess(abs(second.qemu_bytes - first.qemu_bytes), MIB)

    def test_what_was_used_lately(self):
        """Pages that are mapped and were not used again don't count."""
        qemus = [self._start(self._root_pmem(self.keys[0]))
                 for _number in range(2)]
        for qemu in qemus:
            qemu.read_base(0, 16)

        def read(_seconds):
            qemus[0].read_base(0, 12)
            qemus[1].read_base(0, 14)

        self.patch(working_set.time, 'sleep', read)
        used = working_set.measure(1)
        self._assert_between(12 * MIB, 14 * MIB, used[qemus[0].pid])
        self._assert_between(14 * MIB, 16 * MIB, used[qemus[1].pid])
        [of_base, _], _ = self._take(used)
        self.assertEqual(_BASE_BYTES, of_base.mapped_bytes)
        self.assertEqual(_BASE_BYTES, of_base.saved_at_most_bytes)
        self._assert_between(10 * MIB, 14 * MIB, of_base.saved_at_least_bytes)

    def test_what_one_of_them_used_is_not_known(self):
        qemus = [self._start(self._root_pmem(self.keys[0]))
                 for _number in range(2)]
        [of_base, _], _ = self._take({qemus[0].pid: MIB})
        self.assertIsNone(of_base.saved_at_least_bytes)

    def test_not_allowed(self):
        self._start()

        def refuse(_pid):
            raise PermissionError(13, 'Permission denied')

        self.patch(pages, 'Pagemap', refuse)
        error = self.assertRaises(exception.HostUnfit, self._take)
        self.assertIn('root', str(error))

    def _assert_between(self, least, most, value):
        self.assertTrue(least <= value <= most,
                        f'{value} is not from {least} to {most}')
