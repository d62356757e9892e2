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

"""Finds the stock instances of this host, and the image that each came from.

QEMU's command line names the file in Nova's image cache if the instance's disk
is an overlay on it. Otherwise the metadata that Nova gives the domain has the
image's id, and the cache has the file under a digest of the id
(nova.virt.libvirt.imagecache.get_cache_fname).
"""

import dataclasses
import hashlib
import json
import os
import re

import libvirt
from lxml import etree
from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import memory
from nova_flexmem.host import pages
from nova_flexmem.host import processes
from nova_flexmem import libvirt_connection
from nova_flexmem.store import basefiles

LOG = log.getLogger(__name__)

_NAMESPACE = 'http://openstack.org/xmlns/libvirt/nova/1.1'

#: Names of images in Nova's cache; names of ephemeral and swap disks differ.
_CACHED = re.compile(r'[0-9a-f]{40}')


@dataclasses.dataclass(frozen=True)
class Instance:
    """An instance, and the image that it was made from.

    :ivar qemu: its process, a processes.Qemu
    :ivar image: id of the image, or the path of its file if the id is not
        known
    :ivar path: the image's file in Nova's cache
    """

    qemu: processes.Qemu
    image: str
    path: str


def image_ids():
    """Return the image of each domain that Nova made: {uuid: image id}.

    Of an instance without an image, which boots from a volume, the id is ''.
    If libvirt does not answer, the result is empty.
    """
    images = {}
    try:
        with libvirt_connection.read_only() as connection:
            for domain in connection.listAllDomains(
                    libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    images[domain.UUIDString()] = image_id(domain.metadata(
                        libvirt.VIR_DOMAIN_METADATA_ELEMENT, _NAMESPACE))
                except libvirt.libvirtError as e:
                    LOG.debug('%s: %s', domain.name(), e)  # not Nova's, gone
    except libvirt.libvirtError as e:
        LOG.info('The names of images are not known, as libvirt does not'
                 ' answer: %s', e)
    return images


def image_id(metadata):
    """Return the image id in Nova's metadata of a domain, or ''.

    :param metadata: XML
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    root = etree.fromstring(metadata, parser).find(f'{{{_NAMESPACE}}}root')
    if root is None or root.get('type') != 'image':
        return ''
    return root.get('uuid', '')


def find(qemu, ids, cache):
    """Return the Instance of a QEMU process.

    :param qemu: a processes.Qemu
    :param ids: {uuid: image id} from image_ids()
    :param cache: folder of Nova's image cache
    :raises: InstanceLeftOut if it cannot be estimated; OSError if it has
        ended
    """
    words = memory.read(qemu.pid, 'cmdline').split('\0')
    if any(f'/{basefiles.ROOT_PMEM}' in word for word in words):
        raise _left_out('it has FlexMem already')
    image, path = ids.get(qemu.uuid), _backing_file(words)
    if path is None:
        if not image:
            raise _left_out(
                'it was not made from an image in Nova\'s image cache: it'
                ' boots from a volume, or its disks are in another storage')
        path = os.path.join(cache, _cache_name(image))
    elif not image or not os.path.basename(path).startswith(
            _cache_name(image)):
        # a server of a snapshot: Nova names the snapshot's own image
        image = path
    if not os.path.exists(path):
        raise _left_out(
            f'its image {image} is not in Nova\'s image cache any more'
            f' ({path}); cache the image on this host ("openstack aggregate'
            ' cache image") or boot a server of it here, and run this again')
    return Instance(qemu, image, path)


def ram(qemu):
    """Return the memory.Areas that are the RAM of a QEMU process.

    :raises: InstanceLeftOut if FlexMem does not take its kind of memory;
        OSError if it has ended, or this user may not look
    """
    areas = accounting.ram_areas(accounting.areas_of(qemu.pid), qemu)
    if areas and not any(area.inode for area in areas):
        return areas
    # the sizes of pages are in smaps, which takes longer to read
    detailed = memory.parse(memory.read(qemu.pid, 'smaps'))
    starts = {area.start for area in areas}
    if any(area.kib.get('KernelPageSize', 0) << 10 > pages.PAGE_BYTES
           for area in detailed
           if area.start in starts or area.size_bytes in qemu.ram_bytes):
        raise _left_out(
            'its RAM is in huge pages, which stay reserved whatever the guest'
            ' uses, so FlexMem saves disk and page cache there, but no RAM')
    if not areas:
        raise _left_out('its RAM cannot be told from other memory of QEMU')
    return areas


def _left_out(reason):
    return exception.InstanceLeftOut(reason=reason)


def _cache_name(image):
    return hashlib.sha1(image.encode(), usedforsecurity=False).hexdigest()


def _backing_file(words):
    """Return the file at the end of the root disk's backing chain, or None.

    :param words: QEMU's command line, a list
    """
    nodes = {}
    for option, value in zip(words, words[1:]):
        if option == '-blockdev' and value.startswith('{'):
            try:
                fields = json.loads(value)
                nodes[fields['node-name']] = fields
            except (ValueError, KeyError):
                continue  # not every process with QEMU's name is QEMU
    below = {fields.get('backing') for fields in nodes.values()
             if isinstance(fields.get('backing'), str)}
    paths = [path for name, fields in nodes.items()
             if fields.get('backing') in nodes and name not in below
             and (path := _end_of_chain(fields, nodes))]
    cached = [path for path in paths
              if _CACHED.match(os.path.basename(path))]
    return (cached or paths or [None])[0]


def _end_of_chain(fields, nodes):
    """Return the path of the last file of a backing chain, or None."""
    for _step in nodes:
        if fields.get('backing') not in nodes:
            break
        fields = nodes[fields['backing']]
    file = fields.get('file', fields)
    file = nodes.get(file, {}) if isinstance(file, str) else file
    return file.get('filename')
