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

"""The domain of a running FlexMem guest, for the host that it moves to.

The base may lie elsewhere there, and QEMU may need other options to switch
x-ignore-shared on. libvirt compares what a guest sees of its domain on both
hosts, and does not look at options that go to QEMU as they are.
"""

import dataclasses
import re

from nova_flexmem import exception
from nova_flexmem.guest import basedisk
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import qemuargs
from nova_flexmem.guest import xmledit

_BACKEND = re.compile(
    rf'memory-backend-file,id={flexmem_device.BACKEND_ID},mem-path='
    r'(?P<path>(?:[^,]|,,)+),size=(?P<size>\d+),')


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the files that a guest runs on are.

    :ivar root_pmem, kernel, initramfs: paths
    :ivar switch: the arguments of an ignoreshared.Switch, a list of words
    """

    root_pmem: str
    kernel: str
    initramfs: str
    switch: list[str] = dataclasses.field(default_factory=list)


def place_of(xml):
    """Return the Place of a FlexMem domain, less its switch.

    :param xml: libvirt domain XML, text
    :raises: DomainRefused if it is none
    """
    root = xmledit.parse(xml)
    words = qemuargs.values(root)
    return Place(_backend(root, words)['path'].replace(',,', ','),
                 _after(root, words, '-kernel'),
                 _after(root, words, '-initrd'))


def moved(xml, place):
    """Return the XML of a FlexMem domain in another Place.

    :param xml: libvirt domain XML, text
    :raises: DomainRefused if the guest would be lost there
    """
    root = xmledit.parse(xml)
    if not place.switch or ignoreshared.is_ram_shared(root):
        raise _refused(root, 'its RAM would be shared on the other host, or'
                       f' {ignoreshared.CAPABILITY} be off; turn [libvirt]'
                       ' file_backed_memory off there')
    words = ignoreshared.without(qemuargs.values(root))
    found = _backend(root, words)
    [_option, backend] = flexmem_device.memory_backend(place.root_pmem,
                                                       found['size'])
    words[words.index(found.string)] = backend
    for option, path in (('-kernel', place.kernel),
                         ('-initrd', place.initramfs)):
        _after(root, words, option)
        words[words.index(option) + 1] = path
    qemuargs.replace(root, [*words, *place.switch])
    basedisk.move_zeros(root, place.root_pmem)
    return xmledit.serialize(root)


def _backend(root, words):
    for match in filter(None, map(_BACKEND.match, words)):
        return match
    raise _refused(root, 'it has no FlexMem device')


def _after(root, words, option):
    if words.count(option) != 1 or words[-1] == option:
        raise _refused(root, f'it has no {option}, or several')
    return words[words.index(option) + 1]


def _refused(root, reason):
    return exception.DomainRefused(
        domain=root.findtext('name') or '(unnamed)', reason=reason)
