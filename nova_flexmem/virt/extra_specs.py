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

"""Validators for ``flexmem`` extra specs, for Nova's API.

Nova loads this module by its entry point in ``nova.api.extra_spec_validators``
and answers 400 to values, or keys of this namespace, that are not known here.
"""

from nova.api.validation.extra_specs import base

from nova_flexmem.guest import lean
from nova_flexmem.virt import policy

_PART = '|'.join(lean.PARTS)


def register():
    """Return the validators, as Nova asks for them."""
    return [
        base.ExtraSpecValidator(
            name=policy.FLAVOR_POLICY,
            description=(
                'Whether instances get a FlexMem device, which shares the'
                ' pages of their image on the host, in place of a root disk'
                ' of their own. ``required``: or they are not built;'
                ' ``preferred``: where it is possible; ``disabled``: never.'),
            value={'type': str, 'enum': list(policy.POLICIES),
                   'description': 'The policy.'}),
        base.ExtraSpecValidator(
            name=policy.FLAVOR_WRITES,
            description=(
                'Where FlexMem instances write. ``disk``: to a disk of their'
                ' own; ``memory``: to their memory, and what they wrote is'
                ' gone when they are powered off.'),
            value={'type': str, 'enum': list(policy.WRITES),
                   'description': 'Where to.'}),
        base.ExtraSpecValidator(
            name=policy.FLAVOR_KERNEL,
            description=(
                'Which kernel FlexMem instances run. ``own``: the one that'
                ' their boot loader would start, once a kernel was installed'
                ' in them; ``base``: the one that their image came with.'),
            value={'type': str, 'enum': list(policy.KERNELS),
                   'description': 'Whose kernel.'}),
        base.ExtraSpecValidator(
            name=policy.FLAVOR_LEAN,
            description=(
                'What FlexMem instances do without, to take less of the'
                ' host\'s memory: a list with commas between. ``tracing``: of'
                ' kernels; ``kaslr``: random addresses of the kernel;'
                ' ``video``: a graphical console; ``nesting``: guests of their'
                ' own with KVM.'),
            value={'type': str, 'pattern': rf'({_PART})(,({_PART}))*',
                   'description': 'Without what.'}),
    ]
