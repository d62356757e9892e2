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

"""Tests whether KVM runs guests on this host.

/dev/kvm may exist and open although no guest boots with it, for example where
nested virtualization is incomplete. So the test boots a guest.
"""

import functools
import glob
import os
import stat

from oslo_log import log

from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem import process

LOG = log.getLogger(__name__)

#: Linux without a root filesystem panics about 1 s after power-on under KVM;
#: panic=-1 and -no-reboot then end QEMU.
_PROBE_TIMEOUT_S = 10

_DEVICE = '/dev/kvm'


def newest_host_kernel():
    """Return the path of the newest kernel in /boot, or None.

    Kernels that this user cannot read are left out: on Ubuntu, only root can
    read new ones.
    """
    return max((path for path in glob.glob('/boot/vmlinuz-*')
                if os.access(path, os.R_OK)), key=os.path.getmtime,
               default=None)


def kvm_forbidden():
    """Return whether this host has KVM, but this user may not use it."""
    return (os.path.exists(_DEVICE)
            and stat.S_ISCHR(os.stat(_DEVICE).st_mode)
            and not os.access(_DEVICE, os.R_OK | os.W_OK))


@functools.cache
def kvm_works(kernel=None):
    """Return whether a Linux guest boots under KVM on this host.

    :param kernel: path of a bzImage for the test; None: the host's newest
    """
    kernel = kernel or newest_host_kernel()
    if kernel is None or not os.access(_DEVICE, os.R_OK | os.W_OK):
        return False
    try:
        process.run(emulator.find().program, '-machine', 'q35,accel=kvm',
                    '-cpu', 'max', '-m', '256', '-nodefaults',
                    '-display', 'none', '-no-reboot', '-kernel', kernel,
                    '-append', 'panic=-1', timeout_s=_PROBE_TIMEOUT_S)
    except exception.FlexMemException as e:
        LOG.warning('No guest boots with /dev/kvm; using TCG, which is many'
                    ' times slower')
        LOG.debug('KVM: %s', e)
        return False
    return True
