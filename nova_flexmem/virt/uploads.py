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

"""Uploads of bases that this host has built.

They run in threads of their own: the instance that a base was built for starts
meanwhile.
"""

import threading
import time

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.publish import archive
from nova_flexmem.publish import publication
from nova_flexmem.virt import downloads
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)


class Uploads:
    """The uploads of this host.

    :param group: the [flexmem] options
    """

    def __init__(self, group):
        self._group = group
        self._threads: list[threading.Thread] = []

    def start(self, store, claim, base, ending):
        """Upload a base.

        :param store: the Store that has it
        :param claim: the claims.Claim on it
        :param ending: a context manager that ends the claim
        """
        def upload():
            with ending:
                try:
                    self._publish(store, claim, base)
                except (exception.FlexMemException, OSError) as e:
                    LOG.warning('Base %(key)s is not published: %(e)s',
                                {'key': base.key, 'e': e})

        thread = threading.Thread(target=upload, name=f'publish-{base.key}',
                                  daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def wait(self):
        """Wait until all uploads have ended."""
        for thread in self._threads:
            thread.join()

    def _publish(self, store, claim, base):
        begun = time.monotonic()
        text = archive.read_manifest(base)
        with downloads.path(store) as path:
            size = worker.call('pack', self._group, key=base.key, path=path)
            LOG.info('Publishing base %(key)s, %(mib)d of %(all)d MiB', {
                'key': base.key, 'mib': size >> 20,
                'all': archive.size_bytes(base) >> 20})
            claim.publish(publication.of_base(base.manifest, text), path)
        LOG.info('Published base %(key)s in %(s).0f s', {
            'key': base.key, 's': time.monotonic() - begun})
