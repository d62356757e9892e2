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

"""Whether this host can run FlexMem instances, found out by trying.

Nothing is concluded from version numbers: QEMU is given the device, the store
a folder, the appliance a filesystem to make. Each trial has a time limit.
"""

import dataclasses
import os
import platform

from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem.guest import delta
from nova_flexmem.host import appliance
from nova_flexmem.host import place
from nova_flexmem.host import qemu
from nova_flexmem import process
from nova_flexmem.store import basestore
from nova_flexmem.store import locks

#: Programs that are run on the host, and what brings them (Debian's names).
_PROGRAMS = {'qemu-system-x86_64': 'qemu-system-x86',
             'qemu-img': 'qemu-utils', 'guestfish': 'guestfish',
             'supermin': 'supermin', 'mkfs.erofs': 'erofs-utils',
             'mke2fs': 'e2fsprogs', 'busybox': 'busybox-static',
             'setpriv': 'util-linux', 'prlimit': 'util-linux',
             'fallocate': 'util-linux', 'findmnt': 'util-linux'}

#: Key of the folder that the trials work in; no base has such a key.
_KEY = 'preflight'


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one trial.

    :ivar name: of the trial, one word
    :ivar ok: whether FlexMem instances can run as far as it goes
    :ivar message: what was found; if not ok, the cause and the way out
    """

    name: str
    ok: bool
    message: str


def check(conf):
    """Try what FlexMem instances need of this host.

    The first time on a host takes minutes, as the appliance is made; later
    a second, or what the appliance takes to start if anything changed.

    :param conf: a ConfigOpts with the [flexmem] options
    :returns: a list of Finding; the host is fit if all are ok. It is shorter
        where the rest can't be tried, and then one is not ok.
    """
    findings = [_try('host', _host), _try('programs', _programs)]
    try:
        store = basestore.Store(conf.flexmem.store_path)
        with (store.lock(locks.BUILD, _KEY),
              store.build_folder(_KEY) as folder):
            findings += [
                _try('store', place.check, store),
                _try('delta', _delta, folder),
                _try('initramfs', _initramfs, folder),
                _try('device', qemu.check, conf.flexmem.device, folder),
                _try('appliance', appliance.check,
                     store.folder('appliance'), conf.flexmem.rootfs, folder)]
    except exception.StoreUnusable as e:
        findings.append(Finding('store', False, str(e)))
    return findings


def _try(name, trial, *args):
    try:
        return Finding(name, True, trial(*args))
    except exception.HostUnfit as e:
        return Finding(name, False, e.kwargs['reason'])
    except (exception.FlexMemException, OSError) as e:
        return Finding(name, False, str(e))


def _host():
    if platform.machine() != 'x86_64':
        raise exception.HostUnfit(
            reason=f'its processor is {platform.machine()}, not x86_64; use'
            ' another host')
    return 'x86_64'


def _programs():
    missing = [f'{program} (package {package})'
               for program, package in _PROGRAMS.items()
               if not process.available(program)]
    if missing:
        raise exception.HostUnfit(
            reason=f'it lacks {", ".join(missing)}; install them')
    return f'all {len(_PROGRAMS)} helper programs are there'


def _delta(folder):
    path = os.path.join(folder, 'delta')
    try:
        delta.create(path, delta.MIN_SIZE_BYTES)
    except exception.ProgramFailed as e:
        raise exception.HostUnfit(
            reason=f'making a delta: {e}; install e2fsprogs 1.47 or newer')
    return 'mke2fs makes deltas'


def _initramfs(folder):
    try:
        initramfs.pack(())
    except exception.ProgramFailed as e:
        raise exception.HostUnfit(reason=f'making an initramfs: {e}')
    return 'busybox is linked statically, as an initramfs needs it'
