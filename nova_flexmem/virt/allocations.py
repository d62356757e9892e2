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

"""Placement allocations of instances whose rebuild was refused.

Nova takes the allocations of any instance whose rebuild fails
(ComputeManager.rebuild_instance), as if it had been evacuated to here. One
that was refused before it was touched goes on running, and the scheduler
would fill its place with others. So they are put back.
"""

import contextlib
import time

from keystoneauth1 import exceptions as keystone_exceptions
from oslo_log import log

from nova import context as nova_context
from nova import exception as nova_exception

LOG = log.getLogger(__name__)

#: For how long after a refusal Nova may take the allocations.
_WATCH_S = 600


class Allocations:
    """Looks after the allocations of instances whose rebuild was refused."""

    def __init__(self):
        self._kept = {}  # uuid: (what Placement said, when)

    def keep(self, context, reportclient, uuid):
        """Remember the allocations of an instance, as they are."""
        with self._reporting(uuid):
            held = reportclient.get_allocs_for_consumer(context, uuid)
            if held['allocations']:  # else they were taken just before
                self._kept[uuid] = held, time.monotonic()

    def restore(self, reportclient, is_here):
        """Put allocations back that Nova has taken. Call it now and then.

        :param is_here: tells whether the instance of a uuid still is here
        """
        context = nova_context.get_admin_context()
        for uuid, (kept, since) in list(self._kept.items()):
            with self._reporting(uuid):
                held = reportclient.get_allocs_for_consumer(context, uuid)
                taken = not held['allocations'] and is_here(uuid)
                kept['consumer_generation'] = held.get('consumer_generation')
                if taken and reportclient.put_allocations(context, uuid,
                                                          kept):
                    LOG.info('Gave instance %s its allocations in Placement'
                             ' back, which a refused rebuild took', uuid)
                    del self._kept[uuid]
                elif not taken and time.monotonic() - since > _WATCH_S:
                    del self._kept[uuid]

    @staticmethod
    @contextlib.contextmanager
    def _reporting(uuid):
        try:
            yield
        except (nova_exception.NovaException,
                keystone_exceptions.ClientException) as e:
            LOG.warning('A refused rebuild may cost instance %(uuid)s its'
                        ' allocations in Placement: %(e)s',
                        {'uuid': uuid, 'e': e})
