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

"""Switches QEMU's capability x-ignore-shared on when a guest starts.

With this capability, a migration and a saved guest leave out memory that is
shared: the base. QEMU writes into a base that it can only map read-only
without it, and crashes. The capability has to be on in every QEMU that runs
the guest, from its start: at the source, at the destination, and where a saved
guest is restored. Nothing in libvirt sets it.

What switches it on depends on the version of QEMU. Before 11.0, QEMU reads a
QMP script from a file at its start. Nothing listens, and nobody can connect.
"""

import abc
import json
import os

from nova_flexmem.guest import qemuargs
from nova_flexmem.guest import xmledit

CAPABILITY = 'x-ignore-shared'

#: QMP commands, one a line.
SCRIPT = ''.join(json.dumps(command, separators=(',', ':')) + '\n' for command
                 in ({'execute': 'qmp_capabilities'},
                     {'execute': 'migrate-set-capabilities', 'arguments': {
                         'capabilities': [{'capability': CAPABILITY,
                                           'state': True}]}}))

#: Id of the character device; libvirt's own ids never begin like this.
_CHARDEV = 'flexmem-qmp'

_MONITOR = ['-mon', f'chardev={_CHARDEV},mode=control']

#: RAM that QEMU shares with other processes. x-ignore-shared leaves it out of
#: a migration too, and the guest is lost.
_SHARED_RAM = (
    'memoryBacking/access[@mode="shared"] |'
    ' memoryBacking/source[@type="file" or @type="memfd"] |'
    ' memoryBacking/hugepages | cpu/numa/cell[@memAccess="shared"] |'
    ' devices/filesystem[driver/@type="virtiofs"] |'
    ' devices/interface[@type="vhostuser"]')


class Switch(abc.ABC):
    """A way to switch the capability on.

    :param instance_folder: folder of the instance
    :param store_path: folder of the base store
    """

    #: The first version of QEMU that has this way.
    since = (0, 0)

    def __init__(self, instance_folder, store_path):
        self._instance_folder = instance_folder
        self._store_path = store_path

    @abc.abstractmethod
    def arguments(self):
        """Return QEMU's options, a list of command line words."""

    @property
    def script(self):
        """The path of the script that QEMU reads, or None."""
        return None

    @property
    def answers(self):
        """The path that QEMU writes its answers to, or None."""
        return None

    #: Whether QEMU opens the script for writing too, so that each guest needs
    #: one of its own, which QEMU's user owns.
    writes_script = False


class Pipe(Switch):
    """A script in the instance's folder, which QEMU takes for a pipe."""

    writes_script = True

    def arguments(self):
        return ['-chardev', f'pipe,id={_CHARDEV},path='
                + qemuargs.escape(self._path), *_MONITOR]

    @property
    def _path(self):
        return os.path.join(self._instance_folder, _CHARDEV)

    @property
    def script(self):
        return f'{self._path}.in'

    @property
    def answers(self):
        # a link to /dev/null: a guest that resets fills any file with events
        return f'{self._path}.out'


class File(Switch):
    """A script that all guests of the host read and none can change."""

    since = (8, 1)

    def arguments(self):
        return ['-chardev', f'file,id={_CHARDEV},path=/dev/null,input-path='
                + qemuargs.escape(self.script), *_MONITOR]

    @property
    def script(self):
        return os.path.join(self._store_path, 'qmp', 'ignore-shared')


class Property(Switch):
    """A property of QEMU's migration, without a script."""

    since = (11, 0)

    def arguments(self):
        return ['-global', f'migration.{CAPABILITY}=on']


_SWITCHES = (Property, File, Pipe)


def switch(version, instance_folder, store_path):
    """Return the Switch for a version of QEMU.

    :param version: (major, minor)
    """
    return next(each for each in _SWITCHES if version >= each.since)(
        instance_folder, store_path)


def is_ram_shared(root):
    """Return whether QEMU may share the RAM of a domain.

    :param root: the domain's XML, an element
    """
    return bool(root.xpath(_SHARED_RAM))


def is_given(xml):
    """Return whether a domain switches the capability on.

    :param xml: libvirt domain XML, text
    """
    values = qemuargs.values(xmledit.parse(xml))
    return any(value == f'migration.{CAPABILITY}=on' or
               f'id={_CHARDEV},' in value for value in values)


def without(values):
    """Return QEMU's options less those of any Switch.

    :param values: command line words
    """
    kept, skip = [], False
    for value, following in zip(values, [*values[1:], '']):
        if skip:
            skip = False
        elif _is_of_switch(value, following):
            skip = True
        else:
            kept.append(value)
    return kept


def _is_of_switch(option, value):
    return ((option == '-chardev' and f'id={_CHARDEV},' in value) or
            (option == '-mon' and f'chardev={_CHARDEV},' in value) or
            (option == '-global' and
             value.startswith(f'migration.{CAPABILITY}=')))
