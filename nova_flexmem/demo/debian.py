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

"""Makes Debian cloud images, as an operator would upload them to Glance.

mmdebstrap makes a tar of the system from the packages of the host's own apt
sources; the libguestfs appliance puts it on a disk and installs GRUB. Both
results are kept in a folder, named by what they were made from.
"""

import argparse
import dataclasses
import os
import sys

from oslo_utils import units

from nova_flexmem.demo import cache
from nova_flexmem.demo import layouts
from nova_flexmem.demo import sources
from nova_flexmem import exception
from nova_flexmem.image import appliance
from nova_flexmem import process

#: The names of the layouts.
LAYOUTS = tuple(layouts.LAYOUTS)

_VIRTUAL_SIZE_BYTES = 4 * units.Gi

#: Each of the two steps takes 1 to 2 minutes on two cores without KVM.
_TIMEOUT_S = 1800

#: No disk is known to GRUB's package, so that upgrading it asks nothing and
#: leaves the boot sector alone; cloud-init names the disk where it runs.
_PRESEED = ('echo grub-pc grub-pc/install_devices_empty boolean true'
            ' | chroot "$1" debconf-set-selections')

#: Whatever ends the program, kill -9 included, none of its mounts stays.
_ISOLATED = ('unshare', '--mount', '--pid', '--mount-proc', '--fork',
             '--kill-child')

#: Unpacks a tar over the filesystems that the appliance has mounted.
_UNPACK = ('tar -C /sysroot --xattrs --xattrs-include=* --numeric-owner'
           ' --extract --file')


def print_nothing(stage):
    """Take notice of a stage of the work, and keep it to oneself."""


def build(layout, cache_dir, progress=print_nothing):
    """Make a Debian image in one of the LAYOUTS, or find it made already.

    Arguments, result and errors are those of make, but for the layout's name.
    """
    if layout not in layouts.LAYOUTS:
        raise exception.DemoFailed(
            reason=f'{layout}: no such image layout; there are'
                   f' {", ".join(layouts.LAYOUTS)}')
    return make(layout, layouts.LAYOUTS[layout], cache_dir, progress)


def make(name, plan, cache_dir, progress=print_nothing):
    """Make a Debian image, or find it made already.

    :param name: of the layout, for the file's name
    :param plan: a layouts.Layout
    :param cache_dir: a folder for images and what they are made from
    :param progress: called with a text as each stage begins
    :returns: the path of a qcow2 in cache_dir, not to be written to
    :raises: DemoFailed, ProgramFailed
    """
    suite_sources = sources.for_suite(plan.system.suite)
    system_recipe = bootstrap_argv(plan.system, suite_sources, 'system.tar')
    files = layouts.files(plan, suite_sources)

    def make_system(folder):
        progress(f'Debian {plan.system.suite}: downloading and installing')
        tar = os.path.join(folder, 'system.tar')
        _check_host()
        process.run(*_ISOLATED,
                    *bootstrap_argv(plan.system, suite_sources, tar),
                    timeout_s=_TIMEOUT_S, env={'TMPDIR': folder})
        return tar

    def make_image(folder):
        tar = cache.get(cache_dir, f'debian-{plan.system.suite}', '.tar',
                        system_recipe, make_system)
        progress(f'Debian {plan.system.suite}: writing the {name} image')
        return _make_image(folder, tar, plan, files,
                           os.path.join(cache_dir, 'appliance'))

    return cache.get(
        cache_dir, f'debian-{plan.system.suite}-{name}', '.qcow2',
        [system_recipe, dataclasses.asdict(plan), _VIRTUAL_SIZE_BYTES, _UNPACK,
         files], make_image)


def bootstrap_argv(system, suite_sources, tar):
    """Return the mmdebstrap command that makes a system's tar.

    :param system: a layouts.System
    :param suite_sources: one-line apt sources, the suite's own first
    :param tar: the file to write
    """
    installed_from = suite_sources[:1 if system.point_release else None]
    return ['mmdebstrap', '--variant=minbase', '--format=tar',
            f'--include={",".join(system.packages)}',
            '--aptopt=Apt::Install-Recommends "false"',
            f'--essential-hook={_PRESEED}',
            system.suite, tar, *installed_from]


def _make_image(folder, tar, plan, files, home):
    """Put a system on a disk; return the path of its qcow2 in the folder.

    :param tar: of the system
    :param plan: its layouts.Layout
    :param files: what to write into the system, a dict of path and text
    :param home: the appliance's folder
    """
    raw = os.path.join(folder, 'disk.raw')
    text = os.path.join(folder, 'text')
    with open(raw, 'wb') as f:
        f.truncate(_VIRTUAL_SIZE_BYTES)
    drives = [appliance.Drive(raw, 'raw', False, layouts.DISK),
              appliance.Drive(tar, 'raw', True, layouts.SYSTEM)]
    with appliance.Appliance(home, drives, timeout_s=_TIMEOUT_S,
                             file_size_bytes=_VIRTUAL_SIZE_BYTES) as guest:
        for words in plan.disk:
            guest.command(*words)
        guest.shell(f'{_UNPACK} {drives[1].device}')
        for path, content in files.items():
            with open(text, 'w', encoding='ascii') as f:
                f.write(content)
            guest.command('mkdir-p', os.path.dirname(path))
            guest.command('upload', text, path)
        for words in plan.finish:
            guest.command(*words)
    qcow2 = os.path.join(folder, 'disk.qcow2')
    compress = ['-c'] if plan.compressed else []
    process.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', *compress,
                raw, qcow2, timeout_s=_TIMEOUT_S)
    return qcow2


def _check_host():
    if os.geteuid() != 0:
        raise exception.DemoFailed(
            reason='making a Debian image needs root; become root, or give an'
                   ' image with --image')
    if not process.available('mmdebstrap'):
        raise exception.DemoFailed(
            reason='mmdebstrap is not installed; install it, or give an image'
                   ' with --image')


def main():
    """Make the image that the command line asks for; print its path."""
    parser = argparse.ArgumentParser(description='Make a Debian cloud image.')
    parser.add_argument('layout', choices=LAYOUTS)
    parser.add_argument('cache_dir', help='folder that keeps images')
    args = parser.parse_args()
    try:
        print(build(args.layout, args.cache_dir,
                    lambda stage: print(stage, file=sys.stderr)))
    except exception.FlexMemException as e:
        sys.exit(str(e))


if __name__ == '__main__':
    main()
