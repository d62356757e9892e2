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

"""The filesystems of an image, and the /etc/fstab that names them.

libguestfs finds the mount points of an operating system, but does not know
every way of naming a device (PARTUUID= and PARTLABEL= are such, and cloud
images use them), and /dev/sda1 leads it to another disk where the appliance's
kernel numbers its disks otherwise. What fstab says is looked up here instead.
What it names of other disks, libguestfs hands on as it is, or takes for
another disk of the appliance.
"""

import re

from nova_flexmem.image import identifiers

_HEADER = ('# Lines marked "flexmem:" mounted parts of the image; in a FlexMem'
           ' instance these are\n# in the root filesystem already, and swap'
           ' space of the image does not exist.\n')

#: An option of the lines that a base's fstab has in place of the image's own
#: (see fstab(5) on names that begin with x-).
BIND_MARK = 'x-flexmem'

#: What a filesystem's options can forbid, by the option that allows it again.
_FORBIDDEN = {'dev': 'nodev', 'suid': 'nosuid', 'exec': 'noexec', 'rw': 'ro'}

_PLAIN_PATH = re.compile(r"(/[^/'\x00-\x1f\x7f]+)+")
_ESCAPE = re.compile(r'\\([0-3][0-7]{2})')
_SUBVOLUME = re.compile(r'subvol=/?([\w.@/+-]+)')
_BTRFS_SUBVOLUME = 'btrfsvol:'
_MAPPER = '/dev/mapper/'
_BY_PATH = '/dev/disk/by-path/'


def is_known(mountable, known):
    """Return whether a filesystem is one of the image.

    :param mountable: as libguestfs names it
    :param known: the filesystems that identifiers.find() returned
    """
    device = mountable.removeprefix(_BTRFS_SUBVOLUME)
    if device == mountable:
        return device in known
    return any(device.startswith(f'{name}/') for name in known)


def mountables(text, known):
    """Return {mount point: mountable} of the entries that can be told apart.

    :param text: the image's fstab
    :param known: the filesystems that identifiers.find() returned
    """
    mountables = {}
    for spec, point, kind, options in _entries(text):
        device = known.get(identifiers.normal(spec))
        if (device is None or kind == 'swap' or 'noauto' in options.split(',')
                or not _PLAIN_PATH.fullmatch(point) or '..' in point
                or not point.isprintable()):
            continue
        subvolume = _SUBVOLUME.search(options)
        mountables[point] = (f'{_BTRFS_SUBVOLUME}{device}/{subvolume[1]}'
                             if subvolume else device)
    return mountables


def why_not(text, known, mounted, encrypted=()):
    """Return why an fstab cannot be followed, None if it can.

    A line of it may be commented out only where its files are in the base.

    :param text: the image's fstab
    :param known: the filesystems that identifiers.find() returned
    :param mounted: where filesystems of the image are mounted
    :param encrypted: names of the image's encrypted devices, when open
    """
    points = {point.rstrip('/') for point in mounted}
    for spec, point, kind, options in _entries(text):
        words = options.split(',')
        if kind == 'swap' or 'noauto' in words or point == '/':
            continue
        where = f'its /etc/fstab mounts {spec} at {point}'
        if spec.startswith(_BY_PATH) and 'nofail' not in words:
            return (f'{where}, by where hardware is plugged in, which is'
                    ' elsewhere in an instance; name it by UUID= or LABEL=')
        if spec.removeprefix(_MAPPER) in encrypted and 'nofail' not in words:
            return (f'{where}, which is encrypted (LUKS) in it; use an image'
                    ' without encryption')
        if identifiers.normal(spec) not in known:
            continue
        if any(word.startswith('subvolid=') for word in words) and (
                not _SUBVOLUME.search(options)):
            return (f'{where} by the number of a subvolume; name it with'
                    ' subvol=')
        if point.startswith('/') and point.rstrip('/') not in points:
            return (f'{where}, which is no folder in it; make that folder in'
                    ' the image')
    return None


def reduce(text, known, mountpoints):
    """Return an fstab without the image's own filesystems and swap.

    What else is in it stays as it is: pseudo filesystems, network shares,
    volumes that are attached to the instance. What a filesystem's options
    forbade, the folder in its place forbids as well, by a bind mount.

    :param text: the image's fstab
    :param known: the filesystems that identifiers.find() returned
    :param mountpoints: where filesystems of the image are mounted
    """
    gone = {point.rstrip('/') for point in mountpoints}
    lines = []
    changed = False
    for line in text.removesuffix('\n').split('\n'):
        bound = []
        for spec, point, kind, options in _entries(line):
            if (kind == 'swap' or point.rstrip('/') in gone
                    or identifiers.normal(spec) in known):
                if point.rstrip('/') in gone - {''}:
                    bound = _bound(line.split()[1], options.split(','))
                line = f'# flexmem: {line}'
                changed = True
        lines += [line, *bound]
    return (_HEADER if changed else '') + '\n'.join(lines) + '\n'


def _bound(point, options):
    """Return the lines that forbid on a folder what a mount's options did."""
    if 'noauto' in options:
        return []
    forbidden = []
    for option, opposite in _FORBIDDEN.items():
        last = [o for o in options if o in (option, opposite)][-1:]
        forbidden += [opposite] if last == [opposite] else []
    if not forbidden:
        return []
    # what is mounted below it stays visible
    return [f'{point} {point} none'
            f' {",".join(["rbind", *forbidden, BIND_MARK])} 0 0']


def restore(text):
    """Undo reduce() in an fstab that a guest may have changed since."""
    return ''.join(
        line.removeprefix('# flexmem: ')
        for line in text.replace(_HEADER, '').splitlines(True)
        if not any(BIND_MARK in options.split(',')
                   for *_entry, options in _entries(line)))


def _entries(text):
    """Yield (device, mount point, type, options) of each entry."""
    for line in text.removesuffix('\n').split('\n'):
        fields = line.split()
        if len(fields) >= 3 and not fields[0].startswith('#'):
            yield (_decoded(fields[0]), _decoded(fields[1]), fields[2],
                   fields[3] if len(fields) > 3 else '')


def _decoded(field):
    """Return a field without its escapes: a space is \\040 (fstab(5))."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
