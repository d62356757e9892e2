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

"""One bounded scan of KSM after instances have started (ksm = after_boot)."""

import contextlib
import os
import threading
import time

import libvirt
from oslo_log import log
from oslo_utils import units

import nova.conf
from nova import exception as nova_exception

from nova_flexmem import exception
from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import privileged
from nova_flexmem.virt import record

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

_POLL_S = 5

#: A scan waits no longer than so many times ksm_settle_s.
_MOST = 5

#: After a scan there is none for so many times as long as it took.
_REST = 9

#: What a scan takes to end, and root's helper with it.
_END_S = 30


class Starts:
    """Which domains have started lately, and whether they call for a scan.

    A domain is whatever tells one start of an instance from the next.

    :param settle_s: how long a domain must have run
    """

    def __init__(self, settle_s):
        self._settle_s = settle_s
        self._known = None
        self._pending = {}
        self._rest_until_s = 0.0

    def due(self, running, now_s):
        """Return whether it is time for a scan.

        What runs already at the first call counts as scanned.

        :param running: a set of domains
        :param now_s: on any clock
        """
        if self._known is not None:
            self._pending = {domain: since_s for domain, since_s
                             in self._pending.items() if domain in running}
            self._pending |= dict.fromkeys(running - self._known, now_s)
        self._known = running
        if not self._pending or now_s < self._rest_until_s:
            return False
        started = self._pending.values()
        return (now_s - max(started) >= self._settle_s or
                now_s - min(started) >= _MOST * self._settle_s)

    def scanned(self, began_s, ended_s):
        """Note a scan. Domains too young for it call for another."""
        self._pending = {domain: since_s for domain, since_s
                         in self._pending.items()
                         if began_s - since_s < self._settle_s}
        self._rest_until_s = ended_s + _REST * (ended_s - began_s)


class Scans:
    """Has KSM scan when FlexMem instances have started and settled.

    :param group: the [flexmem] options
    :param host: Nova's libvirt Host
    :param switch: returns a context with KSM's switch, see ksm.scan_once()
    :param clock: as time.monotonic()
    """

    def __init__(self, group, host, switch=privileged.switch,
                 clock=time.monotonic):
        self._group = group
        self._host = host
        self._switch = switch
        self._clock = clock
        self._starts = Starts(group.ksm_settle_s)
        self._told = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='flexmem-ksm',
                                        daemon=True)

    def start(self):
        """Begin to watch instances, in a thread, if the options say so.

        Without, KSM is still stopped if a nova-compute was killed while it
        scanned.
        """
        if self._group.ksm == 'after_boot':
            self.poll()  # Nova may start instances soon after this
            self._thread.start()
        else:
            with self._telling():
                if ksm_switch.Switch().abandoned():
                    self._put_back()

    def stop(self):
        """End the thread, and a scan with it."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self):
        with self._telling():
            self._put_back()  # and see whether we may
        while not self._ended.wait(_POLL_S):
            self.poll()

    def _put_back(self):
        with self._switch() as switch:
            switch.off()

    def poll(self):
        """Look at the instances once, and have KSM scan if it is time."""
        with self._telling():
            if self._starts.due(self._running(), self._clock()):
                self._scan()

    def _running(self):
        """Return what FlexMem instances run: pairs of uuid and libvirt's id.

        The id changes when a domain is started anew.
        """
        return {(guest.uuid, guest.id) for guest in self._host.list_guests()
                if os.path.exists(os.path.join(
                    CONF.instances_path, guest.uuid, record.NAME))}

    def _scan(self):
        began_s = self._clock()
        try:
            with self._switch() as switch:
                done = ksm.scan_once(limit_s=self._group.ksm_limit_s,
                                     switch=switch,
                                     unwanted=self._ended.is_set)
        finally:
            self._starts.scanned(began_s, self._clock())
        self._told = None
        LOG.info(
            'KSM has scanned for %(seconds).0f s%(how)s, %(cpu_s).1f s of'
            ' processor time: %(saved)d MiB are saved now, %(before)d MiB'
            ' were before', {
                'seconds': done.seconds, 'cpu_s': done.cpu_s,
                'how': '' if done.complete else ' until it was stopped',
                'saved': done.saved_bytes // units.Mi,
                'before': done.saved_before_bytes // units.Mi})

    @contextlib.contextmanager
    def _telling(self):
        """Log what goes wrong, once as long as nothing goes right."""
        try:
            yield
        except (exception.FlexMemException, nova_exception.NovaException,
                libvirt.libvirtError, OSError) as e:
            if self._told != str(e):
                self._told = str(e)
                LOG.warning('Merging memory after boot: %s', e)
