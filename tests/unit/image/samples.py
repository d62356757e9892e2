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

"""Stand-ins for what the base layer gets from outside: images and bases."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid

from nova_flexmem import exception
from nova_flexmem.image import bootloader
from nova_flexmem.image import decompression
from nova_flexmem.image import identifiers
from nova_flexmem.image import installed
from nova_flexmem.store import basefiles
from nova_flexmem.store import locks
from nova_flexmem.store import superblock

MIB = 1 << 20

#: The uuid of small bases.
_IDENTITY = str(uuid.UUID(int=7))


class Tree:
    """An image's root tree in memory: as operating_system.Tree.

    :param files: {path: content}, text or bytes
    """

    def __init__(self, files):
        self._files = {path: content.encode() if isinstance(content, str)
                       else content for path, content in files.items()}

    def is_file(self, path):
        return path in self._files

    def names(self, path):
        return sorted({other[len(path) + 1:].split('/')[0]
                       for other in self._files
                       if other.startswith(f'{path}/')})

    def read(self, path, max_bytes):
        content = self._files.get(path)
        if content is not None and len(content) > max_bytes:
            raise exception.ProgramFailed(program='guestfish',
                                          reason=f'{path} is too large')
        return content

    def decompressed(self, paths, max_bytes, max_all_bytes):
        """As the Tree's, by the programs of this host."""
        folder = tempfile.mkdtemp()
        try:
            for number, path in enumerate(paths):
                with open(os.path.join(folder, str(number)), 'wb') as f:
                    f.write(self._files.get(path, b''))
            return decompression.read(
                Host(), {path: os.path.join(folder, str(number))
                         for number, path in enumerate(paths)},
                max_bytes, max_all_bytes, folder)
        finally:
            shutil.rmtree(folder)

    def read_text(self, path, max_bytes=MIB):
        return (self.read(path, max_bytes) or b'').decode(errors='replace')


def kernel_args(tree, release):
    """Return the command line that an image boots a kernel with."""
    return bootloader.read(tree, installed.find(tree)).args(release)


class Host:
    """Runs an appliance's shell scripts on this host."""

    @staticmethod
    def shell(script):
        return subprocess.run(
            ['sh', '-c', script], check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True).stdout.splitlines()


class Appliance:
    """What libguestfs's appliance answers, and what it was told.

    :param answers: {words of a command, one string: lines}; of commands that
        are not in it, the answer is no line
    :ivar commands: the commands, one string each
    """

    def __init__(self, answers):
        self._answers = answers
        self.commands = []

    def command(self, *words):
        self.commands.append(' '.join(words))
        return self._answers.get(self.commands[-1], [])

    def shell(self, script):
        return self.command('debug', 'sh', script)


def devices(partitions, volumes=()):
    """Return what an Appliance answers about an image's block devices.

    :param partitions: {device file: lines that blkid prints}, or in place of
        the lines the type of a filesystem
    :param volumes: the same of logical volumes
    """
    found = {name: [f'TYPE={facts}', 'USAGE=filesystem']
             if isinstance(facts, str) else facts
             for name, facts in (dict(partitions) | dict(volumes)).items()}
    lines = []
    for name, facts in found.items():
        lines += [f'device {name}', *(
            fact if fact.startswith('links ') else f'fact {fact}'
            for fact in facts)]
    script = identifiers.LOOK_AT.format(devices=' '.join(found))
    return {'list-partitions': list(partitions), 'lvs': list(volumes),
            f'debug sh {script}': lines}


def write_base(folder, key, content=b'root filesystem', **facts):
    """Write a base directory, whole and small, into an existing folder.

    :param content: what root.pmem has for a root filesystem
    :param facts: fields of the manifest that are to be other ones
    :returns: the Manifest
    """
    size = superblock.padded(superblock.DATA_OFFSET_BYTES + len(content))
    contents = {
        basefiles.ROOT_PMEM: (superblock.pack(size, _IDENTITY)
                              + content).ljust(size, b'\0'),
        basefiles.KERNEL: b'kernel', basefiles.INITRAMFS: b'initramfs'}
    for name, data in contents.items():
        with open(os.path.join(folder, name), 'xb') as f:
            f.write(data)
    return write_manifest(folder, key,
                          **{'rootfs_size_bytes': len(content)} | facts)


def write_manifest(folder, key, **facts):
    """Write the manifest of the files in a base directory; return it."""
    manifest = basefiles.Manifest(**{
        'format': basefiles.FORMAT, 'key': key, 'uuid': _IDENTITY,
        'image_sha256': hashlib.sha256(key.encode()).hexdigest(),
        'image_format': 'qcow2', 'image_virtual_size_bytes': 64 * MIB,
        'distro': 'debian 12.0', 'product': 'Debian GNU/Linux 12',
        'rootfs': 'erofs', 'rootfs_size_bytes': 15,
        'kernel_release': '6.1.0-9-amd64', 'kernel_others': [],
        'kernel_args': 'console=ttyS0', 'devices': ['nvdimm'],
        'files': {name: basefiles.File.of(os.path.join(folder, name))
                  for name in basefiles.FILES},
        'built_at': '2026-01-02T03:04:05+00:00', 'built_by': '1.0.0'}
        | facts)
    manifest.write(os.path.join(folder, basefiles.MANIFEST))
    return manifest


def publish(store, key, **facts):
    """Publish a small base in a Store; return its base directory."""
    with store.lock(locks.BUILD, key), store.build_folder(key) as folder:
        target = os.path.join(folder, 'base')
        os.mkdir(target)
        write_base(target, key, **facts)
        store.publish(target, key)
    return os.path.join(store.folder('bases'), key)


def truncate(store, key, name, size_bytes):
    """Cut a published base's file short, as root or a bad disk could."""
    path = os.path.join(store.folder('bases'), key, name)
    os.chmod(path, 0o644)
    os.truncate(path, size_bytes)
