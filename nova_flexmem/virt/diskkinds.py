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

"""Which kind of root disks this host has."""

import nova.conf

from nova_flexmem.virt import filedisk
from nova_flexmem.virt import rbddisk

CONF = nova.conf.CONF

#: {Nova's [libvirt] images_type: the class of its root disks}
_KINDS = {'default': filedisk.FileDisk, 'qcow2': filedisk.FileDisk,
          'raw': filedisk.FileDisk, 'flat': filedisk.FileDisk,
          'rbd': rbddisk.RbdDisk}

#: What a delta can be kept in.
IMAGES_TYPES = tuple(_KINDS)


def of(instance, backend=None):
    """Return the rootdisk.RootDisk of an instance.

    :param backend: Nova's image backend of the disk; None where the disk is
        only looked at
    """
    return here()(instance, backend)


def here():
    """Return the class of root disks of this host."""
    return kind(CONF.libvirt.images_type)


def kind(images_type):
    """Return the class of root disks that goes with an images_type."""
    # no instance of other types is a FlexMem one, and none has such a file
    return _KINDS.get(images_type, filedisk.FileDisk)
