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

"""Runs the merge of a delta into an image's tree, in an appliance.

The package nova_flexmem.flatten.merge goes there as a zip file on a disk of
its own, and Python with it as a package of the appliance.
"""

import base64
import dataclasses
import io
import json
import os
import zipfile

from nova_flexmem import exception
from nova_flexmem.flatten import merge
from nova_flexmem.image import appliance as appliance_module

#: Packages that the appliance needs beyond those of builds.
PACKAGES = ('python3',)

#: Label of the disk with the program.
_LABEL = 'program'

_SECTOR_BYTES = 512

#: Where the appliance has the delta, and the image's tree.
_DELTA, _TREE = '/tmp/delta', '/sysroot'


def _is_count(value):
    return type(value) is int and value >= 0


def _is_text(value):
    return isinstance(value, str)


#: The fields of the program's answers, and what they can be.
_ANSWERS = {
    'survey': {
        'lower_uuid': lambda value: value is None or _is_text(value),
        'size_bytes': _is_count},
    'merge': {
        'written': _is_count, 'removed': _is_count,
        'unclear': lambda value: (isinstance(value, list)
                                  and all(map(_is_text, value)))}}
_FAILURES = ({'full': _is_text}, {'refused': _is_text})


class Full(exception.FlexMemException):
    """There is no room in a filesystem of the image."""

    msg_fmt = 'no space left in the image\'s filesystem at %(point)s'


@dataclasses.dataclass(frozen=True)
class Program:
    """The merge program on a disk.

    :ivar drive: the disk that the appliance must have
    :ivar size_bytes: of the zip file that it begins with
    """

    drive: appliance_module.Drive
    size_bytes: int


def write_program(folder):
    """Write the program's disk to a folder; returns the Program."""
    content = _zipped()
    drive = appliance_module.Drive(os.path.join(folder, 'program'), 'raw',
                                   True, _LABEL)
    sectors = -(-len(content) // _SECTOR_BYTES)
    with open(drive.path, 'xb') as f:
        f.write(content.ljust(sectors * _SECTOR_BYTES, b'\0'))
    return Program(drive, len(content))


class Merger:
    """Merges a delta in a running appliance.

    :param program: the Program on one of its drives
    :param delta: the Drive of the delta
    :param name: of the delta, for messages
    :param direct_paths: folders of the guest that lie directly on it
    """

    def __init__(self, appliance, program, delta, name, direct_paths):
        self._appliance = appliance
        self._program = program
        self._delta = delta
        self._name = name
        self._direct_paths = direct_paths

    def mount(self):
        """Mount the delta, which replays its journal.

        :returns: the uuid of its filesystem
        :raises: ImageRefused if it is not what a delta is
        """
        device = self._delta.device
        kind = ' '.join(self._appliance.command('vfs-type', device))
        if kind != 'ext4':
            raise exception.ImageRefused(
                image=self._name, reason='not a delta: it has'
                f' {f"{kind} on it" if kind else "no filesystem"} instead of'
                ' ext4; give the disk or the layered snapshot of a FlexMem'
                ' instance')
        self._appliance.shell(
            f'head -c {self._program.size_bytes}'
            f' {self._program.drive.device} > /tmp/merge.zip\n'
            f'mkdir {_DELTA}\n'
            f'mount -t ext4 -o ro,nosuid,nodev {device} {_DELTA}')
        fs_uuid = ' '.join(self._appliance.command('vfs-uuid', device))
        if not fs_uuid:
            raise exception.ImageRefused(
                image=self._name, reason='not a delta: its filesystem has no'
                ' uuid')
        return fs_uuid

    def run(self, command):
        """Run it; see merge.__main__ for the commands and what they answer.

        :raises: ImageRefused, Full; ProgramFailed if it says something else
        """
        words = b'\0'.join(os.fsencode(word) for word in (
            command, _DELTA, _TREE, *self._direct_paths))
        # the appliance has no locale, and the names of files are bytes
        answer = _parsed(command, self._appliance.shell(
            f'echo {base64.b64encode(words).decode()} | base64 -d |'
            ' PYTHONPATH=/tmp/merge.zip PYTHONUTF8=1'
            f' xargs -0 python3 -B -m {merge.__name__}'))
        if 'full' in answer:
            raise Full(point=answer['full'])
        if 'refused' in answer:
            raise exception.ImageRefused(image=self._name,
                                         reason=answer['refused'])
        return answer


def _parsed(command, lines):
    """Return the program's answer.

    It comes from the appliance, whose kernel read the tenant's filesystems.
    """
    try:
        answer = json.loads('\n'.join(lines))
        if not any(answer.keys() == fields.keys() and
                   all(fits(answer[name]) for name, fits in fields.items())
                   for fields in (*_FAILURES, _ANSWERS[command])):
            raise ValueError('it has other fields')
    except (ValueError, AttributeError, RecursionError) as e:
        raise exception.ProgramFailed(program=f'merge {command}',
                                      reason=f'not a usable answer: {e}')
    return answer


def _zipped():
    """Return the merge package, a zip file for Python."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, 'w', zipfile.ZIP_DEFLATED) as archive:
        top = merge.__name__.split('.')
        for depth in range(1, len(top)):
            archive.writestr('/'.join([*top[:depth], '__init__.py']), '')
        folder = os.path.dirname(merge.__file__)
        for name in sorted(os.listdir(folder)):
            if name.endswith('.py'):
                archive.write(os.path.join(folder, name),
                              '/'.join([*top, name]))
    return written.getvalue()
