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

"""A connection to this host's libvirt, started for the purpose if need be."""

import contextlib
import os
import socket
import subprocess
import time

import libvirt
from oslo_log import log

from nova_flexmem import accel
from nova_flexmem import exception
from nova_flexmem import process

LOG = log.getLogger(__name__)

URI = 'qemu:///system'
_RUN = '/run/libvirt'
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 15

#: Covers files with others, pairwise, in a mount namespace of its own.
_COVER = ('unshare', '--mount', '--propagation', 'private', 'sh', '-ec', """
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
shift; exec "$@"
""", 'sh')


def domain_type():
    """Return the type attribute for domains here: kvm, or qemu for TCG."""
    return 'kvm' if accel.kvm_works() else 'qemu'


@contextlib.contextmanager
def connect(log_folder):
    """Give a libvirt connection to the system's QEMU driver.

    Where no libvirtd answers (containers, CI), virtlogd and libvirtd run as
    our children as long as the context does, and log to log_folder.

    :raises: DemoFailed if there is no libvirt and none can be started
    """
    # Errors come as exceptions; by default libvirt prints them as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    with contextlib.ExitStack() as stack:
        connection = _open()
        if connection is None:
            stack.enter_context(_daemon(
                'virtlogd', 'virtlogd-sock', log_folder))
            stack.enter_context(_daemon(
                'libvirtd', 'libvirt-sock', log_folder,
                without_kvm(log_folder)))
            connection = _open()
        if connection is None:
            raise exception.DemoFailed(
                reason=f'{URI} does not answer; is libvirt-daemon-system'
                ' installed, and is this user root or in group libvirt?')
        stack.callback(connection.close)
        yield connection


def _open():
    try:
        return libvirt.open(URI)
    except libvirt.libvirtError as e:
        LOG.debug('%s: %s', URI, e)
        return None


def without_kvm(folder):
    """Return the words before a program that is not to see a broken KVM.

    libvirt distrusts what it learnt about a QEMU while access to /dev/kvm is
    other than its QEMU user's should be, and learns it anew several times for
    each domain: a start takes a minute instead of a second. Without the
    namespaces of QEMU, which refuse anything mounted in /dev, an unreadable
    file over /dev/kvm settles it. Other programs find out in no time that KVM
    does not work.

    :param folder: for the files that cover others
    """
    if accel.kvm_works() or not os.path.exists('/dev/kvm'):
        return ()
    cover = os.path.join(folder, 'no-kvm')
    os.close(os.open(cover, os.O_CREAT, mode=0))
    settings = os.path.join(folder, 'qemu.conf')
    with open(settings, 'w', encoding='ascii') as f:
        f.write('namespaces = []\n')
    return (*_COVER, cover, '/dev/kvm', settings, '/etc/libvirt/qemu.conf',
            '--')


@contextlib.contextmanager
def _daemon(program, address, log_folder, wrapper=()):
    """Run a daemon of libvirt's, unless one answers at its socket already."""
    address = os.path.join(_RUN, address)
    if _answers(address):
        yield
        return
    log_path = os.path.join(log_folder, f'{program}.log')
    popen = process.daemon(*wrapper, program, log_path=log_path)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(address):
            if popen.poll() is not None or time.monotonic() > deadline:
                raise exception.DemoFailed(
                    reason=f'{program} did not start; {log_path} says why')
            time.sleep(0.1)
        yield
    finally:
        popen.terminate()
        try:
            popen.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def _answers(address):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
        except OSError:
            return False
    return True
