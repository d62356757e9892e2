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


"""Finds the commands, also those whose Python packages are not installed.

A command that needs more than this package's own requirements names the extra
behind its entry point: ``demo = nova_flexmem.cmd.demo:Demo [demo]``.
"""

import importlib.metadata
import typing

from cliff import command
from cliff import commandmanager

from nova_flexmem import exception


class Commands(commandmanager.CommandManager):
    """The commands of a namespace; each is imported when it is needed.

    cliff's own manager imports all of them at each start, and leaves out
    those that fail.
    """

    def load_commands(self, namespace):
        self.group_list.append(namespace)
        for entry_point in importlib.metadata.entry_points(group=namespace):
            name = entry_point.name.replace('_', ' ')
            importer: typing.Any = _Importer(entry_point)
            self.commands[name] = importer


class _Importer:
    """An entry point that has a command to load in any case."""

    def __init__(self, entry_point):
        self.value = entry_point.value
        self._entry_point = entry_point

    def load(self):
        """Return the command's class, or that of one that says what to do."""
        try:
            return self._entry_point.load()
        except ModuleNotFoundError as e:
            if not self._entry_point.extras:
                raise
            return _unavailable(self._entry_point, e.name)


def _unavailable(entry_point, package):
    """Return a command that says what to install, whatever its arguments.

    :param package: the Python package that is missing
    """
    name = entry_point.name.replace('_', ' ')
    extra = f'nova-flexmem[{",".join(entry_point.extras)}]'

    class Unavailable(command.Command):

        def get_description(self):
            return f'Not available: install {extra}'

        def get_parser(self, prog_name):
            raise exception.CommandUnavailable(name=name, package=package,
                                               extra=extra)

        def take_action(self, parsed_args):
            raise NotImplementedError  # get_parser() comes before it

    return Unavailable
