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

"""Instances of an image that hosts do not report yet.

A host reports its instances once a minute, and an instance only when its base
is built. Until then the scheduler would place each of several instances that
are created one after the other on another host.
"""

import collections
import datetime

from oslo_log import log
from oslo_utils import timeutils

from nova import context as nova_context
from nova import objects

LOG = log.getLogger(__name__)

#: Most bases are built, and reported, in less.
_WINDOW = datetime.timedelta(minutes=10)

#: Of instances that are asked for; hosts report most of more.
_MOST = 500

#: Where a RequestSpec keeps the answer, for all instances of the request.
_ANSWER = '_flexmem_recent_instances'

_TIMEOUT_S = 5


class Recent:
    """Finds instances of an image that changed lately, in bulk."""

    def __init__(self):
        self._cells = {}

    def instances(self, spec, cell_uuids):
        """Return {host: number of instances} of the image of a request.

        One query for each cell and request; a cell that does not answer counts
        as none.

        :param spec: the RequestSpec
        :param cell_uuids: a set
        """
        asked, answer = getattr(spec, _ANSWER, (None, None))
        if asked != cell_uuids:
            answer = self._ask(spec.image.id, cell_uuids)
            setattr(spec, _ANSWER, (cell_uuids, answer))
        return answer

    def _ask(self, image_id, cell_uuids):
        context = nova_context.get_admin_context()
        results = nova_context.scatter_gather_cells(
            context, [self._cell(context, uuid) for uuid in cell_uuids],
            _TIMEOUT_S, objects.InstanceList.get_by_filters,
            {'image_ref': image_id, 'deleted': False,
             'changes-since': timeutils.utcnow() - _WINDOW},
            limit=_MOST, sort_keys=['updated_at'], sort_dirs=['desc'],
            expected_attrs=[])
        hosts: dict[str, int] = collections.Counter()
        for uuid, instances in results.items():
            if nova_context.is_cell_failure_sentinel(instances):
                LOG.warning('Cell %s did not tell which instances of image'
                            ' %s are new', uuid, image_id)
                continue
            hosts.update(each.host for each in instances if each.host)
        return hosts

    def _cell(self, context, uuid):
        if uuid not in self._cells:
            self._cells[uuid] = objects.CellMapping.get_by_uuid(context, uuid)
        return self._cells[uuid]
