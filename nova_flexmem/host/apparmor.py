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

"""Checks that AppArmor lets QEMU map bases.

For each domain, libvirt's virt-aa-helper writes a profile from the domain's
XML. It ignores <qemu:commandline>, so the profile does not grant the base. The
files of the host that each profile includes have to grant it.
"""

import os
import re

import libvirt
from lxml import etree

from nova_flexmem import exception
from nova_flexmem import libvirt_connection
from nova_flexmem import process
from nova_flexmem.store import basefiles

_ENABLED = '/sys/module/apparmor/parameters/enabled'
_FOLDER = '/etc/apparmor.d'

#: The template of domains' profiles, and virt-aa-helper's own profile.
_TEMPLATE = 'libvirt/TEMPLATE.qemu'
_HELPER = 'usr.lib.libvirt.virt-aa-helper'

#: A rule for files (apparmor.d(5)). Rules with "owner" do not match: bases are
#: owned by nova-compute's user, not by QEMU's.
_RULE = re.compile(r'\s*(?:allow\s+|audit\s+|file\s+)*"?(?P<path>/[^\s"]*)"?'
                   r'\s+(?P<access>[a-zA-Z]+)\s*,')

#: Tokens of a rule's path, and the regular expression for each.
_TOKENS = re.compile(r'\*\*|\\.|\[[^]]*\]|.')
_EXPRESSIONS = {'**': '.*', '*': '[^/]*', '?': '[^/]', '{': '(?:', '}': ')',
                ',': '|'}

#: What the operator can do; the name of a file in local/ follows.
_REMEDY = (f'copy apparmor/nova-flexmem of this package to {_FOLDER}'
           '/abstractions, set the path of the store in it, and add "include'
           f' <abstractions/nova-flexmem>" to {_FOLDER}/local/')


def confines(uri):
    """Return whether libvirt confines domains with AppArmor.

    :param uri: URI of the libvirt connection
    :raises: HostUnfit if libvirt cannot be asked
    """
    if not _enabled():
        return False
    try:
        with libvirt_connection.read_only(uri) as connection:
            capabilities = connection.getCapabilities()
    except libvirt.libvirtError as e:
        raise exception.HostUnfit(
            reason='libvirt cannot be asked whether AppArmor confines QEMU'
            f' ({e}); start libvirtd, or let this user connect to {uri}')
    models = etree.fromstring(capabilities).iterfind('host/secmodel/model')
    return 'apparmor' in [model.text for model in models]


def check_instances(store_path):
    """Check that AppArmor lets domains read the bases of a store.

    :raises: HostUnfit if it does not; ProgramFailed
    """
    rules = _rules(_TEMPLATE)
    paths = [_path(store_path, name) for name in basefiles.FILES]
    # boot files that were made anew, as after an upgrade of this package
    paths += [_path(store_path, name, folder='boot')
              for name in (basefiles.KERNEL, basefiles.INITRAMFS)]
    for path in paths:
        if not _readable(path, rules):
            raise exception.HostUnfit(
                reason=f'AppArmor keeps QEMU from reading {store_path}, so no'
                f' FlexMem instance can start; {_REMEDY}'
                'abstractions/libvirt-qemu')


def lets_read(path):
    """Return whether AppArmor lets domains read a file.

    :raises: ProgramFailed
    """
    return _readable(os.path.realpath(path), _rules(_TEMPLATE))


def check_rescue(store_path):
    """Check that virt-aa-helper can make profiles of instances in rescue.

    :raises: HostUnfit if it cannot; ProgramFailed
    """
    if not _readable(_path(store_path, basefiles.ROOT_PMEM), _rules(_HELPER)):
        raise exception.HostUnfit(
            reason=f'AppArmor keeps virt-aa-helper from reading {store_path},'
            f' so FlexMem instances cannot be rescued; {_REMEDY}{_HELPER},'
            f' then run "apparmor_parser -r {_FOLDER}/{_HELPER}"')


def _enabled():
    try:
        with open(_ENABLED, encoding='ascii') as f:
            return f.read().strip() == 'Y'
    except FileNotFoundError:
        return False


def _path(store_path, name, folder='bases'):
    """Return the path that a file of a base has; any key will do."""
    return os.path.join(os.path.realpath(store_path), folder, '0' * 32, name)


def _rules(profile):
    """Return the text of a profile with its included files.

    :param profile: path of the profile, relative to the folder of profiles
    """
    return process.run('apparmor_parser', '--base', _FOLDER, '--preprocess',
                       os.path.join(_FOLDER, profile), timeout_s=60)


def _readable(path, rules):
    """Return whether a rule lets all users read a file."""
    return any('r' in rule['access']
               and re.fullmatch(_expression(rule['path']), path)
               for rule in map(_RULE.match, rules.splitlines()) if rule)


def _expression(pattern):
    """Return the regular expression for the path of a rule.

    Variables such as @{HOME} are not expanded; they match no path.
    """
    depth, expressions = 0, []
    for token in _TOKENS.findall(pattern):
        depth += {'{': 1, '}': -1}.get(token, 0)
        if token.startswith('['):
            expressions.append(token)
        elif token in _EXPRESSIONS and (token != ',' or depth):
            expressions.append(_EXPRESSIONS[token])
        else:
            expressions.append(re.escape(token[-1]))
    return ''.join(expressions)
