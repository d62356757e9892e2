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

"""The user that nova-compute runs as: an ordinary one, as packages make it.

A node has lists of users, groups and hosts and folders of sudo and ssh of its
own, which cover the machine's. Nothing of it is there outside of the nodes.
"""

import os
import pathlib
import shutil
import stat

from nova_flexmem import process
from tools.cloud import layout as cloud_layout

USER = 'nova'

#: Its number and its group's: what Debian keeps for Nova (base-passwd).
ID = 64060

_GROUPS = ('kvm', 'libvirt')

_VENV_BIN = os.path.join(cloud_layout.VENV, 'bin')
_SYSTEM_BIN = ('/usr/sbin', '/usr/bin', '/sbin', '/bin')

#: What packages of nova-compute, and DevStack, have sudo do.
_SUDOERS = '''\
Defaults:{user} !requiretty, secure_path="{path}"
{user} ALL = (root) NOPASSWD: {venv}/nova-rootwrap {rootwrap_conf} *
'''

_ROOTWRAP_CONF = '''\
[DEFAULT]
filters_path = {filters}
exec_dirs = {folders}
'''

#: For libvirtd too, which runs ssh as root.
_SSH_CONFIG = '''\
Host {hosts}
    User {user}
    Port {port}
    IdentityFile {key}
    # the nodes' own keys last no longer than the cloud
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
'''


def prepare(layout):
    """Give all nodes the user, and what of their files is the user's."""
    key = layout.path('etc', 'ssh-key')
    process.run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key,
                timeout_s=60)
    for node in cloud_layout.NODES:
        process.run('dropbearkey', '-t', 'ed25519', '-f',
                    layout.path(node, 'sshd-key'), timeout_s=60)
        _Writer(layout, node).write(key)
    os.chown(layout.appliance, ID, ID)


def mounts(layout, node):
    """Return pairs: what of a node's own covers what of the machine's."""
    return [*_tree_mounts(layout, node),
            *((layout.path(node, 'etc', name), f'/etc/{name}') for name in
              ('passwd', 'group', 'hosts', 'sudoers.d', 'ssh/ssh_config.d'))]


def command(*argv):
    """Return the words that run a program as the user, on a node."""
    return ('setpriv', f'--reuid={USER}', f'--regid={USER}', '--init-groups',
            '--', *argv)


def environment(layout):
    """Return what the environment says of the user."""
    return {'HOME': layout.state, 'USER': USER, 'LOGNAME': USER}


def sshd(layout, node):
    """Return the command line of a node's ssh server.

    It comes with no service that Debian would start.
    """
    port = cloud_layout.PORTS['ssh']
    return ('dropbear', '-F', '-E', '-s', '-r', layout.path(node, 'sshd-key'),
            '-p', f'{cloud_layout.NODES[node]}:{port}')


class _Writer:

    def __init__(self, layout, node):
        self._layout = layout
        self._node = node

    def write(self, key):
        for name in ('ssh/ssh_config.d', 'sudoers.d'):
            os.makedirs(self._etc(name))
        self._lists()
        self._sudo()
        with open(self._etc('ssh/ssh_config.d/cloud.conf'), 'w',
                  encoding='ascii') as f:
            f.write(_SSH_CONFIG.format(
                hosts=' '.join(word for pair in cloud_layout.NODES.items()
                               for word in pair),
                user=USER, port=cloud_layout.PORTS['ssh'],
                key=os.path.join(self._layout.state, '.ssh/id_ed25519')))
        self._home(key)
        # nova.conf has passwords
        os.chown(self._host('etc'), 0, ID)
        os.chmod(self._host('etc'), 0o750)
        for name in ('instances', 'store', 'state'):
            os.chown(self._host(name), ID, ID)
        # as /tmp is
        os.chmod(self._layout.path(self._node, 'tmp'), 0o1777)

    def _lists(self):
        # no password, and none in /etc/shadow either
        user = f'{USER}:*:{ID}:{ID}::{self._layout.state}:/bin/sh\n'
        self._list('passwd', [*_others('passwd'), user])
        groups = [*_others('group'), f'{USER}:x:{ID}:\n']
        self._list('group', [
            _with_member(line) if line.partition(':')[0] in _GROUPS else line
            for line in groups])
        hosts = [f'{address} {name}\n' for name, address in
                 cloud_layout.NODES.items()]
        self._list('hosts', [*_others('hosts'), *hosts])

    def _list(self, name, lines):
        with open(self._etc(name), 'w', encoding='utf-8') as f:
            f.writelines(lines)

    def _sudo(self):
        with open(self._host('etc', 'rootwrap.conf'), 'w',
                  encoding='utf-8') as f:
            f.write(_ROOTWRAP_CONF.format(
                filters=os.path.join(cloud_layout.VENV, 'etc', 'nova',
                                     'rootwrap.d'),
                folders=','.join([_VENV_BIN, *_SYSTEM_BIN])))
        path = self._etc('sudoers.d/nova')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(_SUDOERS.format(
                user=USER, venv=_VENV_BIN,
                path=':'.join([_VENV_BIN, *_SYSTEM_BIN]),
                rootwrap_conf=self._layout.rootwrap_conf))
        os.chmod(path, 0o440)

    def _home(self, key):
        """Write the user's keys: every node lets in who comes from another."""
        folder = self._host('state', '.ssh')
        os.mkdir(folder, 0o700)
        os.chown(folder, ID, ID)
        for source, name in ((key, 'id_ed25519'),
                             (f'{key}.pub', 'authorized_keys')):
            path = os.path.join(folder, name)
            shutil.copyfile(source, path)
            os.chmod(path, 0o600)
            os.chown(path, ID, ID)

    def _etc(self, name):
        return self._layout.path(self._node, 'etc', name)

    def _host(self, *parts):
        return self._layout.path(self._node, 'host', *parts)


def _others(name):
    """Return the lines of one of the machine's lists, without the user's."""
    with open(f'/etc/{name}', encoding='utf-8') as f:
        return [line for line in f if not line.startswith(f'{USER}:')]


def _with_member(line):
    members = line.rstrip('\n')
    comma = '' if members.endswith(':') else ','
    return f'{members}{comma}{USER}\n'


def _tree_mounts(layout, node):
    """Return pairs by which the user gets to this tree, wherever it is.

    Such as in /root: what the user cannot pass is covered by a folder with
    nothing else in it.
    """
    tree = pathlib.Path(cloud_layout.TREE)
    for folder in reversed(tree.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            cover, kept = layout.path(node, 'cover'), layout.path(node, 'tree')
            os.makedirs(os.path.join(cover, tree.relative_to(folder)),
                        exist_ok=True)
            os.makedirs(kept, exist_ok=True)
            return [(tree, kept), (cover, folder), (kept, tree)]
    return []
