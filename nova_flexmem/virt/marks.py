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

"""Names by which Nova and Glance know FlexMem.

The API and the scheduler need them as well, whose hosts lack the packages that
nova-compute needs.
"""

#: Of hosts that FlexMem instances can run on.
TRAIT = 'CUSTOM_FLEXMEM'

#: Property of a layered snapshot: the image that it lies on.
BASE_IMAGE = 'flexmem_base_image'

#: Key in an instance's system metadata, which no tenant can set: the image
#: that it was made from. It opens that image when the instance is unshelved.
SYSTEM_KEY = 'flexmem_base_image'


def is_made_from(instance, image_id):
    """Return whether an instance was made from an image before.

    :param instance: an instance, or whoever else needs a base
    """
    metadata = getattr(instance, 'system_metadata', {})
    return metadata.get(SYSTEM_KEY) == image_id
