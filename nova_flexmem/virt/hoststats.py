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

"""What a host tells the scheduler of its bases.

It is in the statistics of the host's ComputeNode, which nova-compute writes
each minute ([DEFAULT] update_resources_interval) and nova-scheduler reads for
each request: an entry for each image, whose value is the number of instances
that run on its base.
"""

_PREFIX = 'flexmem_base:'

#: Nova keeps the statistics in a column of 64 KiB, and reads those of all
#: hosts for each request.
_MOST = 100


def encode(instances):
    """Return the entries of a host.

    :param instances: {(image id, scope): number of instances}; the scope is
        that of the base, '' or a project's id
    """
    most = sorted(instances.items(), key=lambda item: (-item[1], item[0]))
    return {_name(*base): str(number) for base, number in most[:_MOST]}


def counter(image_id, project_id):
    """Return what counts the instances on bases that a project can share.

    :returns: a function that takes the statistics of a host, a dict, and
        returns None if the host has no base of the image for the project
    """
    names = _name(image_id), _name(image_id, project_id)

    def count(stats):
        # most hosts have neither
        if names[0] not in stats and names[1] not in stats:
            return None
        return sum(int(stats.get(name, 0)) for name in names)

    return count


def _name(image_id, scope=''):
    return f'{_PREFIX}{image_id}:{scope}' if scope else f'{_PREFIX}{image_id}'
