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

"""A disk with this host's fio, for guests whose image has none.

fio comes with all libraries that it is linked with and runs by its own dynamic
loader, so that it does not matter what the image has.
"""

import os
import re
import shutil
import tempfile

from lxml import etree

from nova_flexmem import exception
from nova_flexmem.guest import xmledit
from nova_flexmem import process

_FIO = '/usr/bin/fio'
_LABEL = 'flexmem-fio'
_MOUNTED = '/run/flexmem-fio'

#: Has a guest mount the disk.
MOUNT = f'''\
mkdir -p {_MOUNTED}
mount -o ro LABEL={_LABEL} {_MOUNTED}
'''

#: fio in a guest that has mounted it.
COMMAND = f'{_MOUNTED}/loader --library-path {_MOUNTED}/lib {_MOUNTED}/fio'

#: ldd(1): "name => path (address)", or "path (address)" for the loader; the
#: kernel's own library has no path.
_LIBRARY = re.compile(r'^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$', re.MULTILINE)


def create(path):
    """Write the disk, an ISO 9660 image.

    :raises: BenchFailed if fio is not installed, ProgramFailed
    """
    if not os.access(_FIO, os.X_OK):
        raise exception.BenchFailed(
            reason=f'{_FIO} is not there; install fio on this host')
    libraries = libraries_in(process.run('ldd', _FIO, timeout_s=60))
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, 'lib'))
        for library in libraries:
            name = os.path.basename(library)
            shutil.copy(library, os.path.join(
                folder, 'loader' if name.startswith('ld-linux')
                else f'lib/{name}'))
        shutil.copy(_FIO, os.path.join(folder, 'fio'))
        process.run('xorriso', '-as', 'mkisofs', '-quiet', '-V', _LABEL,
                    '-R', '-o', path, folder, timeout_s=300)


def libraries_in(output):
    """Return the paths of the libraries that ldd lists, with the loader."""
    return _LIBRARY.findall(output)


def attach(xml, path):
    """Return the domain XML with the disk in it, read-only."""
    root = xmledit.parse(xml)
    disk = etree.Element('disk', type='file', device='disk')
    etree.SubElement(disk, 'driver', name='qemu', type='raw')
    etree.SubElement(disk, 'source', file=path)
    etree.SubElement(disk, 'target', dev='vdz', bus='virtio')
    etree.SubElement(disk, 'readonly')
    xmledit.append(root.find('devices'), disk)
    return xmledit.serialize(root)
