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

"""Options that go to QEMU as they are, in a libvirt domain.

https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands
"""

from lxml import etree

from nova_flexmem.guest import xmledit

_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
_COMMANDLINE = f'{{{_NAMESPACE}}}commandline'
_ARGUMENT = f'{{{_NAMESPACE}}}arg'


def values(root):
    """Return the options of a domain, a list of command line words.

    :param root: the domain's XML, an element
    """
    return [argument.get('value')
            for argument in root.iterfind(f'{_COMMANDLINE}/{_ARGUMENT}')]


def add(root, words):
    """Append options to those of a domain."""
    commandline = root.find(_COMMANDLINE)
    if commandline is None:
        commandline = etree.Element(_COMMANDLINE, nsmap={'qemu': _NAMESPACE})
        xmledit.append(root, commandline)
    for word in words:
        xmledit.append(commandline, etree.Element(_ARGUMENT, value=word))


def replace(root, words):
    """Give a domain other options instead of those that it has."""
    commandline = root.find(_COMMANDLINE)
    if commandline is not None:
        for argument in commandline.findall(_ARGUMENT):
            xmledit.remove(argument)
    add(root, words)


def escape(path):
    """Return a path as the value of a suboption: each comma is doubled."""
    return path.replace(',', ',,')
