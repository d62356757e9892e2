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

"""Claims: which host builds a base, where several hosts need it.

A claim is an image without data. It goes in four steps, so that of hosts which
claim at once exactly one builds (Lamport's bakery algorithm; Glance has no
operation that tests and sets):

1. The host makes the image, as yet without a ticket.
2. It takes a ticket: one more than the highest among the claims for the base.
3. It waits until each other claim has a ticket or is gone.
4. The claim with the lowest ticket, then the lowest id, builds. The others are
   withdrawn, and their hosts wait.

While it builds, the host changes the property BEAT again and again. A host
that waits, and sees no change for EXPIRY_S by its own clock, takes the builder
for dead and deletes the claim. No clock is compared with another host's.
During the upload Glance itself tells that somebody works: the image is
``saving``.
"""

import contextlib
import dataclasses
import time
import uuid

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.publish import claim as claim_module
from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import publication

LOG = log.getLogger(__name__)

#: Seconds without a sign of life after which a builder counts as dead.
EXPIRY_S = 120

#: Seconds between looks at Glance of a host that waits.
POLL_S = 3


class Claims:
    """The claims of this host.

    :ivar glance: the glance.Glance
    :param host: name of this host; no other has it
    :param upload_s: seconds that an upload may take
    """

    def __init__(self, glance, host, upload_s, *, expiry_s=EXPIRY_S,
                 beat_s=claim_module.BEAT_S, poll_s=POLL_S):
        self.glance = self._glance = glance
        self._host = host
        self._upload_s = upload_s
        self._expiry_s = expiry_s
        self._beat_s = beat_s
        self._poll_s = poll_s

    def published(self, need):
        """Return the Images that hold the base of a Need, the oldest first."""
        return _published(self._all(need))

    def turn(self, need, wait_s):
        """Wait until the base is there, or until it is for us to build it.

        The caller lets no other thread or process of this host ask for the
        same need meanwhile.

        :param wait_s: how long to wait for other hosts
        :returns: (the Images that hold the base, None) or ([], a Claim)
        :raises: PublishFailed
        """
        deadline = time.monotonic() + wait_s
        seen = _Seen(self._expiry_s, self._upload_s)
        mine = None
        try:
            while True:
                # at one time: a claim may become a base meanwhile
                images = self._all(need)
                published = _published(images)
                if published:
                    return published, None
                others = self._others(need, images, mine, seen)
                if mine is None and not others:
                    mine = self._new(need)
                elif mine is not None and _is_first(mine, others):
                    claim = claim_module.Claim(self._glance, mine.id,
                                               self._beat_s)
                    mine = None
                    return [], claim
                else:
                    mine = self._yield(mine, others)
                    if time.monotonic() > deadline:
                        raise exception.PublishFailed(
                            reason=f'{_hosts(others)} did not publish the base'
                            f' of image {need.image_id} within {wait_s:.0f} s')
                    time.sleep(self._poll_s)
        finally:
            if mine is not None:
                with contextlib.suppress(exception.PublishFailed):
                    self._glance.delete(mine.id)

    def _all(self, need):
        return [image for image in
                self._glance.list(**{publication.NEED: need.name})
                if need.is_met_by(image)]

    def _others(self, need, images, mine, seen):
        """Return the claims of other hosts; those of dead builders go."""
        others = []
        for image in images:
            if not publication.is_claim(image) or (
                    mine is not None and image.id == mine.id):
                continue
            # one of our own is from before this nova-compute started
            if (image.properties.get(publication.HOST) == self._host
                    or seen.is_dead(image)):
                LOG.warning(
                    'Host %(host)s no longer builds the base of image'
                    ' %(image)s that it claimed; its claim is removed',
                    {'host': image.properties.get(publication.HOST),
                     'image': need.image_id})
                self._glance.delete(image.id)
            else:
                others.append(image)
        if others and not seen.told:
            seen.told = True
            LOG.info('The base of image %(image)s is being built by'
                     ' %(hosts)s; waiting for it',
                     {'image': need.image_id, 'hosts': _hosts(others)})
        return others

    def _new(self, need):
        """Make a claim and give it a ticket.

        :returns: the Image; None if another host deleted it
        """
        mine = self._glance.create(
            f'flexmem base of {need.image_id}',
            need.properties(self._host) | {publication.BEAT: '0'})
        try:
            ticket = 1 + max(map(_ticket, self._all(need)), default=0)
            changes = {publication.TICKET: str(ticket)}
            if not self._change(mine, changes):
                return None
        except exception.PublishFailed:
            with contextlib.suppress(exception.PublishFailed):
                self._glance.delete(mine.id)
            raise
        return dataclasses.replace(mine, properties=mine.properties | changes)

    def _change(self, mine, properties):
        """Return whether a claim was there to be changed.

        Where Glance is slow, another host may have taken us for dead.
        """
        try:
            self._glance.update(mine.id, properties)
        except glance_module.NotThere:
            return False
        return True

    def _yield(self, mine, others):
        """Withdraw a claim if another comes first; returns what is left."""
        if mine is None:
            return None
        if all(not _ticket(other) or _order(mine) < _order(other)
               for other in others):
            # wait for their tickets, and seem alive meanwhile
            beat = {publication.BEAT: uuid.uuid4().hex}
            return mine if self._change(mine, beat) else None
        self._glance.delete(mine.id)
        return None


class _Seen:
    """What a host that waits has seen of other claims, by its own clock."""

    def __init__(self, expiry_s, upload_s):
        self.told = False
        self._expiry_s = expiry_s
        self._upload_s = upload_s
        self._changes: dict[str, tuple] = {}

    def is_dead(self, image):
        """Return whether a claim has not changed for too long."""
        state = (image.status, image.properties.get(publication.BEAT),
                 image.properties.get(publication.TICKET),
                 publication.MANIFEST in image.properties)
        now = time.monotonic()
        known, since = self._changes.get(image.id, (None, now))
        if known != state:
            self._changes[image.id] = state, now
            return False
        limit_s = (self._upload_s if image.status == glance_module.SAVING
                   else self._expiry_s)
        return now - since > limit_s


def _published(images):
    return sorted((image for image in images
                   if publication.is_published(image)),
                  key=lambda image: (image.created_at, image.id))


def _ticket(image):
    """Return the ticket of a claim; 0: it has none as yet."""
    try:
        return int(image.properties.get(publication.TICKET, '0'))
    except ValueError:
        return 0


def _order(image):
    return _ticket(image), image.id


def _is_first(mine, others):
    return all(_ticket(other) and _order(mine) < _order(other)
               for other in others)


def _hosts(claims):
    return ', '.join(sorted({claim.properties.get(publication.HOST, '?')
                             for claim in claims}))
