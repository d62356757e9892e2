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

"""What is asked for an instance: by its flavor, its image and this host."""

import nova.conf

from nova_flexmem import exception
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy

CONF = nova.conf.CONF


def asked(instance, link):
    """Return what is asked for, by flavor and image.

    A layered snapshot tells what its instance was, whatever the defaults
    are by now. The metadata of an instance that is unshelved are those of
    its first image.

    :param link: the layered.Link of its image; None for other images
    :returns: a policy.Asked
    :raises: PolicyConflict
    """
    properties = _properties(instance)
    specs, group = instance.flavor.extra_specs, CONF.flexmem
    if link is None:
        return policy.asked(
            specs, properties, default_policy=group.default_policy,
            default_writes=group.default_writes,
            image_policy=group.image_policy)
    if (layered.SYSTEM_KEY not in instance.system_metadata and
            not policy.allows(specs, default_policy=group.default_policy,
                              image_policy=group.image_policy)):
        raise exception.PolicyConflict(
            reason='it is a layered snapshot, which only FlexMem instances'
            f' can boot; use a flavor with {policy.FLAVOR_POLICY}, or'
            ' flatten it')
    return policy.asked(specs, properties, default_policy='required',
                        default_writes='disk', image_policy='allow')


def direct_paths(instance):
    """Return the folders that lie directly on the delta, a list.

    Those of the host, and what the image names.
    """
    named = ('' if CONF.flexmem.image_policy == 'ignore' else
             _properties(instance).get(layered.DIRECT_PATHS, ''))
    return [*dict.fromkeys((*CONF.flexmem.direct_paths,
                            *filter(None, named.split(','))))]


def asked_kernel(instance):
    """Return whose kernel an instance runs: one of policy.KERNELS.

    :raises: PolicyConflict
    """
    return policy.asked_kernel(
        instance.flavor.extra_specs, _properties(instance),
        guest_kernels=CONF.flexmem.guest_kernels,
        image_policy=CONF.flexmem.image_policy)


def without(instance):
    """Return what an instance does without: a list of guest.lean.PARTS.

    :raises: PolicyConflict
    """
    return policy.without(instance.flavor.extra_specs, _properties(instance),
                          image_policy=CONF.flexmem.image_policy)


def _properties(instance):
    """Return the properties of an instance's image, {name: value}."""
    prefix = 'image_'
    return {name.removeprefix(prefix): value for name, value
            in instance.system_metadata.items() if name.startswith(prefix)}
