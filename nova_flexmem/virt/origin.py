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

"""What an instance is made from, where a rebuild of it was refused.

Nova's API notes the new image before the host is asked, and puts nothing back
where the host refuses. The instance goes on with the disk that it had: moved
to another host, Nova would fetch the new image for it, and keep that under the
name of the old one, for all instances of that.
"""

import functools
import inspect

from nova import safe_utils
from nova import utils as nova_utils

_PREFIX = nova_utils.SM_IMAGE_PROP_PREFIX

#: Fields of an instance that come from properties of its image, and what they
#: are without.
_FROM_PROPERTIES = {'os_type': None, 'architecture': None, 'vm_mode': None,
                    'kernel_id': '', 'ramdisk_id': ''}

_NO_KERNEL = 'nokernel'


class Origins:
    """Keeps what instances were made from while Nova rebuilds them."""

    def __init__(self):
        self._before = {}  # uuid: (image_ref, system metadata)

    def watch(self, manager):
        """Note what instances a ComputeManager rebuilds are made from.

        The manager alone is told what an instance was before.
        """
        rebuild = manager.rebuild_instance
        signature = inspect.signature(safe_utils.get_wrapped_function(rebuild))

        @functools.wraps(rebuild)
        def rebuild_and_note(*args, **kwargs):
            given = signature.bind(manager, *args, **kwargs).arguments
            uuid = given['instance'].uuid
            self._before[uuid] = (given['orig_image_ref'],
                                  given['orig_sys_metadata'])
            try:
                return rebuild(*args, **kwargs)
            finally:
                self._before.pop(uuid, None)

        manager.rebuild_instance = rebuild_and_note

    def put_back(self, instance):
        """Have an instance that Nova rebuilds be what it was before."""
        image_ref, metadata = self._before.get(instance.uuid, (None, None))
        if not metadata:
            return
        if instance.image_ref:  # else it boots from a volume
            instance.image_ref = image_ref
        for key in [*instance.system_metadata]:
            if key.startswith(_PREFIX):
                del instance.system_metadata[key]
        before = {key: value for key, value in metadata.items()
                  if key.startswith(_PREFIX)}
        instance.system_metadata.update(before)
        for name, nothing in _FROM_PROPERTIES.items():
            setattr(instance, name, before.get(f'{_PREFIX}{name}', nothing))
        if instance.kernel_id == _NO_KERNEL:
            instance.kernel_id = instance.ramdisk_id = ''
        instance.save()
