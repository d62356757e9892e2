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

"""Images as they are uploaded: what they are, whether they may be opened.

The rule is agree or refuse: oslo.utils' format inspector and qemu-img, told
the format, must see the same thing before any other program opens the file.
"""

import dataclasses
import errno
import json
import os
import signal
import stat
import struct

from oslo_utils.imageutils import format_inspector
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem import process

_MAX_CHAIN = 16
_INFO_LIMITS = process.Limits(cpu_s=30)
_CHECK_CODES = (0, 2, 3)  # clean, corruptions, leaked clusters only
_RAW = ('raw', 'gpt')
_BAD_DISK = os.strerror(errno.EIO)

#: How qemu-img ends for nothing but the image that it reads: an error of its
#: own, a fault of its own, and the limits of processor time and, by GLib's
#: SIGTRAP, of memory. Not when it is killed, as where the host's memory is
#: short, or takes too long, as where the host's disk is slow.
_OWN_CODES = (1, 2, 3, 63)
_OWN_SIGNALS = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGTRAP,
                -signal.SIGXCPU)

#: What the inspector ends in: its own errors, and others for files that its
#: authors did not expect. A VMDK descriptor that is no text is one.
_INSPECTOR_ERRORS = (format_inspector.ImageFormatError, ArithmeticError,
                     AttributeError, LookupError, TypeError, ValueError,
                     struct.error)


@dataclasses.dataclass(frozen=True)
class Source:
    """An image that may be opened.

    :ivar path: the file
    :ivar format: 'raw' or 'qcow2'
    :ivar virtual_size_bytes: of the disk a guest would see
    :ivar chain: the files it is made of, the topmost (path) first
    """

    path: str
    format: str
    virtual_size_bytes: int
    chain: tuple[str, ...]


def inspect(path, *, max_virtual_size_bytes, allow_backing_chain=False):
    """Find out what an image file is.

    :returns: a Source
    :raises: ImageRefused for anything that is not a raw or qcow2 disk that
        stands on its own, and, with allow_backing_chain, for a chain that
        is not made of such files alone; BuildFailed if one can't be read, or
        qemu-img can't be run to its end
    """
    path = os.path.abspath(path)  # never a protocol of QEMU's, like nbd:
    _check_readable(path)
    image_format = _detect(path, allow_backing_chain)
    info = _qemu_img('info', path, image_format, timeout_s=30)
    size = info['virtual-size']
    if size > max_virtual_size_bytes:
        limit_gib = max_virtual_size_bytes / units.Gi
        raise exception.ImageRefused(
            image=path, reason=f'its virtual size of {size / units.Gi:.1f}'
            f' GiB is above the limit of {limit_gib:.0f} GiB; raise [flexmem]'
            ' max_virtual_size_gib to build it')
    chain = {path: (image_format, info)}
    while (below := info.get('full-backing-filename')) is not None:
        below = os.path.abspath(below)
        if len(chain) == _MAX_CHAIN or below in chain:
            raise exception.ImageRefused(
                image=path, reason=f'its backing chain is longer than'
                f' {_MAX_CHAIN} files or goes round')
        _check_readable(below)
        below_format = _detect(below, True)
        if info.get('backing-filename-format') != below_format:
            raise exception.ImageRefused(
                image=[*chain][-1], reason=f'says its backing file {below} is'
                f' {info.get("backing-filename-format")}, but that is'
                f' {below_format}')
        info = _qemu_img('info', below, below_format, timeout_s=30)
        chain[below] = below_format, info
    # only now: the check opens the whole chain, and would go round in a loop
    for name, (name_format, info) in chain.items():
        if name_format == 'qcow2':
            _check_whole(name, info['cluster-size'])
    return Source(path, image_format, size, tuple(chain))


def _check_readable(path):
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise exception.ImageRefused(image=path,
                                         reason='not a regular file')
        with open(path, 'rb'):
            pass
    except OSError as e:
        if e.errno == errno.EIO:
            raise unreadable(path, e)
        raise exception.ImageRefused(image=path, reason=e.strerror)


def _detect(path, allow_backing_chain):
    """Return 'raw' or 'qcow2' after the inspector's safety checks."""
    try:
        inspector = format_inspector.detect_file_format(path)
        if inspector is None or str(inspector) not in ('qcow2', *_RAW):
            raise exception.ImageRefused(
                image=path, reason=f'a {inspector} file; only raw and qcow2'
                ' images can become a base')
        if str(inspector) != 'gpt':  # its checks are about the boot sector
            inspector.safety_check()
    except format_inspector.SafetyCheckFailed as e:
        failures = set(e.failures)
        if allow_backing_chain:
            failures.discard('backing_file')
        if failures:
            hint = (' (--allow-backing-chain accepts one)'
                    if failures == {'backing_file'} else '')
            reasons = '; '.join(str(e.failures[name])
                                for name in sorted(failures))
            raise exception.ImageRefused(image=path,
                                         reason=f'{reasons}{hint}')
    except _INSPECTOR_ERRORS as e:
        raise exception.ImageRefused(
            image=path, reason=f'not a usable disk image: {e}')
    except OSError as e:
        raise unreadable(path, e)
    if str(inspector) == 'qcow2':
        return 'qcow2'
    if os.path.getsize(path) == 0 or os.path.getsize(path) % 512:
        raise exception.ImageRefused(
            image=path, reason='not a disk image: neither qcow2 nor a raw'
            ' disk of whole 512-byte sectors')
    return 'raw'


def _check_whole(path, cluster_bytes):
    """Refuse a qcow2 file with corruptions, or with its end missing.

    A file cut short opens well, and its lost clusters read as zeros.
    """
    check = _qemu_img('check', path, 'qcow2', timeout_s=300,
                      expected=_CHECK_CODES)
    corruptions = check.get('corruptions', 0)
    if corruptions or check.get('check-errors', 0):
        raise exception.ImageRefused(
            image=path, reason=f'damaged: qemu-img check finds {corruptions}'
            ' corruptions; upload it again')
    missing = check.get('image-end-offset', 0) - os.path.getsize(path)
    if missing >= cluster_bytes:  # the last cluster may be a short one
        raise exception.ImageRefused(
            image=path, reason=f'cut short: {missing} bytes at its end are'
            ' missing; upload it again')


def _qemu_img(command, path, image_format, **how):
    try:
        return json.loads(process.run(
            'qemu-img', command, '--output=json', '-f', image_format, path,
            limits=_INFO_LIMITS, **how))
    except exception.ProgramFailed as e:
        reason = e.kwargs['reason'].removeprefix('qemu-img: ')
        code = e.kwargs.get('code')
        # not of prlimit, which starts it, and ends with the same code
        refused = code in _OWN_SIGNALS or (
            code in _OWN_CODES and not reason.startswith('prlimit: '))
        # not for good what the image may not be to blame for; but for good
        # what is, or each host would try a hostile image again and again
        if refused and _BAD_DISK not in reason:
            raise exception.ImageRefused(image=path,
                                         reason=f'damaged: {reason}')
        raise exception.BuildFailed(image=path,
                                    reason=f'qemu-img {command}: {reason}')


def unreadable(path, error):
    """Return the BuildFailed of an OSError from a file of an image.

    It is no ImageRefused, which is for good: the image may be all right.
    """
    return exception.BuildFailed(
        image=path, reason=f'{path} cannot be read: {error.strerror}')
