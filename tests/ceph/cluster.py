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

"""A Ceph of this process alone: one mon, mgr and OSD on loopback.

With cephx, and with the rights for Nova that Ceph's documentation gives it.
Data goes to a sparse file. It starts in a quarter of a minute.
"""

import atexit
import base64
import contextlib
import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid

POOL = 'vms'
IMAGES_POOL = 'images'
USER = 'nova'

_PROGRAMS = {'ceph-mon': 'ceph-mon', 'ceph-mgr': 'ceph-mgr',
             'ceph-osd': 'ceph-osd', 'ceph': 'ceph-common',
             'rbd': 'ceph-common'}
_TIMEOUT_S = 300
_SIZE_BYTES = 20 << 30

_CONF = """\
[global]
fsid = {fsid}
mon host = {mon}
public network = 127.0.0.0/8
auth allow insecure global id reclaim = false
keyring = {folder}/$cluster.$name.keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
log file = {folder}/log/$name.log
crash dir =
max open files = 16384
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 1
mon cluster log file = {folder}/log/cluster.log
mgr data = {folder}/mgr
mgr initial modules =
mgr stats period = 2
osd data = {folder}/osd
osd class dir = {classes}
bluestore block size = {size}
bluestore block create = true
bluestore cache autotune = false
bluestore cache size = 67108864
bluestore fsck on mount = false
osd op num shards = 2
osd op num threads per shard = 1
osd max pg log entries = 100
osd client watch timeout = 5
[client]
admin socket =
log file =
"""


def why_not():
    """Return why no cluster can be started here, None if it can."""
    missing = sorted({package for program, package in _PROGRAMS.items()
                      if not shutil.which(program)})
    if missing:
        return f'{", ".join(missing)} not installed (tools/setup.sh ceph)'
    if not all(map(importlib.util.find_spec, ('rados', 'rbd'))):
        return ('this Python has no modules rados and rbd (tools/setup.sh'
                ' ceph)')
    found = subprocess.run(['qemu-img', 'info', 'rbd:'], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
    if 'Unknown protocol' in found.stdout:
        return 'qemu-block-extra not installed (tools/setup.sh ceph)'
    return None


class Cluster:
    """A running cluster.

    :ivar conf: path of its ceph.conf
    :ivar fsid: its id
    """

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='flexmem-ceph-', dir='/var/tmp')
        os.chmod(self.folder, 0o711)  # libvirt's QEMU reads ceph.conf
        self.conf = os.path.join(self.folder, 'ceph.conf')
        self.fsid = str(uuid.uuid4())
        self._daemons = {}

    def start(self):
        """Make the cluster, and wait until it has its pools."""
        for name in ('run', 'log', 'mon', 'mgr', 'osd'):
            os.mkdir(os.path.join(self.folder, name))
        v2, v1 = (f'{kind}:127.0.0.1:{_free_port()}' for kind in ('v2', 'v1'))
        mon = f'[{v2},{v1}]'
        with open(self.conf, 'w', encoding='ascii') as f:
            f.write(_CONF.format(
                fsid=self.fsid, mon=mon, folder=self.folder,
                size=_SIZE_BYTES, classes='/usr/lib/'
                f'{os.uname().machine}-linux-gnu/rados-classes'))
        admin, key = self._keyring('client.admin'), self._keyring('mon.a')
        self._run('ceph-authtool', '-C', key, '--gen-key', '-n', 'mon.',
                  '--cap', 'mon', 'allow *')
        self._run('ceph-authtool', '-C', admin, '--gen-key', '-n',
                  'client.admin', *(
                      word for service in ('mon', 'osd', 'mgr', 'mds')
                      for word in ('--cap', service, 'allow *')))
        self._run('ceph-authtool', key, '--import-keyring', admin)
        monmap = os.path.join(self.folder, 'monmap')
        self._run('monmaptool', '--create', '--clobber', '--fsid', self.fsid,
                  '--addv', 'a', mon, monmap)
        self._run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', monmap,
                  '--keyring', key)
        self.start_daemon('mon', 'a')
        self.ceph('auth', 'get-or-create', 'mgr.x', 'mon',
                  'allow profile mgr', 'osd', 'allow *', 'mds', 'allow *',
                  '-o', self._keyring('mgr.x'))
        self.start_daemon('mgr', 'x')
        self._make_osd()
        self.start_daemon('osd', '0')
        for pool in (POOL, IMAGES_POOL):
            self.ceph('osd', 'pool', 'create', pool, '8')
            self.ceph('osd', 'pool', 'application', 'enable', pool, 'rbd')
        # as in Ceph's documentation
        self.ceph('auth', 'get-or-create', f'client.{USER}', 'mon',
                  'profile rbd', 'mgr', 'profile rbd', 'osd',
                  f'profile rbd pool={POOL}, profile rbd pool={IMAGES_POOL}',
                  '-o', self._keyring(f'client.{USER}'))
        deadline = time.monotonic() + _TIMEOUT_S
        while not json.loads(self.ceph('osd', 'stat', '-f', 'json'))[
                'num_up_osds']:
            if time.monotonic() > deadline:
                raise TimeoutError(f'no OSD in {_TIMEOUT_S} s')
            time.sleep(0.2)
        for pool in (POOL, IMAGES_POOL):
            self.rbd('pool', 'init', pool)

    def _make_osd(self):
        osd_id = str(uuid.uuid4())
        key = self._run('ceph-authtool', '--gen-print-key').strip()
        self.ceph('osd', 'new', osd_id, '-i', '-',
                  stdin=json.dumps({'cephx_secret': key}))
        self._run('ceph-authtool', '-C', self._keyring('osd.0'), '-n',
                  'osd.0', '--add-key', key)
        self._run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd_id)

    def start_daemon(self, kind, name):
        """Start a daemon of the cluster, which ends with this process."""
        log = os.path.join(self.folder, 'log', f'{kind}.out')
        with open(log, 'ab') as f:
            self._daemons[kind] = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', '--', f'ceph-{kind}', '-i',
                 name, '-f'], env=self._environment(), stdout=f, stderr=f,
                stdin=subprocess.DEVNULL, start_new_session=True)

    def stop_daemon(self, kind):
        """End a daemon, as if its host had lost its power."""
        daemon = self._daemons.pop(kind)
        daemon.kill()
        daemon.wait()

    def stop(self):
        """End the cluster, and remove its data."""
        for kind in [*self._daemons]:
            with contextlib.suppress(ProcessLookupError):
                self.stop_daemon(kind)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keyring(self, name):
        return os.path.join(self.folder, f'ceph.{name}.keyring')

    def _environment(self):
        return {key: value for key, value in os.environ.items()
                if key != 'CEPH_ARGS'} | {'CEPH_CONF': self.conf}

    def _run(self, *argv, stdin=None):
        done = subprocess.run(
            argv, env=self._environment(), input=stdin, text=True,
            check=False, timeout=_TIMEOUT_S, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(f'{" ".join(argv)}: {done.stderr[-2000:]}')
        return done.stdout

    def ceph(self, *argv, stdin=None):
        """Run "ceph" as administrator; return what it says."""
        return self._run('ceph', *argv, stdin=stdin)

    def rbd(self, *argv):
        """Run "rbd" as administrator; return what it says."""
        return self._run('rbd', *argv)

    def images(self, pool=POOL):
        """Return what images and snapshots a pool has, a set of names."""
        found = json.loads(self.rbd('ls', '--long', '--format', 'json', pool))
        trash = json.loads(self.rbd('trash', 'ls', '--all', '--format',
                                    'json', pool))
        return ({each['image'] + (f'@{each["snapshot"]}' if 'snapshot' in each
                                  else '') for each in found}
                | {f'trash:{each["name"]}' for each in trash})

    def purge(self):
        """Remove all images of both pools."""
        # children before their parents
        for pool in (POOL, IMAGES_POOL):
            for name in json.loads(self.rbd('ls', '--format', 'json', pool)):
                image = f'{pool}/{name}'
                for snapshot in json.loads(self.rbd('snap', 'ls', '--format',
                                                    'json', image)):
                    if snapshot.get('protected') == 'true':
                        self.rbd('snap', 'unprotect',
                                 f'{image}@{snapshot["name"]}')
                self.rbd('snap', 'purge', image)
                self.rbd('rm', image)

    def used(self, name):
        """Return what an image takes of the pool, in bytes."""
        [found] = json.loads(self.rbd('du', '--format', 'json', name))[
            'images']
        return found['used_size']

    def size(self, name):
        """Return the size of an image, as its guest sees it, in bytes."""
        return json.loads(self.rbd('info', '--format', 'json', name))['size']

    def key(self, user=USER):
        """Return the key of a user, bytes."""
        return base64.b64decode(
            self.ceph('auth', 'get-key', f'client.{user}').strip())


@functools.cache
def shared():
    """Return the cluster of this process, started."""
    cluster = Cluster()
    atexit.register(cluster.stop)
    cluster.start()
    return cluster


def _free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]
