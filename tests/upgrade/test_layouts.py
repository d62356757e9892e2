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

"""What overlays show on layouts that other releases of mkfs.erofs made.

Each test starts micro-guests: an instance edits its tree on one layout, then
starts on another one, and every path is compared with a model.
"""

import os
import shutil
import tempfile

import testtools

from nova_flexmem import process
from tests.upgrade import layouts
from tests.upgrade import microguest
from tests.upgrade import model
from tests.upgrade import old
from tests.upgrade import releases

#: Of Debian 12 or whatever this host is, of Debian 13, and of unstable.
SUITES = (releases.HERE, 'trixie', 'sid')

#: Kernels of guests: 6.1 on Debian 12, and 6.12.
KERNELS = (releases.HERE, 'trixie')

#: Edits of a second start, on a foreign layout.
EDITED_LATER = 250


class Instance:
    """An instance: its delta, and the model of what it must show.

    :param folder: an empty folder
    :param kernel: a kernel.Kernel
    :param index: whether it begins under 67fc24c, with index=on
    """

    def __init__(self, folder, kernel, index=False):
        self.folder = folder
        self._kernel = kernel
        self._starts = 0
        self.tree = model.Tree(index=index)
        self.delta = os.path.join(folder, 'delta')
        self.console = ''
        self.seen = {}
        microguest.new_delta(self.delta)

    @property
    def kernel_release(self):
        return self._kernel.release

    def start(self, layout, edited=0, init=None, cut=False, may_fail=False):
        """Start it on a layout; edit some of its files.

        :param init: the content of another /init than the package's
        :param cut: whether it ends by a power cut
        :param may_fail: whether it may fail to start; then all is wrong
        :returns: the paths that show what they must not, at the start or
            behind the edits
        """
        self._starts += 1
        folder = os.path.join(self.folder, f'start{self._starts}')
        os.makedirs(folder)
        kernel, initramfs = (os.path.join(folder, name)
                             for name in ('kernel', 'initramfs'))
        with open(kernel, 'xb') as f:
            f.write(self._kernel.image)
        microguest.write_initramfs(initramfs, self._kernel, init)
        guest = microguest.Guest(folder, layout.path, kernel, initramfs,
                                 layout.kernel_args)
        expected = [self.tree.shows()]
        if edited:
            self.tree.edit(edited)
            expected.append(self.tree.shows())
        try:
            seen = guest.run(self.delta,
                             self.tree.script() if edited else '', cut)
        except microguest.DidNotReport:
            if not may_fail:
                raise
            seen = [{} for _part in expected]
        self.console = guest.console
        self.seen = seen[-1]
        shutil.rmtree(folder)
        assert len(seen) == len(expected)
        return sorted({path for pair in zip(expected, seen)
                       for path in model.wrong(*pair)})

    def copy(self, folder, by_qcow2=False):
        """Return a copy of it.

        :param by_qcow2: whether its delta was a qcow2, as a snapshot is
        """
        os.makedirs(folder)
        made = Instance.__new__(Instance)
        made.__dict__.update(self.__dict__)
        made.tree = self.tree.copy()
        made.folder = folder
        made.delta = os.path.join(folder, 'delta')
        formats = ('qcow2', 'raw') if by_qcow2 else ('raw',)
        source, source_format = self.delta, 'raw'
        for target_format in formats:
            target = f'{made.delta}.{target_format}'
            process.run('qemu-img', 'convert', '-f', source_format, '-O',
                        target_format, source, target, timeout_s=600)
            source, source_format = target, target_format
        os.rename(source, made.delta)
        return made


def assert_only_told_links(test, wrong, instance):
    """Check which paths a delta with an index shows on another layout.

    Nothing there says which names of the image a changed file has, if it was
    renamed, or deleted by the name that it was changed through. These names
    show the image's content then, never that of another file, and the console
    says so.

    :param test: the test
    :param wrong: the paths that show what they must not
    :param instance: has the attributes tree, seen and console
    """
    for path in wrong:
        inode = instance.tree.files[path]
        test.assertTrue(inode.linked, path)
        test.assertIn(instance.seen[path].content, [
            model.digest(content)
            for content in (inode.content, inode.original)], path)
    if wrong:
        test.assertIn("show the image's content again", instance.console)


class LayoutTestCase(testtools.TestCase):
    """Has the root.pmem of one tree as each release makes it."""

    suites = SUITES[:2]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, so that files belong to root')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-upgrade-', dir='/var/tmp'))
        cls.root = os.path.join(cls.folder, 'root')
        microguest.make_root(cls.root, model.Tree())
        try:
            cls.releases = {suite: releases.Release(suite)
                            for suite in cls.suites}
        except releases.Unreachable as e:
            cls.skipTest(cls, str(e))
        cls.layouts, cls.format_1 = {}, {}
        for suite, release in cls.releases.items():
            path = os.path.join(cls.folder, suite)
            cls.layouts[suite] = layouts.make(path, release, cls.root)
            cls.format_1[suite] = layouts.make_format_1(
                f'{path}.format1', release, cls.root)

    def instance(self, kernel=releases.HERE, index=False):
        """Return a new Instance."""
        folder = os.path.join(self.folder, self.id().rpartition('.')[2])
        os.makedirs(folder)
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Instance(folder, releases.guest_kernel(kernel), index)


class LayoutsTest(LayoutTestCase):

    def test_content_decides_the_uuid(self):
        here, there = (self.layouts[suite] for suite in self.suites)
        again = layouts.make(os.path.join(self.folder, 'again'),
                             self.releases[releases.HERE], self.root)
        self.assertEqual((here.sha256, here.uuid), (again.sha256, again.uuid))
        self.assertEqual(here.sha256 == there.sha256, here.uuid == there.uuid)

    def test_ext4_is_the_same_layout(self):
        made = {layouts.make(os.path.join(self.folder, f'{suite}.{time}'),
                             release, self.root, 'ext4').sha256
                for suite, release in self.releases.items()
                for time in range(2)}
        self.assertEqual(1, len(made), made)

    def test_upgrade_of_the_host(self):
        """An instance goes on on another layout."""
        here, there = (self.layouts[suite] for suite in self.suites)
        instance = self.instance()
        self.assertEqual([], instance.start(here, model.EDITED, cut=True))
        self.assertEqual([], instance.start(there, EDITED_LATER))
        self.assertIn('was last used on base layout', instance.console)

    def test_instance_of_67fc24c(self):
        """Its delta, with an index, starts on its own base and on another."""
        instance = self.instance(index=True)
        self.assertEqual([], instance.start(
            self.format_1[releases.HERE], model.EDITED, old.init()))
        instance.tree.index = False
        snapshot = instance.copy(f'{instance.delta}.snapshot', by_qcow2=True)
        self.assertEqual([], instance.start(
            self.format_1[releases.HERE], EDITED_LATER))
        assert_only_told_links(self, snapshot.start(self.layouts['trixie']),
                               snapshot)
