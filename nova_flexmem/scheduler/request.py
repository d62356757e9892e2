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

"""Which base the instances of a request need."""

import functools

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects

from nova_flexmem.virt import marks
from nova_flexmem.virt import policy

#: How Nova notes the properties of an instance's image in its metadata.
_IMAGE_PROPERTY = f'image_{marks.BASE_IMAGE}'


def base_image(spec):
    """Return the Glance id of the image of the base that a request needs.

    Instances of a layered snapshot use the base of another image than their
    own, which the request does not name: Nova drops properties that it does
    not know. It is in the metadata of the instance.

    :param spec: the RequestSpec
    :returns: None if no base is needed
    """
    image = spec.image
    if (image is None or not image.obj_attr_is_set('id') or not image.id or
            (spec.obj_attr_is_set('is_bfv') and spec.is_bfv) or
            spec.flavor.extra_specs.get(policy.FLAVOR_POLICY) == 'disabled'):
        return None
    if marks.TRAIT in (image.properties.get('traits_required') or ()):
        return _below(spec.instance_uuid, image.id)
    return image.id


@functools.lru_cache(maxsize=1000)
def _below(instance_uuid, image_id):
    """Return what an image lies on, the image itself if it is no snapshot.

    :param image_id: the image; it may be another one after a rebuild
    """
    metadata = _system_metadata(instance_uuid)
    return (metadata.get(marks.SYSTEM_KEY) or metadata.get(_IMAGE_PROPERTY)
            or image_id)


def _system_metadata(instance_uuid):
    context = nova_context.get_admin_context()
    try:
        # an instance has no cell before it has a host
        return objects.BuildRequest.get_by_instance_uuid(
            context, instance_uuid).instance.system_metadata
    except nova_exception.BuildRequestNotFound:
        pass
    try:
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            context, instance_uuid)
        with nova_context.target_cell(context, mapping.cell_mapping) as cell:
            return objects.Instance.get_by_uuid(
                cell, instance_uuid, ['system_metadata']).system_metadata
    except (nova_exception.InstanceMappingNotFound,
            nova_exception.InstanceNotFound):
        return {}
