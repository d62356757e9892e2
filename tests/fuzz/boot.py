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

"""Targets: what an image says of how it boots, and what it mounts."""

import string

from nova_flexmem import exception
from nova_flexmem.image import bootloader
from nova_flexmem.image import fstab
from nova_flexmem.image import grub
from nova_flexmem.image import identifiers
from nova_flexmem.image import kernel
from nova_flexmem.image import modules as modules_module
from tests.fuzz import form
from tests.unit.image import samples

_RELEASE = '6.1.0-9-test'
_FOLDER = f'/lib/modules/{_RELEASE}'
_BUILTIN = ''.join(f'kernel/x/{name}.ko\n' for name in (
    'overlay', 'ext4', 'erofs', 'virtio_pci', 'virtio_blk', 'libnvdimm',
    'nfit', 'nd_pmem')).encode()
_SUFFIXES = ('', '.xz', '.zst', '.gz')
_DELTA_UUID = '11111111-2222-3333-4444-555555555555'
_PATH_CHARACTERS = frozenset(string.ascii_letters + string.digits + '_+,.-/')


class _Tree(samples.Tree):

    def read_text(self, path, max_bytes=1 << 20):
        return form.text(self.read(path, max_bytes) or b'')


def kernel_tree(data):
    """A tree with a kernel, whose modules and their list are the input."""
    files = form.parts(data)
    files.setdefault(f'/boot/vmlinuz-{_RELEASE}', _bzimage())
    files.setdefault(f'{_FOLDER}/modules.builtin', _BUILTIN)
    try:
        found = kernel.find(_Tree(files), '/image')
    except (exception.ImageRefused, exception.ProgramFailed):
        return
    assert set(found.rootfs) <= {'erofs', 'ext4'} and found.devices
    for name, content in found.modules:
        assert set(name) <= _PATH_CHARACTERS - {'/', '.'}, name
        assert content.startswith(b'\x7fELF')
    assert len(dict(found.modules)) == len(found.modules) <= 200


def kernel_image(data):
    """A file that may be a kernel."""
    kernel_tree(b''.join((b'== /boot/vmlinuz-', _RELEASE.encode(), b'\n',
                          data)))


def modules(data):
    """The four lists of modules, and the names that are looked for."""
    lists = form.parts(data)
    known = modules_module.Modules(*(lists.get(name, b'') for name in (
        'dep', 'builtin', 'softdep', 'alias')))
    try:
        paths = known.closure(form.text(lists['']).split())
    except ValueError:
        return
    for path in paths:
        assert set(path) <= _PATH_CHARACTERS, path
        assert '..' not in path and path[0] != '/', path
    assert len(set(paths)) == len(paths) <= 200


def module(data):
    """A vendor's module; the first byte tells how it is compressed."""
    path = f'k/overlay.ko{_SUFFIXES[data[0] % 4]}' if data else 'k/overlay.ko'
    try:
        content = modules_module.decompress(path, data[1:])
    except ValueError:
        return
    assert content.startswith(b'\x7fELF') and len(content) <= 32 << 20


def command_line(data):
    """The boot loader's files."""
    files = {f'/boot/vmlinuz-{_RELEASE}': _bzimage(),
             f'{_FOLDER}/modules.builtin': _BUILTIN}
    line = samples.kernel_args(_Tree(form.parts(data) | files), _RELEASE)
    assert line.isprintable() and line.isascii(), line
    assert line.count('"') % 2 == 0 and 'flexmem.' not in line, line
    assert not {'--', '"--"', 'ro', '"ro"'} & set(line.split()), line
    assert bootloader.clean(line) == line


def menu(data):
    """A guest's menu or entry, and the image's."""
    texts = form.parts(data)
    guest = form.text(texts[''])
    originals = [form.text(content) for name, content in texts.items()
                 if name]
    try:
        adapted = [grub.adapt(guest, ''.join(originals[:1]), _DELTA_UUID)]
        adapted += [grub.adapt_entry(guest, originals)]
    except ValueError:
        return
    assert all(len(text) <= 8 << 20 for text in adapted)


def mounts(data):
    """An fstab, and the identifiers of the image's filesystems."""
    texts = form.parts(data)
    text = form.text(texts[''])
    known = {identifiers.normal(line): '/dev/sda1'
             for line in form.text(texts.get('known', b'')).splitlines()}
    for point, mountable in fstab.mountables(text, known).items():
        assert point[0] == '/' and '..' not in point, point
        assert (point + mountable).isprintable(), mountable
        assert "'" not in point + mountable, mountable
    fstab.why_not(text, known, ['/', '/boot'])
    reduced = fstab.reduce(text, known, ['/', '/boot'])
    if 'flexmem' not in text:
        restored = fstab.restore(reduced)
        assert restored == text.removesuffix('\n') + '\n'


def _bzimage():
    content = bytearray(4096)
    content[0x202:0x208] = b'HdrS\x0f\x02'
    content[0x211] = content[0x236] = 1
    return bytes(content)
