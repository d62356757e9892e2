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

"""A filesystem that fails when it is told to: a FUSE view of a folder.

It is told by an extended attribute of its root, so by nothing that is in the
folder (see Fault), and tells by another how often it was asked for what.
"""

import collections
import dataclasses
import errno
import json
import os
import re
import subprocess
import sys
import threading
import time

import mfusepy

_FAULT, _COUNTS, _FILES = 'user.fault', 'user.counts', 'user.files'
_START_S = 15

#: UTIME_NOW and UTIME_OMIT of utimensat(2).
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2

#: What asks for space on a disk.
SPACE = ('write', 'fallocate', 'create', 'mkdir', 'symlink')
#: What reads or writes a disk that breaks.
DISK = (*SPACE, 'read', 'fsync', 'rename', 'unlink', 'rmdir', 'open',
        'readdir', 'truncate', 'chmod', 'getattr')


@dataclasses.dataclass(frozen=True)
class Fault:
    """What shall fail.

    :ivar number: the errno
    :ivar operations: as FUSE calls them
    :ivar after: how many of them go well before
    :ivar times: how many of them fail then, before they go well again
    :ivar path: a regular expression that their path must have a match of
    :ivar first_byte: and in the bytes that they read or write
    """

    number: int
    operations: tuple[str, ...]
    after: int = 0
    times: int = sys.maxsize
    path: str = ''
    first_byte: int = -1

    def hits(self, path, extent):
        if self.first_byte >= 0 and not (
                extent and extent[0] <= self.first_byte < sum(extent)):
            return False
        return re.search(self.path, path) is not None


class Mounted:
    """The filesystem mounted; a context manager."""

    def __init__(self, folder, mountpoint, locks=True):
        self.folder = folder
        self.path = mountpoint
        self._locks = locks

    def __enter__(self):
        self._popen = subprocess.Popen(
            [sys.executable, '-m', __name__, self.folder, self.path,
             str(self._locks)],
            env=os.environ | {'FUSE_LIBRARY_PATH': 'libfuse3.so.3'})
        deadline = time.monotonic() + _START_S
        while not os.path.ismount(self.path):
            if time.monotonic() > deadline or self._popen.poll() is not None:
                raise RuntimeError(f'{self.path} was not mounted')
            time.sleep(0.05)
        return self

    def __exit__(self, *_exc):
        subprocess.run(['umount', '--lazy', self.path], check=True)
        # by itself it ends with the last mount namespace that has it
        self._popen.kill()
        self._popen.wait()

    def fail(self, *faults):
        """Have this fail from now on, and nothing else; counts begin anew."""
        os.setxattr(self.path, _FAULT, json.dumps(
            [dataclasses.asdict(fault) for fault in faults]).encode())

    def counts(self):
        """Return {operation: how often} since fail(), and of 'failed'."""
        return json.loads(os.getxattr(self.path, _COUNTS))

    def files(self):
        """Return [(operation, path, how often)] since fail(), in order.

        Of operations that ask for space alone.
        """
        return json.loads(os.getxattr(self.path, _FILES))


class _Faulty(mfusepy.Operations):

    use_ns = True

    def __init__(self, folder):
        self._folder = folder
        self._mutex = threading.Lock()
        self._told([])

    def _told(self, faults):
        with self._mutex:
            self._faults = [Fault(**fault) for fault in faults]
            self._hits = [0] * len(faults)
            self._counts = collections.Counter()
            self._files = collections.Counter()

    def _at(self, operation, path, *extent):
        """Return the path in the folder, unless this is to fail.

        The root does not: it is asked for when this is told what fails.
        """
        if path == '/':
            return self._folder
        with self._mutex:
            self._counts[operation] += 1
            if operation in SPACE:
                self._files[operation, path] += 1
            for number, fault in enumerate(self._faults):
                if operation in fault.operations and fault.hits(path, extent):
                    self._hits[number] += 1
                    if 0 < self._hits[number] - fault.after <= fault.times:
                        self._counts['failed'] += 1
                        raise mfusepy.FuseOSError(fault.number)
        return self._folder + path

    def setxattr(self, path, name, value, options, position=0):
        if (path, name) == ('/', _FAULT):
            self._told(json.loads(value))
        else:
            os.setxattr(self._folder + path, name, value, options)

    def getxattr(self, path, name, position=0):
        if (path, name) == ('/', _COUNTS):
            with self._mutex:
                return json.dumps(self._counts).encode()
        if (path, name) == ('/', _FILES):
            with self._mutex:
                return json.dumps([
                    (*key, count)
                    for key, count in self._files.items()]).encode()
        return os.getxattr(self._folder + path, name, follow_symlinks=False)

    def getattr(self, path, fh=None):
        found = os.lstat(self._at('getattr', path))
        return {name: getattr(found, name) for name in (
            'st_mode', 'st_nlink', 'st_uid', 'st_gid', 'st_size',
            'st_blocks')} | {
                name: getattr(found, f'{name}_ns') for name in (
                    'st_atime', 'st_mtime', 'st_ctime')}

    def statfs(self, path):
        found = os.statvfs(self._folder)
        return {name: getattr(found, name) for name in (
            'f_bsize', 'f_frsize', 'f_blocks', 'f_bfree', 'f_bavail',
            'f_files', 'f_ffree', 'f_favail', 'f_namemax')}

    def access(self, path, amode):
        if not os.access(self._folder + path, amode):
            raise mfusepy.FuseOSError(errno.EACCES)

    def readdir(self, path, fh):
        return ['.', '..', *os.listdir(self._at('readdir', path))]

    def readlink(self, path):
        return os.readlink(self._folder + path)

    def symlink(self, target, source):
        os.symlink(source, self._at('symlink', target))

    def link(self, target, source):
        os.link(self._folder + source, self._at('link', target))

    def mkdir(self, path, mode):
        os.mkdir(self._at('mkdir', path), mode)

    def rmdir(self, path):
        os.rmdir(self._at('rmdir', path))

    def unlink(self, path):
        os.unlink(self._at('unlink', path))

    def rename(self, old, new):
        os.rename(self._at('rename', old), self._folder + new)

    def chmod(self, path, mode):
        os.chmod(self._at('chmod', path), mode)

    def chown(self, path, uid, gid):
        os.chown(self._folder + path, uid, gid, follow_symlinks=False)

    def utimens(self, path, times=None):
        found = os.lstat(self._folder + path)
        special = ({_NOW: time.time_ns(), _OMIT: found.st_atime_ns},
                   {_NOW: time.time_ns(), _OMIT: found.st_mtime_ns})
        if times:
            times = tuple(known.get(time_ns, time_ns)
                          for known, time_ns in zip(special, times))
        os.utime(self._folder + path, ns=times, follow_symlinks=False)

    def truncate(self, path, length, fh=None):
        os.truncate(self._at('truncate', path), length)

    def create(self, path, mode, fi=None):
        return os.open(self._at('create', path),
                       os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path, flags):
        # the kernel appends by itself
        return os.open(self._at('open', path), flags & ~os.O_APPEND)

    def release(self, path, fh):
        os.close(fh)

    def read(self, path, size, offset, fh):
        self._at('read', path, offset, size)
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        self._at('write', path, offset, len(data))
        return os.pwrite(fh, data, offset)

    def fallocate(self, path, mode, offset, size, fh):
        if mode:
            raise mfusepy.FuseOSError(errno.EOPNOTSUPP)
        self._at('fallocate', path)
        os.posix_fallocate(fh, offset, size)

    def fsync(self, path, datasync, fh):
        self._at('fsync', path)
        os.fsync(fh)


class _WithoutLocks(_Faulty):
    """As NFS is where no lock daemon answers."""

    def lock(self, path, fh, cmd, lock):
        raise mfusepy.FuseOSError(errno.ENOLCK)

    def flock(self, path, fh, op):
        raise mfusepy.FuseOSError(errno.ENOLCK)


if __name__ == '__main__':
    folder, mountpoint, locks = sys.argv[1:]
    mfusepy.FUSE(
        (_Faulty if locks == 'True' else _WithoutLocks)(folder), mountpoint,
        foreground=True, fsname='faulty', attr_timeout=0, entry_timeout=0,
        default_permissions=True, allow_other=True)
