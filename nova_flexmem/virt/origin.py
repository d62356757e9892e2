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

doc/source/nova-bugs.rst is about Nova's part in it.
"""

import inspect

from oslo_log import log
import oslo_messaging

from nova.compute import manager as compute_manager
from nova import exception as nova_exception
from nova import objects
from nova import utils as nova_utils

LOG = log.getLogger(__name__)

_PREFIX = nova_utils.SM_IMAGE_PROP_PREFIX

#: Fields of an instance that come from properties of its image, and what they
#: are without.
_FROM_PROPERTIES = {'os_type': None, 'architecture': None, 'vm_mode': None,
                    'kernel_id': '', 'ramdisk_id': ''}

_NO_KERNEL = 'nokernel'

#: Parameters of the method of Nova's ComputeManager that is told what an
#: instance was before.
PARAMETERS = ('instance', 'orig_image_ref', 'orig_sys_metadata')


class RebuildRefused(nova_exception.InstanceNotFound):
    """A rebuild was refused, and the instance is as it was before.

    Nova takes this for the deletion of the instance under a rebuild, and does
    nothing more to it. After any other exception it deletes the instance's
    allocations in Placement, as if it had been evacuated to here.
    """


def put_back(context, instance):
    """Have an instance that Nova rebuilds be what it was before.

    It is saved: nothing is lost if nova-compute ends now.
    """
    image_ref, metadata = _before(instance)
    if metadata:
        _put_back(instance, image_ref, metadata)
        if instance.image_ref:
            _put_back_request(context, instance)
    else:
        LOG.warning('Nova does not say what the instance was made from before'
                    ' its rebuild, so that its image is the new one',
                    instance=instance)
    instance.task_state = None
    instance.save()


def _before(instance):
    """Return the (image_ref, system metadata) from before a rebuild.

    Nova hands them to its own method alone, which called us.
    """
    method = compute_manager.ComputeManager._do_rebuild_instance
    frame = inspect.currentframe()
    try:
        while frame is not None:
            if frame.f_code.co_name == method.__name__:
                given = [frame.f_locals.get(name) for name in PARAMETERS]
                if given[0] is not None and given[0].uuid == instance.uuid:
                    return given[1:]
            frame = frame.f_back
        return None, None
    finally:
        del frame  # it would keep itself alive


def _put_back(instance, image_ref, metadata):
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


def _put_back_request(context, instance):
    """Have moves of the instance scheduled by the image that it has."""
    try:
        request = objects.RequestSpec.get_by_instance_uuid(context,
                                                           instance.uuid)
        if request.image.id != instance.image_ref:
            request.image = objects.ImageMeta.from_instance(instance)
            request.save()
    except (nova_exception.NovaException,
            oslo_messaging.RemoteError) as e:  # cells may not reach the API's
        LOG.warning('The request of the instance names the image of the'
                    ' rebuild that was refused, and its next move may be'
                    ' scheduled by that: %s', e, instance=instance)
