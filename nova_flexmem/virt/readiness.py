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

"""Whether this host can run FlexMem instances, found out by trying."""

import threading

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.host import preflight
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)


class Readiness:
    """Knows whether the host is fit; checks beside the service's own work.

    :param group: the [flexmem] options
    :ivar findings: of the last checks, a list of preflight.Finding
    """

    def __init__(self, group):
        self.findings = []
        self._group = group
        self._known = threading.Event()

    def start(self):
        """Check the host, in a thread of its own."""
        threading.Thread(target=self._check, name='flexmem-preflight',
                         daemon=True).start()

    @property
    def fit(self):
        """Whether the host is fit, or None as long as that is not known."""
        return not self._reasons() if self._known.is_set() else None

    def wait(self):
        """Wait until the first checks are done.

        :raises: HostUnfit if one of them failed
        """
        if not self._known.wait(self._group.build_timeout_s):
            raise exception.HostUnfit(reason='its checks have not ended')
        if reasons := self._reasons():
            raise exception.HostUnfit(reason='; '.join(reasons))

    def _reasons(self):
        return [finding.message for finding in self.findings if not finding.ok]

    def _check(self):
        try:
            self.findings = [
                preflight.Finding(**finding) for finding in
                worker.call('preflight', self._group)]
        except exception.FlexMemException as e:
            self.findings = [preflight.Finding('preflight', False, str(e))]
        for reason in self._reasons():
            LOG.error('This host cannot run FlexMem instances, and does not'
                      ' report trait CUSTOM_FLEXMEM: %s', reason)
        self._known.set()
