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

"""What /init makes of a delta that overlayfs has an index of.

The first release mounted its overlays with index=on. Such deltas are made
here by the kernel of the host, or of guests, and then used as /init uses them.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import testtools

from nova_flexmem.build import initramfs
from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem import guest
from nova_flexmem.guest import delta
from tests.functional import tiny_guest

_INIT = os.path.join(os.path.dirname(guest.__file__), 'init')

#: Runs as /init does, but on loop devices in a mount namespace of its own.
_HOST_SCRIPT = """
. {init}
LOWER={folder}/lower DELTA={folder}/delta ROOT={folder}/root PATH={folder}/bin
source=delta base={base.uuid} layout={base.layout}
mount -t {base.rootfs} -o ro,loop {base.filesystem} "$LOWER"
mount -t ext4 -o loop {folder}/disk "$DELTA"
read_note
"""

#: As the first release did.
_USE_AS_BEFORE = """
mkdir -p "$DELTA/upper" "$DELTA/work"
mount_overlay index=on || exit
cd "$ROOT"
{script}
cd /
umount "$ROOT"
"""

_USE = """
mount_root
note_layout
cd "$ROOT"
{script}
"""

#: What a guest does to files of the image that have several names.
_CHANGE = """
echo new > data/a1
echo new > data/b2; rm data/b2
rm data/c1
mv folder renamed
echo new > data/d1
echo new > renamed/e4
echo other > x; mv x data/e2
mv data/f1 data/f9; echo new > data/f9; mv data/f2 renamed/f8
rm -r gone; mkdir gone; echo other > gone/g4; echo new > data/g1
rm data/h1 data/h2 data/h3
echo changed > data/single
"""

_SHOW = """
find data renamed folder gone -type f 2>/dev/null | sort | while read -r f; do
    read -r line < $f
    echo "$f $line"
done
"""

#: Under the names that a folder of the image gets.
_TREE = {'data': 'a1 a2 a3 b1 b2 b3 c1 c2 c3 d1 d2 d3 e1 e2 e3 f1 f2 f3'
                 ' g1 g2 g3 h1 h2 h3 single',
         'folder': 'd4 e4 k1', 'gone': 'g4'}

_CHANGED = """\
data/a1 new
data/a2 new
data/a3 new
data/b1 new
data/b3 new
data/c2 old c
data/c3 old c
data/d1 new
data/d2 new
data/d3 new
data/e1 new
data/e2 other
data/e3 new
data/f3 new
data/f9 new
data/g1 new
data/g2 new
data/g3 new
data/single changed
gone/g4 other
renamed/d4 new
renamed/e4 new
renamed/f8 new
renamed/k1 old k
"""

_LINKS = """
stat -c %h data/a1 data/b1 data/d1 data/e1 data/f3 data/g1
[ data/a1 -ef data/a3 ] && [ data/d2 -ef renamed/d4 ] && echo same
echo later > data/a3; cat data/a1
ls -A "$DELTA/work" "$DELTA/upper"
"""


def _make_tree(folder, first=()):
    """Make the image's files: those with the same letter are one.

    :param first: names of more files, which the others' numbers come behind
    """
    tree = tiny_guest.make_tree(folder)
    for name in first:
        (tree / name).write_text(f'{name}\n')
    originals: dict[str, pathlib.Path] = {}
    for place, names in _TREE.items():
        (tree / place).mkdir()
        for name in names.split():
            path = tree / place / name
            if name[0] in originals:
                os.link(originals[name[0]], path)
            else:
                originals[name[0]] = path
                path.write_text(f'old {name[0]}\n' * 2000)
    return str(tree)


class _TestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root, to mount and to run guests')
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        self.folder = tempfile.mkdtemp(prefix='flexmem-test-', dir='/var/tmp')
        self.addCleanup(shutil.rmtree, self.folder)

    def base(self, name='base', rootfs='erofs', first=(), identity=None):
        tree = _make_tree(f'{self.folder}/{name}-tree', first)
        return tiny_guest.Base(f'{self.folder}/{name}', tree, rootfs, identity)


class HostTest(_TestCase):
    """With the kernel of the host, by parts of /init."""

    def setUp(self):
        super().setUp()
        with open('/proc/filesystems') as f:
            known = f.read().split()
        if not {'overlay', 'erofs', 'ext4'} <= set(known):
            self.skipTest('this kernel has no overlay, erofs and ext4 loaded')
        for name in ('lower', 'delta', 'root', 'bin'):
            os.mkdir(f'{self.folder}/{name}')
        # a guest has these programs and no others
        for applet in initramfs._APPLETS:
            os.symlink(initramfs.BUSYBOX, f'{self.folder}/bin/{applet}')
        for applet in ('sort', 'ls', 'dd', 'mknod'):  # the tests themselves
            os.symlink(initramfs.BUSYBOX, f'{self.folder}/bin/{applet}')
        delta.create(f'{self.folder}/disk', delta.MIN_SIZE_BYTES)

    def run_script(self, base, script, code=0):
        text = _HOST_SCRIPT.format(init=_INIT, folder=self.folder,
                                   base=base) + script
        done = subprocess.run(
            ['unshare', '--mount', '--propagation', 'private',
             initramfs.BUSYBOX, 'sh', '-c', text], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(code, done.returncode, done.stdout)
        return done.stdout

    def use_as_before(self, base, script=_CHANGE + _SHOW):
        return self.run_script(base, _USE_AS_BEFORE.format(script=script))

    def use(self, base, script=_SHOW, before=''):
        return self.run_script(base, before + _USE.format(script=script))

    def use_quietly(self, base, script=_SHOW):
        """Use the delta; returns only what the script prints."""
        return ''.join(line for line in self.use(base, script).splitlines(
            keepends=True) if not line.startswith('flexmem: '))

    def assert_converted(self, base):
        self.assertEqual(_CHANGED, self.use_quietly(base))
        self.assertEqual(
            '3\n2\n4\n3\n3\n3\nsame\nlater\n'
            f'{self.folder}/delta/upper:\ndata\nfolder\ngone\nrenamed\n'
            f'\n{self.folder}/delta/work:\nwork\n',
            self.use(base, _LINKS))

    def test_erofs(self):
        base = self.base()
        self.assertEqual(_CHANGED, self.use_as_before(base))
        self.assertIn('flexmem: making hard links', self.use(base))
        self.assert_converted(base)

    def test_ext4(self):
        base = self.base(rootfs='ext4')
        self.assertEqual(_CHANGED, self.use_as_before(base))
        self.assertIn('flexmem: making hard links', self.use(base))
        self.assert_converted(base)

    def test_without_an_index_nothing_is_searched(self):
        base = self.base()
        no_search = 'find() { echo searching; exit 1; }\n'
        for change in ('', 'echo changed > data/single'):
            if change:
                self.use_as_before(base, change)
            said = self.use(base, 'echo ready', no_search)
            self.assertTrue(said.endswith('ready\n'), said)
            self.assertNotIn('searching', said)

    def test_cut_off_anywhere(self):
        base = self.base()
        self.use_as_before(base)
        shutil.copy(f'{self.folder}/disk', f'{self.folder}/before')
        self._write_cut_init()
        call = 1
        while self._cut_off(base, call):
            said = self.use(base, _SHOW + 'ls -A . "$DELTA/work"')
            self.assertIn(_CHANGED, said, call)
            self.assertNotIn('.flexmem', said, call)
            self.assertNotIn('index', said, call)
            shutil.copy(f'{self.folder}/before', f'{self.folder}/disk')
            call += 1
        self.assertLess(30, call)

    def _write_cut_init(self):
        """Write an /init that counts the changes that it makes to a delta.

        Functions would not do: a part runs in shells below. Nor would
        programs of these names: busybox's shell takes its own.
        """
        text = pathlib.Path(_INIT).read_text()
        before, conversion = text.split('convert_index() {', 1)
        conversion, after = conversion.split('\nmount_root() {', 1)
        conversion = re.sub(
            r'(?<![\w$/-])(ln|mv|rm|mkdir|sync|umount)(?=[ \n])',
            rf'{self.folder}/cut \1', conversion)
        pathlib.Path(self.folder, 'init').write_text(
            f'{before}convert_index() {{{conversion}\nmount_root() {{{after}')
        cut = pathlib.Path(self.folder, 'cut')
        cut.write_text(f"""#!{initramfs.BUSYBOX} sh
            echo . >> {self.folder}/count
            [ "$(grep -c . {self.folder}/count)" != "$CALL" ] || kill -9 0
            exec "$@"
            """)
        cut.chmod(0o755)

    def _cut_off(self, base, call):
        """Kill /init at its nth change; returns whether it made as many."""
        pathlib.Path(self.folder, 'count').write_text('')
        text = _HOST_SCRIPT.format(
            init=f'{self.folder}/init', folder=self.folder,
            base=base) + _USE.format(script='')
        done = subprocess.run(
            ['unshare', '--mount', '--propagation', 'private',
             initramfs.BUSYBOX, 'sh', '-c', text], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=60, start_new_session=True,
            env={'CALL': str(call), 'PATH': os.environ['PATH']})
        self.assertIn(done.returncode, (0, -9), done.stdout)
        return done.returncode == -9

    def test_no_room(self):
        base = self.base()
        self.use_as_before(base)
        self.use_as_before(base, """
            dd if=/dev/zero of=filler bs=1M 2>/dev/null
            dd if=/dev/zero bs=1 >> filler 2>/dev/null""")
        said = self.use(base)
        self.assertIn('flexmem: cannot make hard links of files that the delta'
                      ' changed; trying again at the next start\n', said)
        self.assertTrue(said.endswith(_CHANGED), said)
        self.use_as_before(base, 'rm filler')
        self.use(base)
        self.assert_converted(base)

    def test_another_layout(self):
        base = self.base()
        self.use_as_before(base)
        other = self.base('other', first=('1', '2', '3'))
        said = self.use(other)
        content = dict(line.split(' ', 1) for line in said.splitlines()
                       if not line.startswith('flexmem:'))
        # what the delta still has a name of that is the image's
        wanted = dict(line.split(' ', 1) for line in _CHANGED.splitlines())
        lost = {'data/b1': 'old b', 'data/b3': 'old b',   # no name is left
                'data/f3': 'old f',                       # other names
                'data/e1': 'old e', 'data/e3': 'old e'}   # renamed folder
        self.assertEqual(wanted | lost, content)
        for name in ('/data/f9', '/renamed/f8', '/renamed/e4'):
            self.assertIn(f'flexmem: {name} was changed; if', said)
        self.assertIn(f'changed is {self.folder}/delta/lost+found/00fb', said)
        self.assertEqual('new\n', self.use(
            other, 'cd "$DELTA/lost+found"; grep -hx new *;'
            ' [ ! -e "$DELTA/work/index" ]'))

    def test_what_is_no_entry_of_a_file(self):
        base = self.base()
        self.use_as_before(base, _CHANGE + """
            cd "$DELTA/work/index"
            mknod 00fb1d0001 c 0 0
            mkdir 00fb1d0001dir
            mknod '#5' c 0 0
            """)
        self.use(base)
        self.assert_converted(base)

    def test_entries_that_another_kernel_made(self):
        base = self.base()
        self.use_as_before(base, 'echo new > data/a1; echo x > $DELTA/x')
        hexadecimal = base.uuid.replace('-', '')
        names = [f'00fb1d0099{hexadecimal}' + '00' * 8, '00fb', 'x; reboot',
                 f'00fb1d0001{"0" * 32}' + '00' * 8,
                 f'00fb1d0001{hexadecimal}' + 'zz' * 8]
        self.run_script(base, '\n'.join(
            f'ln "$DELTA/x" "$DELTA/work/index/{name}"' for name in names))
        said = self.use(base, 'cat data/a2; ls "$DELTA/work"')
        self.assertTrue(said.endswith('new\nwork\n'), said)
        self.assertIn(f'changed is {self.folder}/delta/lost+found/00fb', said)


class GuestTest(_TestCase):
    """In guests, with each kernel of FLEXMEM_TEST_KERNELS."""

    def setUp(self):
        super().setUp()
        try:
            emulator.find()
        except exception.HostUnfit as e:
            self.skipTest(str(e))
        self.kernels = [tiny_guest.Kernel(system)
                        for system in tiny_guest.SYSTEMS]
        with open(_INIT) as f:
            self.old_init = f.read()
        for new, old in (('index=off', 'index=on'),
                         ('if convert_index', 'if true')):
            self.assertIn(new, self.old_init)
            self.old_init = self.old_init.replace(new, old)

    def test_erofs(self):
        self._check('erofs', 'virtio-scsi')

    def test_ext4(self):
        self._check('ext4', 'virtio-blk')

    def _check(self, rootfs, disk):
        base = self.base(rootfs=rootfs)
        for number, kernel in enumerate(self.kernels):
            running = tiny_guest.Guest(f'{self.folder}/guest{number}')
            self.assertEqual(_CHANGED, running.boot(
                base, kernel, f'cd /\n{_CHANGE}{_SHOW}', init=self.old_init,
                layout=False))
            # as after an upgrade of the guest's kernel as well
            newest = self.kernels[-1]
            self.assertEqual(_CHANGED, running.boot(
                base, newest, f'cd /\n{_SHOW}', disk=disk))
            self.assertIn('flexmem: making hard links', running.console)
