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

"""The libvirt domain that rescues a FlexMem guest.

It boots the rescue image in the stock way. Nova attaches the delta, if there
is one. The base is attached as a read-only disk, so that both layers of the
broken guest's root can be mounted.
"""

import string

from lxml import etree

from nova_flexmem import exception
from nova_flexmem.guest import basedisk
from nova_flexmem.guest import xmledit

#: The serial by which the base's disk is found in the rescue guest.
BASE_SERIAL = 'flexmem-base'


def attach_base(xml, root_pmem, offset_bytes, size_bytes, missing_disk=None):
    """Return domain XML with a base's root filesystem as one more disk.

    :param xml: libvirt domain XML of the rescue guest, text
    :param root_pmem: path of the base's root.pmem
    :param offset_bytes: where the root filesystem begins in root.pmem
    :param size_bytes: size of the root filesystem
    :param missing_disk: path of the root disk, or pool and name of its image,
        if that does not exist, as with writes='memory'; the base takes its
        place
    :returns: libvirt domain XML, text
    :raises: DomainRefused if the guest has no room for another disk
    """
    root = xmledit.parse(xml)
    absent = next(iter(root.xpath(
        'devices/disk[source[@file=$name or @name=$name]]',
        name=missing_disk or '')), None)
    if absent is not None and absent.find('target').get('bus') == 'virtio':
        # those behind it keep their letters
        before, target = absent, absent.find('target')
    else:
        before = root.findall('devices/disk')[-1]
        target = etree.Element('target', dev=_free_name(root), bus='virtio')
    xmledit.insert(
        before.getparent(), before.getparent().index(before) + 1,
        basedisk.part(root_pmem, offset_bytes, size_bytes, target,
                      BASE_SERIAL))
    if absent is not None:
        xmledit.remove(absent)
    return xmledit.serialize(root)


def _free_name(root):
    taken = set(root.xpath('devices/disk/target/@dev'))
    name = next((f'vd{letter}' for letter in string.ascii_lowercase
                 if f'vd{letter}' not in taken), None)
    if name is None:
        raise exception.DomainRefused(
            domain=root.findtext('name') or '(unnamed)',
            reason='all its virtio disks are taken; detach a volume')
    return name
