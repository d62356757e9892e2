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

"""Whether AppArmor lets QEMU map bases, where it confines QEMU.

libvirt has virt-aa-helper write a profile for each domain, which does not look
at <qemu:commandline>, and so not at the base either. What the profile grants
beyond that comes from files of the host that it includes.
"""

import os
import re

import libvirt
from lxml import etree

from nova_flexmem import exception
from nova_flexmem import process
from nova_flexmem.store import basefiles

_ENABLED = '/sys/module/apparmor/parameters/enabled'
_FOLDER = '/etc/apparmor.d'

#: What domains' profiles are made from, and that of what makes them.
_TEMPLATE = 'libvirt/TEMPLATE.qemu'
_HELPER = 'usr.lib.libvirt.virt-aa-helper'

#: A rule for files, as apparmor.d(5) has it. Those for an owner don't count,
#: as bases are of nova-compute's user.
_RULE = re.compile(r'\s*(?:allow\s+|audit\s+|file\s+)*"?(?P<path>/[^\s"]*)"?'
                   r'\s+(?P<access>[a-zA-Z]+)\s*,')

#: Words of a path's pattern there, and what they are in a regular expression.
_WORDS = re.compile(r'\*\*|\\.|\[[^]]*\]|.')
_MEANINGS = {'**': '.*', '*': '[^/]*', '?': '[^/]', '{': '(?:', '}': ')',
             ',': '|'}

_WAY_OUT = (f'copy apparmor/nova-flexmem of this package to {_FOLDER}'
            '/abstractions, with the path of the store in it, and add "include'
            f' <abstractions/nova-flexmem>" to {_FOLDER}/local/')


def confines(uri):
    """Return whether libvirt has AppArmor confine domains.

    :param uri: of a libvirt connection
    :raises: HostUnfit if libvirt cannot be asked
    """
    if not _enabled():
        return False
    # errors come as exceptions; by default libvirt prints them as well
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            capabilities = connection.getCapabilities()
        finally:
            connection.close()
    except libvirt.libvirtError as e:
        raise exception.HostUnfit(
            reason=f'libvirt does not say whether AppArmor confines QEMU ({e})'
        )
    models = etree.fromstring(capabilities).iterfind('host/secmodel/model')
    return 'apparmor' in [model.text for model in models]


def check_instances(store_path):
    """Check that domains may read and map the bases of a store.

    :raises: HostUnfit, ProgramFailed
    """
    rules = _rules(_TEMPLATE)
    for name in basefiles.FILES:
        if not _readable(_path(store_path, name), rules):
            raise exception.HostUnfit(
                reason=f'AppArmor keeps QEMU from reading {store_path}, and no'
                f' FlexMem instance can start; {_WAY_OUT}'
                'abstractions/libvirt-qemu')


def check_rescue(store_path):
    """Check that libvirt can make a profile for an instance in rescue.

    :raises: HostUnfit, ProgramFailed
    """
    if not _readable(_path(store_path, basefiles.ROOT_PMEM), _rules(_HELPER)):
        raise exception.HostUnfit(
            reason=f'AppArmor keeps virt-aa-helper from reading {store_path},'
            f' and FlexMem instances cannot be rescued; {_WAY_OUT}{_HELPER},'
            f' then run "apparmor_parser -r {_FOLDER}/{_HELPER}"')


def _enabled():
    try:
        with open(_ENABLED, encoding='ascii') as f:
            return f.read().strip() == 'Y'
    except FileNotFoundError:
        return False


def _path(store_path, name):
    """Return the path of a file of some base."""
    return os.path.join(os.path.realpath(store_path), 'bases', '0' * 32, name)


def _rules(profile):
    """Return the text of a profile with all that it includes.

    :param profile: its file, relative to the folder of profiles
    """
    return process.run('apparmor_parser', '--base', _FOLDER, '--preprocess',
                       os.path.join(_FOLDER, profile), timeout_s=60)


def _readable(path, rules):
    """Return whether one of the rules grants anybody to read a file."""
    return any('r' in rule['access']
               and re.fullmatch(_expression(rule['path']), path)
               for rule in map(_RULE.match, rules.splitlines()) if rule)


def _expression(pattern):
    """Return the regular expression for the pattern of a path.

    Its variables stand for themselves, as no path has such names.
    """
    nested, words = 0, []
    for word in _WORDS.findall(pattern):
        nested += {'{': 1, '}': -1}.get(word, 0)
        if word.startswith('['):
            words.append(word)
        elif word in _MEANINGS and (word != ',' or nested):
            words.append(_MEANINGS[word])
        else:
            words.append(re.escape(word[-1]))
    return ''.join(words)
