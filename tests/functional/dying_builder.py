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

"""A host that builds and publishes a base, and is killed at some point of it.

Usage: python -m tests.functional.dying_builder URL IMAGE_ID POINT
"""

import os
import signal
import sys

import testtools

from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import publication
from nova_flexmem.virt import uploads
from tests.functional import publishing
from tests import glance_server

POINTS = ('before the claim', 'without a ticket', 'with a ticket',
          'before the build', 'after the build', 'before compression',
          'after compression', 'with the manifest', 'in the upload',
          'after the upload')


class _File:
    """A file of which no more than one piece can be read."""

    def __init__(self, opened):
        self._opened = opened
        self._reads = 0

    def read(self, size):
        self._reads += 1
        if self._reads > 1:
            die()
        return self._opened.read(size)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def _around(function, before=False, after=False):
    """Return a function that dies before or after it does its work."""
    def wrapped(*args, **kwargs):
        if before:
            die()
        result = function(*args, **kwargs)
        if after:
            die()
        return result
    return wrapped


def _arm(glance, point):
    """Have this process killed at a point."""
    update, upload = glance.update, glance.upload

    def updating(image_id, properties):
        update(image_id, properties)
        if point == ('with the manifest' if publication.MANIFEST in properties
                     else 'with a ticket'):
            die()

    glance.create = _around(glance.create, point == 'before the claim',
                            point == 'without a ticket')
    glance.update = updating
    glance.upload = _around(upload, after=point == 'after the upload')
    if point == 'in the upload':
        images = glance._images
        sending = images.upload
        images.upload = lambda image_id, f, size: sending(
            image_id, _File(f), size)
    uploads.worker.call = _around(
        uploads.worker.call, point == 'before compression',
        point == 'after compression')


class Builder(testtools.TestCase):
    """Has what a host in a test needs."""

    def runTest(self):
        url, image_id, point = self.arguments
        glance = glance_module.Glance(
            glance_server.client(url, publishing.SERVICE),
            publishing.SERVICE)
        _arm(glance, point)
        host = publishing.Host(self, 'dying', lambda: glance)
        host.build = _around(host.build, point == 'before the build',
                             point == 'after the build')
        host.obtain(publication.Need(image_id, None, 'auto', ''),
                    publishing.IMAGE)


def main():
    builder = Builder()
    builder.arguments = sys.argv[1:]
    result = testtools.TestResult()
    builder.run(result)
    for _test, text in result.errors + result.failures:
        print(text, file=sys.stderr)
    return not result.wasSuccessful()


if __name__ == '__main__':
    sys.exit(main())
