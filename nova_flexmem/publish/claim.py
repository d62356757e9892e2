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

"""The claim of the host that builds a base; see claims."""

import contextlib
import threading

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.publish import publication

LOG = log.getLogger(__name__)

#: Seconds between signs of life.
BEAT_S = 15


class Claim:
    """The right to build a base: a context manager.

    The claim is kept alive in it, and withdrawn at its end unless the base was
    published.

    :param image_id: of the image in Glance
    """

    def __init__(self, glance, image_id, beat_s=BEAT_S):
        self.image_id = image_id
        self._glance = glance
        self._beat_s = beat_s
        self._ended = threading.Event()
        self._published = False
        self._thread = threading.Thread(target=self._beat, daemon=True,
                                        name=f'claim-{image_id}')

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._stop()
        if not self._published:
            with contextlib.suppress(exception.PublishFailed):
                self._glance.delete(self.image_id)

    def publish(self, properties, path):
        """Let others take the base.

        :param properties: publication.of_base()
        :param path: the file to upload
        :raises: PublishFailed; NotThere if another host took this one for dead
        """
        # a change of properties while the upload ends could undo its end:
        # Glance writes all fields of an image at once
        self._stop()
        self._glance.update(self.image_id, properties)
        self._glance.upload(self.image_id, path)
        self._published = True

    def _stop(self):
        self._ended.set()
        self._thread.join()

    def _beat(self):
        number = 0
        while not self._ended.wait(self._beat_s):
            number += 1
            try:
                self._glance.update(self.image_id,
                                    {publication.BEAT: str(number)})
            except exception.PublishFailed as e:
                LOG.warning('The claim of a base cannot be kept alive: %s', e)
