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

"""The merge on folders of the host, and what is said of menus.

An overlay may note what it has to say under user. as well (userxattr), which
needs no root.
"""

import os
import stat
import struct

import fixtures
import testtools

from nova_flexmem.flatten.merge import __main__ as merge_main
from nova_flexmem.flatten.merge import files
from nova_flexmem.flatten.merge import tree
from nova_flexmem.flatten.merge import upper
from nova_flexmem.image import grub
from tests.unit.image import samples

_PREFIX = 'user.overlay.'

_DELTA_UUID = '11111111-2222-3333-4444-555555555555'
_BOOT_UUID = '3d1f7a52-94be-4c0a-b1d7-6e5a0c9f8b23'

_ORIGINAL_MENU = f'''\
set timeout=0
menuentry 'Debian GNU/Linux' {{
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root --hint='lvm/x' {_BOOT_UUID}
\telse
\t  search --no-floppy --fs-uuid --set=root {_BOOT_UUID}
\tfi
\tlinux\t/vmlinuz-6.1.0-9 root=/dev/mapper/debian-root ro console=ttyS0
\tinitrd\t/initrd.img-6.1.0-9
}}
'''

_GUEST_MENU = f'''\
set timeout=5
menuentry 'Debian GNU/Linux' {{
\tsearch --no-floppy --fs-uuid --set=root {_DELTA_UUID}
\tlinux\t/boot/vmlinuz-6.1.0-10 root=UUID={_DELTA_UUID} ro quiet
\tinitrd\t/boot/microcode.img /boot/initrd.img-6.1.0-10
}}
'''


class MergeTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = os.fsencode(self.useFixture(fixtures.TempDir()).path)
        self.upper = self.make('upper/')
        self.target = self.make('target/')
        self.index = self.make('index/')
        try:
            os.setxattr(self.upper, 'user.test', b'')
            os.removexattr(self.upper, 'user.test')
        except OSError:
            self.skipTest('the filesystem of the temporary folder has no'
                          ' extended attributes of users')
        self.mounts = {self.target: b'ext4'}

    def path(self, name):
        return os.path.join(self.folder, os.fsencode(name))

    def make(self, name, content='content', **marks):
        """Make a file or, with a slash at its end, a folder."""
        path = self.path(name.rstrip('/'))
        os.makedirs(path if name.endswith('/') else os.path.dirname(path),
                    exist_ok=True)
        if not name.endswith('/'):
            with open(path, 'w') as f:
                f.write(content)
        for mark, value in marks.items():
            os.setxattr(path, _PREFIX + mark, value)
        return path

    def whiteout(self, name):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        os.mknod(self.path(name), stat.S_IFCHR, 0)

    def merge(self, **how):
        merging = tree.Merge(
            self.upper, self.target, files.Mounts(self.mounts),
            index=frozenset(entry.inode() for entry in
                            os.scandir(self.index)), prefix=_PREFIX, **how)
        merging.run()
        return merging

    def tree(self):
        """Return {path: content, None for a folder} of the target."""
        found = {}
        for folder, names, others in os.walk(self.target):
            for name in names + others:
                path = os.path.join(folder, name)
                shown = os.fsdecode(os.path.relpath(path, self.target))
                if os.path.islink(path):
                    found[shown] = os.fsdecode(os.readlink(path))
                elif os.path.isdir(path):
                    found[shown] = None
                else:
                    with open(path) as f:
                        found[shown] = f.read()
        return found

    def assert_unmergeable(self, cause, **how):
        e = self.assertRaises(files.Unmergeable, self.merge, **how)
        self.assertIn(cause, str(e))

    def test_written_and_removed(self):
        self.make('target/kept')
        self.make('target/a/gone/with/all')
        self.make('target/a/changed', 'before')
        self.make('upper/a/changed', 'after')
        self.make('upper/a/new/file', 'new')
        self.whiteout('upper/a/gone')
        merging = self.merge()
        self.assertEqual(
            {'kept': 'content', 'a': None, 'a/changed': 'after',
             'a/new': None, 'a/new/file': 'new'}, self.tree())
        self.assertEqual(5, merging.written)

    def test_metadata(self):
        path = self.make('upper/file')
        os.chmod(path, 0o4751)
        os.setxattr(path, 'user.note', b'value')
        os.setxattr(path, _PREFIX + 'origin', b'handle')
        os.setxattr(path, _PREFIX + 'overlay.opaque', b'y')
        os.utime(path, ns=(1, 2))
        os.utime(self.upper, ns=(3, 4))
        os.setxattr(self.make('target/file'), 'user.gone', b'')
        self.merge()
        target = self.path('target/file')
        found = os.lstat(target)
        self.assertEqual((0o4751, 2), (stat.S_IMODE(found.st_mode),
                                       found.st_mtime_ns))
        self.assertEqual({'user.note': b'value', _PREFIX + 'opaque': b'y'},
                         files.attributes(target))
        self.assertEqual(4, os.stat(self.target).st_mtime_ns)

    def test_opaque_folder(self):
        self.make('target/a/gone')
        self.make('upper/a/', opaque=b'y')
        self.make('upper/a/own')
        self.merge()
        self.assertEqual({'a': None, 'a/own': 'content'}, self.tree())

    def test_other_kinds(self):
        self.make('target/folder/file')
        self.make('upper/folder', 'now a file')
        self.make('target/file')
        self.make('upper/file/in', 'now a folder')
        os.symlink('/etc', self.path('target/link'))
        self.make('upper/link/passwd', 'own')
        os.symlink('/etc/shadow', self.path('target/shadow'))
        self.make('upper/shadow', 'own')
        os.symlink('nowhere', self.path('upper/symlink'))
        self.merge()
        self.assertEqual(
            {'folder': 'now a file', 'file': None,
             'file/in': 'now a folder', 'link': None, 'link/passwd': 'own',
             'shadow': 'own', 'symlink': 'nowhere'}, self.tree())

    def test_holes(self):
        path = self.make('upper/sparse', 'begin')
        os.truncate(path, 1 << 23)
        with open(path, 'a') as f:
            f.write('end')
        self.merge()
        target = self.path('target/sparse')
        self.assertLess(os.stat(target).st_blocks * 512, 1 << 20)
        with open(path, 'rb') as f, open(target, 'rb') as copy:
            self.assertEqual(f.read(), copy.read())

    def test_renamed_folders(self):
        """Two that changed places, and one that left a third."""
        self.make('target/a/x', 'of a')
        self.make('target/a/inner/y', 'of inner')
        self.make('target/b/z', 'of b')
        self.make('upper/a/', redirect=b'b')
        self.make('upper/b/', redirect=b'a')
        self.make('upper/b/x', 'changed')
        self.whiteout('upper/b/inner')
        self.make('upper/c/', opaque=b'y')
        self.make('upper/c/deep/', redirect=b'/a/inner')
        self.merge()
        self.assertEqual(
            {'a': None, 'a/z': 'of b', 'b': None, 'b/x': 'changed',
             'c': None, 'c/deep': None, 'c/deep/y': 'of inner'}, self.tree())

    def test_redirects_that_can_not_be(self):
        for number, redirect in enumerate((b'/a/../..', b'..', b'/', b'//a',
                                           b'/a\0b', b'a\0')):
            path = self.make(f'upper/d{number}/', redirect=redirect)
            self.assert_unmergeable('which cannot be')
            os.rmdir(path)
        self.make('target/a/')
        self.make('upper/one/', redirect=b'a')
        self.make('upper/two/', redirect=b'a')
        self.assert_unmergeable('which cannot be')

    def test_redirect_by_a_symbolic_link(self):
        outside = self.make('outside/file')
        os.symlink(self.path('outside'), self.path('target/link'))
        self.make('upper/taken/', redirect=b'/link')
        self.merge()
        self.assertIsNone(self.tree()['taken'])
        self.assertTrue(os.path.exists(outside))

    def test_hard_links(self):
        first = self.make('upper/first')
        os.makedirs(self.path('upper/a'))
        os.link(first, self.path('upper/a/second'))
        self.merge()
        self.assertTrue(os.path.samefile(self.path('target/first'),
                                         self.path('target/a/second')))

    def _link(self, first, *others):
        for other in others:
            os.link(self.path(first), self.path(other))

    def test_copied_up_hard_link_in_place(self):
        self.make('target/one', 'before')
        self._link('target/one', 'target/two', 'target/three')
        self.make('upper/one', 'after', nlink=b'U+0')
        self._link('upper/one', 'index/handle')
        self.whiteout('upper/three')
        self.assertEqual([], self.merge().unclear)
        self.assertEqual({'one': 'after', 'two': 'after'}, self.tree())
        self.assertTrue(os.path.samefile(self.path('target/one'),
                                         self.path('target/two')))

    def test_copied_up_hard_link_that_moved(self):
        self.make('target/one', 'before')
        self._link('target/one', 'target/two')
        self.make('upper/moved', 'after', nlink=b'L+0')
        self._link('upper/moved', 'index/handle')
        self.whiteout('upper/one')
        self.assertEqual([], self.merge().unclear)
        self.assertEqual({'moved': 'after', 'two': 'after'}, self.tree())

    def test_copied_up_hard_link_behind_a_symbolic_link(self):
        """The guest had a folder there; the image's link leads elsewhere."""
        self.make('outside/file', 'before')
        self._link('outside/file', 'outside/link')
        self.make('target/')
        os.symlink(self.path('outside'), self.path('target/folder'))
        self.make('upper/folder/file', 'after', nlink=b'U+0')
        self._link('upper/folder/file', 'index/handle')
        self.merge()
        self.assertEqual({'folder': None, 'folder/file': 'after'},
                         self.tree())
        with open(self.path('outside/file')) as f:
            self.assertEqual('before', f.read())

    def test_folder_in_the_place_of_a_hard_link(self):
        self.make('target/one', 'before')
        self._link('target/one', 'target/two')
        self.make('upper/one/file', 'new')
        self.make('upper/moved', 'after', nlink=b'L+0')
        self._link('upper/moved', 'index/handle')
        self.assertEqual([], self.merge().unclear)
        self.assertEqual({'one': None, 'one/file': 'new', 'moved': 'after',
                          'two': 'after'}, self.tree())

    def test_copied_up_hard_links_of_two_kinds(self):
        """The one in its place tells which the other must be."""
        for name in ('a', 'b'):
            self.make(f'target/{name}1', 'before')
            self._link(f'target/{name}1', f'target/{name}2')
        self.make('upper/moved', 'after b', nlink=b'U+0')
        self._link('upper/moved', 'index/b')
        self.make('upper/a1', 'after a', nlink=b'U+0')
        self._link('upper/a1', 'index/a')
        self.whiteout('upper/b1')
        self.assertEqual([], self.merge().unclear)
        self.assertEqual({'a1': 'after a', 'a2': 'after a',
                          'moved': 'after b', 'b2': 'after b'}, self.tree())

    def test_copied_up_hard_link_that_may_be_of_either(self):
        for name in ('a', 'b'):
            self.make(f'target/{name}1', 'before')
            self._link(f'target/{name}1', f'target/{name}2')
            self.whiteout(f'upper/{name}1')
        path = self.make('upper/moved', 'after', nlink=b'U+0')
        self._link('upper/moved', 'index/handle')
        self.assertEqual([path], self.merge().unclear)
        self.assertEqual({'moved': 'after', 'a2': 'before', 'b2': 'before'},
                         self.tree())

    def test_names_that_can_not_be_counted(self):
        for count in (b'', b'x', b'U', b'U+', b'X+1', b'L+1 ', b'U+' +
                      b'9' * 500):
            self.make('upper/moved', nlink=count)
            if not os.path.exists(self.path('index/handle')):
                self._link('upper/moved', 'index/handle')
            self.assert_unmergeable('counts its names')

    def test_mount_points(self):
        self.make('target/boot/kernel')
        self.mounts[self.path('target/boot')] = b'ext4'
        self.whiteout('upper/boot')
        self.merge()
        self.assertEqual({'boot': None}, self.tree())
        os.unlink(self.path('upper/boot'))
        self.make('upper/boot', 'a file')
        self.assert_unmergeable('the guest replaced /boot')
        os.unlink(self.path('upper/boot'))
        self.make('upper/moved/', redirect=b'boot')
        self.assert_unmergeable('the guest moved /boot')

    def test_kept(self):
        self.make('target/boot/grub/i386-pc/core', 'of the image')
        self.make('target/boot/grub/gone')
        self.make('upper/boot/', opaque=b'y')
        self.make('upper/boot/grub/i386-pc/core', 'of the guest')
        self.merge(kept=(b'boot/grub/i386-pc',))
        self.assertEqual('of the image',
                         self.tree()['boot/grub/i386-pc/core'])
        self.assertNotIn('boot/grub/gone', self.tree())

    def test_metacopy(self):
        self.make('upper/file', metacopy=b'')
        self.assert_unmergeable('metacopy')

    def test_folder_directly_on_the_delta(self):
        self.make('target/lib/gone')
        self.make('direct/layer/', opaque=b'y')
        self.whiteout('direct/layer/file')
        merging = self.merge()
        merging.replace(self.path('direct'), self.path('target/lib'))
        layer = self.path('target/lib/layer')
        self.assertEqual(b'y', os.getxattr(layer, _PREFIX + 'opaque'))
        self.assertTrue(files.is_whiteout(os.lstat(
            os.path.join(layer, b'file'))))
        self.assertEqual([b'layer'], os.listdir(self.path('target/lib')))

    def test_direct_folders(self):
        self.make('direct/var/lib/docker/file')
        self.make('direct/var/lib/docker.new/file')
        paths = [b'/var/lib/docker', b'/var/lib/other']
        self.assertEqual(
            {b'/var/lib/docker': self.path('direct/var/lib/docker')},
            merge_main.direct_folders(self.path('direct'), paths))
        self.make('direct/var/lib/third/file')
        e = self.assertRaises(
            files.Unmergeable, merge_main.direct_folders,
            self.path('direct'), paths)
        self.assertIn('/var/lib/third', str(e))
        self.assertEqual({}, merge_main.direct_folders(self.path('none'),
                                                       paths))

    def test_folders_that_the_guest_noted(self):
        self.make('delta/direct/srv/file')
        self.assertEqual([], merge_main.noted_folders(self.path('delta')))
        with open(self.path('delta/direct.list'), 'wb') as f:
            f.write(b'/srv\n/../etc\n//a\n/a/./b\nrelative\n/with blank\n\0\n'
                    b'/home/one/.local\n/cut')
        noted = merge_main.noted_folders(self.path('delta'))
        self.assertEqual([b'/srv', b'/home/one/.local'], noted)
        self.assertEqual(
            {b'/srv': self.path('delta/direct/srv')},
            merge_main.direct_folders(self.path('delta/direct'), noted))
        os.rename(self.path('delta/direct.list'), self.path('delta/other'))
        os.symlink('other', self.path('delta/direct.list'))
        self.assertEqual([], merge_main.noted_folders(self.path('delta')))
        os.unlink(self.path('delta/direct.list'))
        os.mkfifo(self.path('delta/direct.list'))
        self.assertEqual([], merge_main.noted_folders(self.path('delta')))

    def test_symbolic_links_in_the_place_of_folders_of_a_delta(self):
        """They would lead to what the appliance has there."""
        self.make('elsewhere/etc/file')
        for name in ('direct', 'delta/upper', 'work'):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            os.symlink(self.path('elsewhere'), self.path(name))
        e = self.assertRaises(
            files.Unmergeable, merge_main.direct_folders,
            self.path('direct'), [b'/etc'])
        self.assertIn('no folder', str(e))
        self.assertRaises(files.Unmergeable, merge_main.survey,
                          self.path('delta'), b'/none', [])
        self.make('elsewhere/index/file')
        self.assertEqual(frozenset(), merge_main._inodes(self.path('work')))
        self.assertNotEqual(frozenset(), merge_main._inodes(
            self.path('elsewhere')))


class MarksTest(testtools.TestCase):

    def test_lower_uuid(self):
        handle = (bytes.fromhex('00fb1d0001') + bytes(range(16))
                  + struct.pack('<II', 36, 0))
        marks = upper.Marks({'trusted.overlay.origin': handle})
        self.assertEqual('00010203-0405-0607-0809-0a0b0c0d0e0f',
                         marks.lower_uuid)
        self.assertIsNone(upper.Marks({}).lower_uuid)

    def test_protected(self):
        marks = upper.Marks({'trusted.overlay.protattr': b'ai'})
        self.assertEqual(0x30, marks.flags)


class MenuTest(testtools.TestCase):

    def test_devices_of_the_image(self):
        self.assertEqual(
            _GUEST_MENU.replace(
                f'/boot/vmlinuz-6.1.0-10 root=UUID={_DELTA_UUID}',
                '/vmlinuz-6.1.0-10 root=/dev/mapper/debian-root').replace(
                    '/boot/microcode.img /boot/init',
                    '/microcode.img /init').replace(_DELTA_UUID, _BOOT_UUID),
            grub.adapt(_GUEST_MENU, _ORIGINAL_MENU, _DELTA_UUID))

    def test_root_by_the_name_of_a_disk(self):
        menu = _GUEST_MENU.replace(f'UUID={_DELTA_UUID}', '/dev/vda')
        self.assertNotIn('/dev/vda', grub.adapt(menu, _ORIGINAL_MENU,
                                                _DELTA_UUID))

    def test_flags_of_the_root(self):
        original = _ORIGINAL_MENU.replace(
            '/vmlinuz', '/@/boot/vmlinuz').replace(
                ' ro ', ' ro rootflags=subvol=@ ')
        adapted = grub.adapt(_GUEST_MENU, original, _DELTA_UUID)
        self.assertIn('\t/@/boot/vmlinuz-6.1.0-10'
                      ' root=/dev/mapper/debian-root rootflags=subvol=@ ro'
                      ' quiet\n', adapted)

    def test_menu_with_nothing_of_a_delta(self):
        menu = _ORIGINAL_MENU.replace('timeout=0', 'timeout=9')
        self.assertEqual(menu, grub.adapt(menu, _ORIGINAL_MENU, _DELTA_UUID))

    def test_menu_that_takes_long_to_read(self):
        line = 'search ' + '--set=root-' * 90000
        original = f'{line}\n{_ORIGINAL_MENU}\n'
        with fixtures.Timeout(20, gentle=True):
            self.assertIn(_BOOT_UUID, grub.adapt(_GUEST_MENU, original,
                                                 _DELTA_UUID))

    def test_menus_that_would_fill_the_memory(self):
        for original, menu, said in (
                (_ORIGINAL_MENU.replace(_BOOT_UUID, 'u' * 1000000),
                 f'{_DELTA_UUID} ' * 20000, 'no root device'),
                (_ORIGINAL_MENU.replace('debian-root', 'r' * 1000000),
                 f'{_DELTA_UUID}\n' + 'linux a\n' * 100000, 'too long'),
                (_ORIGINAL_MENU.replace('\t/vmlinuz', f'\t/{"r/" * 100}v'),
                 f'{_DELTA_UUID}\ninitrd' + ' a' * 500000, 'too long'),
                (_ORIGINAL_MENU.replace('\t/vmlinuz', f'\t/{"r" * 9999}/v'),
                 _GUEST_MENU, 'too long')):
            e = self.assertRaises(ValueError, grub.adapt, menu, original,
                                  _DELTA_UUID)
            self.assertIn(said, str(e))

    def test_image_without_a_menu(self):
        self.assertRaises(ValueError, grub.adapt, _GUEST_MENU, '',
                          _DELTA_UUID)


_ENTRY = '''\
title Fedora Linux (6.9.5)
version 6.9.5
linux /boot/vmlinuz-6.9.5
initrd /boot/initramfs-6.9.5.img
options console=ttyS0 flexmem.base=1-2 flexmem.writes=disk swiotlb=noforce
'''

_ORIGINAL_ENTRY = '''\
title Fedora Linux (6.8.0)
linux /vmlinuz-6.8.0
options root=UUID=5-6 ro rootflags=subvol=root console=ttyS0
'''


class EntryTest(testtools.TestCase):

    def test_devices_of_the_image(self):
        self.assertEqual('''\
title Fedora Linux (6.9.5)
version 6.9.5
linux /vmlinuz-6.9.5
initrd /initramfs-6.9.5.img
options root=UUID=5-6 rootflags=subvol=root console=ttyS0
''', grub.adapt_entry(_ENTRY, [_ORIGINAL_ENTRY]))

    def test_entry_with_nothing_of_a_guest(self):
        self.assertEqual(_ORIGINAL_ENTRY,
                         grub.adapt_entry(_ORIGINAL_ENTRY, []))
        entry = 'linux /vmlinuz\noptions $kernelopts\n'
        self.assertEqual(entry, grub.adapt_entry(entry, []))

    def test_entries_that_would_fill_the_memory(self):
        options = 'options flexmem.base=x\n'
        for original, entry in (
                (_ORIGINAL_ENTRY.replace('5-6', '5' * 60000), _ENTRY),
                (_ORIGINAL_ENTRY.replace('5-6', '5' * 200),
                 options * 100000)):
            e = self.assertRaises(ValueError, grub.adapt_entry, entry,
                                  [original])
            self.assertIn('too long', str(e))

    def test_entries_that_count(self):
        names = [f'{n:04}.conf' for n in range(3000)]
        found = grub.entries(samples.Tree({
            f'/boot/loader/entries/{name}': ''
            for name in (*names, 'a.txt', "b'.conf", 'c\n.conf')}))
        self.assertEqual([f'/boot/loader/entries/{name}'
                          for name in names[:200]], found)

    def test_image_without_entries(self):
        self.assertRaises(ValueError, grub.adapt_entry, _ENTRY, [])
