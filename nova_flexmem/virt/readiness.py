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

import dataclasses
import threading

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.host import preflight
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)

#: Seconds between two checks of a host that is fit. If it is not, the first
#: pause is short, and each next one is twice as long.
_FIT_PAUSE_S = 600
_UNFIT_PAUSE_S = 30
_LONGEST_PAUSE_S = 1800


class Readiness:
    """Knows whether the host is fit; checks beside the service's own work.

    :param group: the [flexmem] options
    :param virt_type: Nova's [libvirt] virt_type
    :param storage: the host.ceph.Ceph that root disks are in, if they are in
        one
    :ivar findings: of the last checks, a list of preflight.Finding
    """

    def __init__(self, group, virt_type, storage=None):
        self.findings = []
        self._group = group
        self._arguments = {'virt_type': virt_type}
        if storage is not None:
            self._arguments['storage'] = dataclasses.asdict(storage)
        self._known = threading.Event()
        self._stopped = threading.Event()

    def start(self):
        """Check the host again and again, in a thread of its own."""
        self._stopped = threading.Event()
        threading.Thread(target=self._run, args=(self._stopped,),
                         name='flexmem-preflight', daemon=True).start()

    def stop(self):
        """Begin no further check."""
        self._stopped.set()

    @property
    def fit(self):
        """Whether the host is fit, or None as long as that is not known."""
        return not self._reasons() if self._known.is_set() else None

    def wait(self):
        """Wait until the first checks are done.

        :raises: HostUnfit if one of the last checks failed
        """
        if not self._known.wait(self._group.build_wait_s):
            raise exception.HostUnfit(reason='its checks have not ended yet')
        if reasons := self._reasons():
            raise exception.HostUnfit(reason='; '.join(reasons))

    def _reasons(self):
        return [finding.message for finding in self.findings if not finding.ok]

    def _run(self, stopped):
        unfit_pause_s = _UNFIT_PAUSE_S
        while True:
            self._check()
            if self.fit:
                pause_s, unfit_pause_s = _FIT_PAUSE_S, _UNFIT_PAUSE_S
            else:
                pause_s = unfit_pause_s
                unfit_pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if stopped.wait(pause_s):
                return

    def _check(self):
        before = self._reasons()
        try:
            self.findings = [
                preflight.Finding(**finding) for finding in worker.call(
                    'preflight', self._group, **self._arguments)]
        except Exception as e:
            # whatever it is: instances would wait for a thread that has ended
            if not isinstance(e, exception.FlexMemException):
                LOG.exception('Checking whether this host is fit')
            self.findings = [preflight.Finding(
                'preflight', False, f'its checks failed: {e}')]
        reasons = self._reasons()
        for reason in reasons:
            if reason not in before:
                LOG.error('This host cannot run FlexMem instances, and does'
                          ' not report trait CUSTOM_FLEXMEM: %s', reason)
        if before and not reasons:
            LOG.info('This host can run FlexMem instances again')
        self._known.set()
