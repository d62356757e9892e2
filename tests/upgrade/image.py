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

"""An image that becomes a base in seconds, of a guest that starts as fast.

It is an ext4 without partitions: the system of microguest, the kernel of this
host's release, and what tells a distribution.
"""

import os

from nova_flexmem import process
from tests.functional import small_image
from tests.upgrade import microguest
from tests.upgrade import releases

_MIB = 1 << 20
_SIZE_BYTES = 256 * _MIB
_INDEXES = ('builtin', 'alias', 'softdep')


def create(path, tree):
    """Make the image.

    :param path: of the raw file to make
    :param tree: a model.Tree that is in it
    :returns: path of the folder that it was made from
    """
    root = f'{path}.root'
    microguest.make_root(root, tree)
    kernel = releases.guest_kernel(releases.HERE)
    files = {
        '/etc/os-release': small_image.GOOD['/etc/os-release'],
        '/etc/debian_version': b'12.0\n', '/etc/hostname': b'upgrade\n',
        '/etc/fstab': b'/dev/vda / ext4 defaults 0 1\n',
        f'/boot/vmlinuz-{kernel.release}': kernel.image}
    modules = f'/lib/modules/{kernel.release}'
    before, dependencies = [], []
    for name, content in kernel.modules:
        files[f'{modules}/kernel/{name}.ko'] = content
        dependencies.append(f'kernel/{name}.ko: {" ".join(before)}\n')
        before.insert(0, f'kernel/{name}.ko')
    files[f'{modules}/modules.dep'] = ''.join(dependencies).encode()
    for index in _INDEXES:
        with open(f'{modules}/modules.{index}', 'rb') as f:
            files[f'{modules}/modules.{index}'] = f.read()
    for name, content in files.items():
        target = root + name
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'xb') as f:
            f.write(content)
    # a program of the image tells its architecture
    os.unlink(f'{root}/bin/sh')
    os.link(f'{root}/bin/busybox', f'{root}/bin/sh')
    process.run('mke2fs', '-q', '-t', 'ext4', '-d', root, path,
                f'{_SIZE_BYTES // _MIB}M', timeout_s=300)
    return root
