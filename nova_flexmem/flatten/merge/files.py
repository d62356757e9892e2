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

"""One file at a time: removing it, copying it with all that belongs to it.

Paths are bytes: a guest may name files as it likes.
"""

import errno
import fcntl
import os
import stat
import struct

#: Flags of ioctl_iflags(2), and the numbers of the requests on x86_64.
IMMUTABLE, APPEND_ONLY = 0x10, 0x20
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602

#: Filesystems that know neither owners nor modes nor extended attributes.
_PLAIN = (b'vfat', b'exfat', b'ntfs', b'ntfs3')

#: What a copy must not have beyond its source. Others (btrfs.) say how a
#: filesystem is to store a file.
_OURS = ('user.', 'trusted.', 'security.', 'system.posix_acl_')

#: XFS shows its access control lists under these names as well.
_XFS_ACL = 'trusted.SGI_ACL_'

_CHUNK_BYTES = 4 << 20


class Unmergeable(Exception):
    """What the guest did cannot be done to this image; says why."""


class Mounts:
    """The filesystems that are mounted in a tree.

    :param points: {mount point: type}, bytes
    """

    def __init__(self, points):
        self._points = points

    @classmethod
    def below(cls, top):
        """Return the Mounts at and below a folder (see proc(5), mountinfo)."""
        points = {}
        with open('/proc/self/mountinfo', 'rb') as f:
            for line in f:
                before, _, after = line.partition(b' - ')
                point = before.split()[4].decode('unicode_escape').encode(
                    'latin-1')
                if point == top or point.startswith(top + b'/'):
                    points[point] = after.split()[0]
        return cls(points)

    def __contains__(self, path):
        return path in self._points

    def of(self, path):
        """Return the mount point of the filesystem that a path is on."""
        while path not in self._points and path not in (b'/', b''):
            path = os.path.dirname(path)
        return path

    def at_or_below(self, path):
        """Return the mount points at a path and below."""
        return [point for point in self._points
                if point == path or point.startswith(path + b'/')]

    def is_plain(self, path):
        """Return whether a path is where files have content and times only."""
        return self._points.get(self.of(path)) in _PLAIN


def status_of(path):
    """Return lstat() of a path, or None if there is nothing."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def is_whiteout(status):
    """Return whether a status is that of an overlay's mark of a removal."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def attributes(path):
    """Return {name: value} of a path's extended attributes."""
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)}


def set_flags(path, flags, wanted):
    """Set or clear flags of a file or folder, where there are such."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO):
            return
        raise
    try:
        now = struct.unpack('I', fcntl.ioctl(fd, _GETFLAGS, bytes(4)))[0]
        new = now | flags if wanted else now & ~flags
        if new != now:
            fcntl.ioctl(fd, _SETFLAGS, struct.pack('I', new))
    except OSError as e:
        if e.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def unprotect(path, status):
    """Let a file or folder be changed that chattr(1) protects."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        set_flags(path, IMMUTABLE | APPEND_ONLY, False)


class Remover:
    """Removes what is in a tree.

    :param mounts: the Mounts in it; they are emptied, and stay
    :param kept: paths that stay as they are
    """

    def __init__(self, mounts, kept):
        self._mounts = mounts
        self._kept = kept
        self.count = 0

    def remove(self, path):
        """Remove whatever is at a path.

        :returns: whether nothing is there now
        """
        status = status_of(path)
        if status is None:
            return True
        if path in self._kept:
            return False
        if not stat.S_ISDIR(status.st_mode):
            unprotect(path, status)
            os.unlink(path)
            self.count += 1
            return True
        if not self.clear(path) or path in self._mounts:
            return False
        os.rmdir(path)
        self.count += 1
        return True

    def clear(self, folder):
        """Remove what is in a folder; return whether it is empty now."""
        unprotect(folder, os.lstat(folder))
        return all([self.remove(os.path.join(folder, name))
                    for name in os.listdir(folder)])


def make(path, source, status):
    """Make at a path, where nothing is, what another is, with its content.

    :param status: the source's, of lstat(), which is not a folder
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copy_content(source, path)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), path)
    else:
        os.mknod(path, kind | 0o600, status.st_rdev)


def copy_content(source, target):
    """Give an existing file another's content; holes stay holes."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            _copy_extents(reading, writing)
        except OSError as e:
            e.filename = target
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_extents(reading, writing):
    end = os.fstat(reading).st_size
    os.ftruncate(writing, end)
    done = 0
    while done < end:
        try:
            start = os.lseek(reading, done, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:  # a hole to the end
                return
            raise
        done = os.lseek(reading, start, os.SEEK_HOLE)
        os.lseek(writing, start, os.SEEK_SET)
        while start < done:
            start += os.sendfile(writing, reading, start,
                                 min(_CHUNK_BYTES, done - start))


def copy_metadata(source, target, status, wanted, *, plain, keep=False):
    """Give a file another's owner, mode, extended attributes and times.

    :param status: the source's, of lstat()
    :param wanted: {name: value} of the extended attributes
    :param plain: whether the target's filesystem has times alone
    :param keep: leave further extended attributes as they are
    """
    if not plain:
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(target, stat.S_IMODE(status.st_mode))
        has = attributes(target)
        for name in has:
            if (name not in wanted and not keep and name.startswith(_OURS)
                    and not name.startswith(_XFS_ACL)):
                os.removexattr(target, name, follow_symlinks=False)
        for name, value in wanted.items():
            if has.get(name) != value and not name.startswith(_XFS_ACL):
                os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns),
             follow_symlinks=False)
