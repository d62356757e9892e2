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

"""FlexMem instances that are suspended: their memory is in a file.

The file has no page of the base. So the base has to be the same, and in use,
until the instance is resumed.
"""

import os

import libvirt

from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import exception
from nova_flexmem.guest import moving
from nova_flexmem.store import basefiles
from nova_flexmem.virt import bootdigests
from nova_flexmem.virt import capability
from nova_flexmem.virt import running


class Suspension:
    """Suspends instances, and resumes them.

    :param bases: the host's Bases
    :param offered: the host's capability.Capability
    :param host: Nova's nova.virt.libvirt.host.Host
    """

    def __init__(self, bases, offered, host):
        self._bases = bases
        self._offered = offered
        self._host = host

    def check(self, instance, record):
        """Check that a guest can be suspended, and come back.

        :raises: InstanceRefused
        """
        try:
            capability.movable_guest(self._host, instance, record)
        except libvirt.libvirtError as e:
            raise exception.InstanceRefused(
                reason=f'libvirt does not answer: {e}')

    def prepare_resume(self, instance, record):
        """Check that all is here that a saved guest runs on.

        :raises: InstanceRefused, BaseDamaged, StoreUnusable
        """
        place = moving.place_of(
            self._host.get_guest(instance).get_xml_desc())
        base = running.base_of(
            self._bases, record,
            os.path.basename(os.path.dirname(place.root_pmem)))
        if (base is None or base.file(basefiles.ROOT_PMEM) != place.root_pmem
                or not bootdigests.match(base, os.path.dirname(place.kernel),
                                         record)):
            raise exception.InstanceRefused(
                reason='what it was started on is not whole any more'
                f' ({place.root_pmem}, {place.kernel}), so its saved memory'
                ' cannot be used; hard reboot it, which keeps its disk')
        self._bases.store.use(base.key, instance.uuid)
        self._offered.arguments(libvirt_utils.get_instance_path(instance))
