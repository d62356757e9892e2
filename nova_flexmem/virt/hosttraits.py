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

"""The traits by which Placement and other hosts know this host."""

from nova_flexmem.virt import diskkinds
from nova_flexmem.virt import marks

#: All that say where a host keeps root disks.
_OF_DISKS = frozenset(
    trait for images_type in diskkinds.IMAGES_TYPES
    for trait in diskkinds.kind(images_type).TRAITS)


def report(provider_tree, nodename, fit):
    """Report the traits of a host.

    :param provider_tree: Nova's ProviderTree
    :param fit: whether the host can run FlexMem instances
    """
    wanted = {marks.TRAIT, *diskkinds.here().TRAITS} if fit else set()
    provider_tree.add_traits(nodename, *wanted)
    provider_tree.remove_traits(nodename, *({marks.TRAIT} | _OF_DISKS)
                                - wanted)


def keeps_disks_alike(traits):
    """Return whether a host keeps root disks as this one does.

    :param traits: those of the host, a set
    """
    return _OF_DISKS & traits == set(diskkinds.here().TRAITS)
