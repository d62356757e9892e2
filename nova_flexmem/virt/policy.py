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

"""What was asked for: by the flavor, by the image, by the host's defaults."""

import dataclasses

from nova_flexmem import exception
from nova_flexmem.guest import lean

POLICIES = ('required', 'preferred', 'disabled')
WRITES = ('disk', 'memory')
KERNELS = ('own', 'base')

#: The extra specs of flavors and the properties of images.
FLAVOR_POLICY, IMAGE_POLICY = 'flexmem:policy', 'flexmem_policy'
FLAVOR_WRITES, IMAGE_WRITES = 'flexmem:writes', 'flexmem_writes'
FLAVOR_KERNEL, IMAGE_KERNEL = 'flexmem:kernel', 'flexmem_kernel'
FLAVOR_LEAN, IMAGE_LEAN = 'flexmem:lean', 'flexmem_lean'


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an instance shall get.

    :ivar policy: one of POLICIES
    :ivar writes: one of WRITES
    """

    policy: str
    writes: str


def asked(extra_specs, properties, *, default_policy, default_writes,
          image_policy):
    """Return what a flavor and an image ask for together.

    Where both give a policy, ``required`` and ``disabled`` contradict each
    other, and ``preferred`` gives way to either. Where both give a writes
    policy, they must agree. The defaults hold where neither says anything.

    :param extra_specs: of the flavor, a dict
    :param properties: of the image, a dict
    :param image_policy: what the image may do: the option of that name
    :returns: an Asked
    :raises: PolicyConflict
    """
    if image_policy == 'ignore':
        properties = {}
    policies = _given(extra_specs, FLAVOR_POLICY, properties, IMAGE_POLICY,
                      POLICIES)
    if image_policy == 'narrow' and FLAVOR_POLICY not in extra_specs:
        policies = _narrowed(default_policy, policies)
    decided = policies - {'preferred'} or policies
    writes = _given(extra_specs, FLAVOR_WRITES, properties, IMAGE_WRITES,
                    WRITES)
    for names, values in ((f'{FLAVOR_POLICY} and {IMAGE_POLICY}', decided),
                          (f'{FLAVOR_WRITES} and {IMAGE_WRITES}', writes)):
        if len(values) > 1:
            raise exception.PolicyConflict(
                reason=f'flavor and image contradict each other ({names}:'
                f' {" and ".join(sorted(values))}); use another flavor or'
                ' another image')
    return Asked(*decided or {default_policy}, *writes or {default_writes})


def asked_kernel(extra_specs, properties, *, guest_kernels, image_policy):
    """Return whose kernel an instance runs.

    "base" of either the flavor or the image decides. An image that says
    "own" has it if the flavor says nothing and image_policy is "allow".

    :param extra_specs: of the flavor, a dict
    :param properties: of the image, a dict
    :param guest_kernels: the option of that name: what holds where neither
        says anything
    :param image_policy: what the image may do: the option of that name
    :returns: one of KERNELS
    :raises: PolicyConflict for a value that is none of them
    """
    if image_policy == 'ignore':
        properties = {}
    by_flavor = _given(extra_specs, FLAVOR_KERNEL, {}, '', KERNELS)
    by_image = _given({}, '', properties, IMAGE_KERNEL, KERNELS)
    if 'base' in by_flavor | by_image:
        return 'base'
    allowed = guest_kernels or by_flavor or (
        by_image and image_policy == 'allow')
    return 'own' if allowed else 'base'


def without(extra_specs, properties, *, image_policy):
    """Return what an instance does without, to take less memory.

    That is what the flavor names, and what the image names.

    :param extra_specs: of the flavor, a dict
    :param properties: of the image, a dict
    :param image_policy: what the image may do: the option of that name
    :returns: a list of lean.PARTS
    :raises: PolicyConflict
    """
    parts: set[str] = set()
    for values, name, owner in ((extra_specs, FLAVOR_LEAN, 'flavor'),
                                (properties, IMAGE_LEAN, 'image')):
        if name not in values or (owner == 'image'
                                  and image_policy == 'ignore'):
            continue
        try:
            parts.update(lean.parse(values[name]))
        except ValueError as e:
            raise exception.PolicyConflict(
                reason=f'{name}: {e}; correct the {owner}')
    return [part for part in lean.PARTS if part in parts]


def allows(extra_specs, *, default_policy, image_policy):
    """Return whether FlexMem is allowed where an image needs it.

    :param extra_specs: of the flavor, a dict
    """
    return (image_policy == 'allow' or
            extra_specs.get(FLAVOR_POLICY, default_policy) != 'disabled')


def _narrowed(default_policy, policies):
    """Return the policies where an image may not widen the host's.

    :param policies: what the image says, a set
    :raises: PolicyConflict
    """
    if default_policy == 'required':
        return policies - {'preferred'}
    if default_policy == 'preferred' or policies <= {'disabled'}:
        return policies
    if 'required' in policies:
        raise exception.PolicyConflict(
            reason=f'the image requires it ({IMAGE_POLICY}), but the flavor'
            f' does not offer it; use a flavor with {FLAVOR_POLICY}')
    return {'disabled'}


def _given(extra_specs, extra_spec, properties, image_property, allowed):
    given = {name: value
             for name, value in ((extra_spec, extra_specs.get(extra_spec)),
                                 (image_property,
                                  properties.get(image_property)))
             if value is not None}
    for name, value in given.items():
        if value not in allowed:
            raise exception.PolicyConflict(
                reason=f'{name}={value} is none of {", ".join(allowed)};'
                ' correct the ' + ('flavor' if ':' in name else 'image'))
    return set(given.values())
