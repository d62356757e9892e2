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

"""Checks that libguestfs's appliance starts and makes root filesystems."""

import glob
import os
import shutil
import string
import time

from nova_flexmem.build import rootfs as rootfs_module
from nova_flexmem.build import rootpmem
from nova_flexmem.build import roottree
from nova_flexmem import exception
from nova_flexmem.host import trialrecord
from nova_flexmem import hostboot
from nova_flexmem.image import appliance
from nova_flexmem import process

#: The first start on a host makes the appliance, which takes 1 to 2 minutes.
_TIMEOUT_S = 900
_FILESYSTEM_BYTES = 64 << 20
_ROOTFS = {'auto': ('erofs', 'ext4')}

#: File in the appliance's home: the state in which it was last seen to work.
_RECORD = 'checked.json'

_KERNELS = '/boot/vmlinuz-*'

#: What the appliance is run by, made from, and made of. The package database
#: stands for all files that supermin copies from the host.
_PROGRAMS = ('guestfish', 'supermin')
_FILES = ('/var/lib/dpkg/status', '/var/lib/rpm/rpmdb.sqlite',
          '/usr/lib/sysimage/rpm/rpmdb.sqlite', _KERNELS)
_MADE = ('kernel', 'initrd', 'root')


def check(found, home, rootfs, folder):
    """Check that the appliance makes the root filesystems that are needed.

    The check is skipped if it has succeeded since the host booted, and since
    then neither the appliance's files nor what they are made from changed.

    :param found: the emulator.Emulator
    :param home: the appliance's folder, kept between builds
    :param rootfs: value of the option of that name
    :param folder: folder for the appliance's disks
    :returns: the result, one sentence
    :raises: HostUnfit if the appliance does not work; OSError
    """
    wanted = _ROOTFS.get(rootfs, (rootfs,))
    record = os.path.join(home, _RECORD)
    state = _state(found, home, wanted)
    if state is not None and trialrecord.read(record) == state:
        return (f'made {" and ".join(wanted)} since the host booted; nothing'
                ' has changed')
    began = time.monotonic()
    try:
        _try(home, wanted, folder)
    except exception.ProgramFailed as e:
        raise exception.HostUnfit(
            reason=f'the appliance that reads images does not work: {e};'
            f' {_remedy()}')
    trialrecord.write(record, _state(found, home, wanted))
    return (f'started and made {" and ".join(wanted)} in'
            f' {time.monotonic() - began:.0f} s')


def _remedy():
    """Return what the operator can do, text."""
    unreadable = [path for path in sorted(glob.glob(_KERNELS))
                  if not os.access(path, os.R_OK)]
    if unreadable:
        # supermin takes the newest; on Ubuntu only root can read kernels
        return (f'it boots a kernel of the host: make'
                f' {" and ".join(unreadable)} readable for this user')
    return 'run "libguestfs-test-tool" to see why'


def _try(home, wanted, folder):
    """Start the appliance and make empty root filesystems.

    :raises: ProgramFailed
    """
    drives = {}
    for name, label in zip(wanted, string.ascii_lowercase):
        path = os.path.join(folder, f'{name}.disk')
        rootpmem.create(path, _FILESYSTEM_BYTES)
        drives[name] = appliance.Drive(path, 'raw', False, label)
    with appliance.Appliance(home, list(drives.values()),
                             timeout_s=_TIMEOUT_S,
                             file_size_bytes=2 * _FILESYSTEM_BYTES) as running:
        # nothing is mounted: this measures the appliance's empty /sysroot
        content = roottree.measure(running)
        for name, drive in drives.items():
            rootfs_module.load(name).make(
                running, rootpmem.add_partition(running, drive), content)
    for name, drive in drives.items():
        rootpmem.finish(drive.path, rootfs_module.load(name),
                        lambda _part: None)


def _state(found, home, wanted):
    """Return what tells whether the appliance may have changed.

    :returns: a value that JSON can keep; None if there is no appliance
    """
    home = os.path.realpath(home)  # a link where stores share one appliance
    made = os.path.join(home, 'cache', f'.guestfs-{os.geteuid()}',
                        'appliance.d')
    files = [os.path.join(made, name) for name in _MADE]
    if not all(map(os.path.exists, files)):
        return None
    search = process.environment()['PATH']
    paths = [shutil.which(name, path=search) or '' for name in _PROGRAMS]
    paths.append(found.program)
    for pattern in (*_FILES, os.path.join(home, 'supermin.d', '*')):
        paths += sorted(glob.glob(pattern))
    # without the times of its own files, which libguestfs sets at each start
    return [hostboot.boot_id(), list(wanted),
            [trialrecord.version(path)[:3] for path in files],
            [trialrecord.version(path) for path in paths]]
