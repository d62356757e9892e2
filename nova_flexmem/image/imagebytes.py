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

"""Every byte of an image: its digest, and a private copy of it."""

import errno
import fcntl
import hashlib
import os
import signal

from nova_flexmem import exception
from nova_flexmem.image import source as source_module
from nova_flexmem.image import sparse
from nova_flexmem import process

_CHUNK_BYTES = 4 << 20
_FICLONE = 0x40049409  # linux/fs.h


def digest(source, progress=None):
    """Return the SHA-256 of an image, hexadecimal.

    Of an image in several files, the SHA-256 of their digests.

    :param progress: called with the fraction done, 0 to 1
    :raises: ImageRefused if a file changes while it is read; BuildFailed if
        one can't be read
    """
    try:
        digests = [_read(path, progress=progress) for path in source.chain]
    except OSError as e:
        raise source_module.unreadable(e.filename, e)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(''.join(digests).encode()).hexdigest()


def take(source, expected, folder, *, timeout_s, take_over=False,
         progress=None):
    """Take a private copy of an image, so that nobody can change it.

    :param expected: what digest() returned
    :param folder: where the copy goes
    :param take_over: make the image's own file the copy, where it is one file
        of this user, without another name, that nobody else has open
    :returns: path of the copy, of the source's format; one file
    :raises: ImageRefused if the image is not what it was; BuildFailed if it
        can't be read; OSError if the copy can't be written or read
    """
    path = os.path.join(folder, f'image.{source.format}')
    if len(source.chain) > 1:
        process.write_disk('qemu-img', 'convert', '-f', source.format, '-O',
                           source.format, source.path, path,
                           size_bytes=source.virtual_size_bytes,
                           timeout_s=timeout_s)
        actual = digest(source, progress)
    else:
        try:
            if not (take_over and _move(source.path, path)):
                _copy(source.path, path)
        except OSError as e:
            if e.errno == errno.EIO:
                digest(source)  # was it this file, or the copy?
            raise
        actual = _read(path, progress=progress)
    if actual != expected:
        raise exception.ImageRefused(
            image=source.path, reason='it changed while it was read')
    return path


def _copy(source, target):
    """Copy a file, sharing its blocks where the filesystem can."""
    with open(source, 'rb') as reading, open(target, 'xb') as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            return
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV,
                               errno.ENOTTY):
                raise
        os.truncate(writing.fileno(), os.fstat(reading.fileno()).st_size)
        for offset, size in sparse.extents(reading.fileno()):
            end = offset + size
            os.lseek(writing.fileno(), offset, os.SEEK_SET)
            while offset < end:
                # not copy_file_range: it stays within one filesystem
                copied = os.sendfile(writing.fileno(), reading.fileno(),
                                     offset, min(_CHUNK_BYTES, end - offset))
                if copied == 0:
                    return  # cut short meanwhile; the digest will tell
                offset += copied


def _move(source, target):
    """Rename a file that is this process's alone; return whether it is."""
    with open(source, 'rb') as f:
        status = os.fstat(f.fileno())
        if status.st_uid != os.geteuid() or status.st_nlink != 1:
            return False
        try:
            # who opens it meanwhile waits, and this process gets a signal:
            # one that it ignores
            fcntl.fcntl(f, fcntl.F_SETSIG, signal.SIGURG)
            # not given where another has it open, or on NFS
            fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            os.rename(source, target)
        except OSError:
            return False
    return True


def _read(path, progress=None):
    """Return a file's SHA-256; see that it does not change meanwhile."""
    sha256 = hashlib.sha256()
    with open(path, 'rb') as f:
        before = _state(f)
        done = 0
        # not to the end of a file that grows and grows
        while done <= before[0] and (chunk := _chunk(f)):
            sha256.update(chunk)
            done += len(chunk)
            if progress:
                progress(done / max(done, before[0]))
        if _state(f) != before:
            raise exception.ImageRefused(
                image=path, reason='it changed while it was read')
    return sha256.hexdigest()


def _chunk(f):
    try:
        return f.read(_CHUNK_BYTES)
    except OSError as e:
        e.filename = f.name  # the system names it only at open()
        raise


def _state(f):
    status = os.fstat(f.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
