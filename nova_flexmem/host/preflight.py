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

"""Checks by trial whether this host can run FlexMem instances.

No check goes by version numbers: QEMU starts with the device, a guest boots,
the store gets a folder, the appliance makes filesystems. Each check has a time
limit.
"""

import dataclasses
import functools
import os
import platform

from nova_flexmem import accel
from nova_flexmem.build import initramfs
from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem.guest import delta
from nova_flexmem.host import appliance
from nova_flexmem.host import ceph
from nova_flexmem.host import place
from nova_flexmem.host import qemu
from nova_flexmem.host import trialguest
from nova_flexmem import process
from nova_flexmem.store import basestore
from nova_flexmem.store import locks

#: Helper programs, and the packages that have them: of Debian and Ubuntu, and
#: of Fedora and its relatives if these have another name.
_PROGRAMS = {'qemu-img': ('qemu-utils', 'qemu-img'),
             'guestfish': ('guestfish', 'libguestfs'),
             'supermin': ('supermin',), 'mkfs.erofs': ('erofs-utils',),
             'mke2fs': ('e2fsprogs',),
             'busybox': ('busybox-static', 'busybox'),
             'setpriv': ('util-linux',), 'prlimit': ('util-linux',),
             'fallocate': ('util-linux',), 'findmnt': ('util-linux',)}

#: Key of the folder that the checks work in; no base has this key.
_KEY = 'preflight'


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    :ivar name: name of the check, one word
    :ivar ok: whether the check allows FlexMem instances on this host
    :ivar message: the result; if not ok, the cause and what to do about it
    """

    name: str
    ok: bool
    message: str


def check(conf, virt_type=None, storage=None):
    """Check what FlexMem instances need from this host.

    The first call on a host takes minutes, because it makes the appliance. A
    later call takes a second; if something has changed, the appliance or a
    guest is started again.

    :param conf: a ConfigOpts with the [flexmem] options
    :param virt_type: Nova's [libvirt] virt_type, which tells the accelerator
        of instances; None: whatever works here
    :param storage: the ceph.Ceph that root disks are in, if they are in one
    :returns: a list of Finding; the host is fit if all are ok. If the store
        cannot be used, the checks that need the store are missing and the
        Finding 'store' is not ok.
    """
    # libvirt is asked once for all checks
    find_qemu = functools.cache(emulator.find)
    findings = [_try('host', _host), _try('programs', _programs, find_qemu),
                _try('accelerator', _accelerator, virt_type)]
    if storage is not None:
        findings.append(_try('storage', ceph.check, storage))
    tried = _accel(virt_type)
    device = conf.flexmem.device
    try:
        store = basestore.Store(conf.flexmem.store_path)
        with (store.lock(locks.BUILD, _KEY),
              store.build_folder(_KEY) as folder):
            findings += [
                _try('store', place.check, store),
                _try('delta', _delta, folder),
                _try('initramfs', _initramfs, folder),
                _try('device', lambda: qemu.check(
                    find_qemu(), device, folder, tried)),
                _try('guest', lambda: trialguest.check(
                    find_qemu(), store.folder('appliance'), device, tried,
                    folder)),
                _try('appliance', lambda: appliance.check(
                    find_qemu(), store.folder('appliance'),
                    conf.flexmem.rootfs, folder))]
    except exception.StoreUnusable as e:
        findings.append(Finding('store', False, str(e)))
    return findings


def _try(name, trial, *args):
    """Return the Finding of a check.

    :param trial: the check; returns a sentence or raises FlexMemException
    """
    try:
        return Finding(name, True, trial(*args))
    except exception.HostUnfit as e:
        return Finding(name, False, e.kwargs['reason'])
    except (exception.FlexMemException, OSError) as e:
        return Finding(name, False, str(e))


def _host():
    if platform.machine() != 'x86_64':
        raise exception.HostUnfit(
            reason=f'its processor is {platform.machine()}; use a host with'
            ' x86_64')
    return 'x86_64'


def _accelerator(virt_type):
    if virt_type not in (None, 'kvm', 'qemu'):
        raise exception.HostUnfit(
            reason=f'[libvirt] virt_type is {virt_type}; set it to kvm')
    if virt_type != 'kvm':
        return 'KVM is not needed'
    if accel.kvm_forbidden():
        return 'KVM was not tried, as this user may not open /dev/kvm'
    if accel.newest_host_kernel() is None:
        return 'KVM was not tried, as this user can read no kernel in /boot'
    if not accel.kvm_works():
        raise exception.HostUnfit(
            reason='no guest boots with KVM, which instances use; switch on'
            ' virtualization in the firmware and load the module kvm_intel or'
            ' kvm_amd, or set [libvirt] virt_type to qemu')
    return 'guests boot with KVM'


def _accel(virt_type):
    """Return the accelerator to try the device and a guest with."""
    return 'kvm' if virt_type != 'qemu' and accel.kvm_works() else 'tcg'


def _programs(find_qemu):
    of_rpm = not process.available('dpkg')
    missing = [f'{program} (package {packages[-1 if of_rpm else 0]})'
               for program, packages in _PROGRAMS.items()
               if not process.available(program)]
    if missing:
        raise exception.HostUnfit(
            reason=f'it lacks {", ".join(missing)}; install them')
    return (f'all {len(_PROGRAMS)} helper programs are there, and QEMU is'
            f' {find_qemu().program}')


def _delta(folder):
    path = os.path.join(folder, 'delta')
    try:
        delta.create(path, delta.MIN_SIZE_BYTES)
    except exception.ProgramFailed as e:
        raise exception.HostUnfit(
            reason=f'mke2fs cannot make a delta: {e}; install e2fsprogs 1.47'
            ' or newer')
    return 'mke2fs makes deltas'


def _initramfs(folder):
    try:
        initramfs.pack(())
    except exception.ProgramFailed as e:
        raise exception.HostUnfit(reason=f'making an initramfs: {e}')
    return 'busybox is linked statically, as an initramfs needs it'
