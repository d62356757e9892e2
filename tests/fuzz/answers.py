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

"""Targets: what libguestfs's appliance answers.

Its kernel reads the tenant's filesystems, so that it may have been taken over.
"""

import contextlib
import json
import tempfile

from nova_flexmem.build import rootfs
from nova_flexmem.build import roottree
from nova_flexmem import exception
from nova_flexmem.flatten import grow
from nova_flexmem.flatten import merger
from nova_flexmem.image import operating_system
from tests.fuzz import form

_EXPECTED = (exception.ImageRefused, exception.ProgramFailed)


class _Appliance:
    """Answers with the lines of the part that a command names.

    Where the input has no such part, with what makes a build go on.
    """

    _USUAL = {'inspect-os': '/dev/sda1', 'inspect-get-type': 'linux',
              'inspect-get-arch': 'x86_64', 'is-dir': 'true',
              'is-file': 'false', 'realpath': '/point'}

    def __init__(self, answers):
        self._answers = answers

    def command(self, *words):
        # as the real one
        if any(c in word for word in words for c in "'\n"):
            raise exception.ProgramFailed(program='guestfish', reason='quote')
        if words[0] == 'download':
            with open(words[2], 'wb') as f:
                f.write(self._answers.get('download', b''))
        said = self._answers.get(words[0])
        if said is None:
            said = self._USUAL.get(words[0], '').encode()
        return said.decode(errors='replace').splitlines()

    def shell(self, _script):
        return self.command('sh')


def inspection(data):
    """All that is asked of an image's system."""
    appliance = _Appliance(form.parts(data))
    with (tempfile.TemporaryDirectory() as folder,
          contextlib.suppress(*_EXPECTED)):
        found = operating_system.find(appliance, '/image')
        assert found.product.isprintable()
        operating_system.mount(appliance, found, folder)


def measure(data):
    """The size of the tree, and the partitions of the disk."""
    appliance = _Appliance(form.parts(data))
    with contextlib.suppress(*_EXPECTED):
        content = roottree.measure(appliance)
        assert rootfs.load('erofs').room_bytes(content) > 0
    with contextlib.suppress(*_EXPECTED):
        growth = grow.plan(appliance, '/dev/sda1', '/image')
        growth.grow_unmounted()


def merged(data):
    """What the merge says."""
    for command in ('survey', 'merge'):
        with contextlib.suppress(*_EXPECTED):
            json.dumps(merger._parsed(
                command, data.decode(errors='replace').splitlines()))
