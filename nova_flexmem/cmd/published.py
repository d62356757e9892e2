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

"""What "nova-flexmem image list" and "image prune" do with --published."""

from oslo_utils import units

from nova_flexmem import glanceconf
from nova_flexmem.publish import glance
from nova_flexmem.publish import inventory

_COLUMNS = ('Base', 'Image', 'Status', 'Size MiB', 'Built by', 'Created at',
            'Glance id')


def listed(conf):
    """Return (columns, rows) of all published bases and claims.

    :raises: PublishFailed
    """
    return _rows(inventory.entries(_glance(conf)))


def pruned(conf):
    """Remove what nobody needs; return (columns, rows) of it.

    :raises: PublishFailed
    """
    connected = _glance(conf)
    return _rows(inventory.prune(connected,
                                 inventory.Servers.from_conf(conf)))


def _glance(conf):
    glanceconf.register_opts(conf)
    return glance.Glance.from_conf(conf)


def _rows(entries):
    return _COLUMNS, [(entry.key, entry.image_id, entry.status,
                       round(entry.size_bytes / units.Mi, 1), entry.host,
                       entry.created_at, entry.id) for entry in entries]
