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

"""What a guest's initramfs has to start the kernel installed in the guest.

Scripts of guest/kexec, a program that loads kernels, and what the scripts must
know of kernels and command lines, from where the builder has it.
"""

import os
import stat

from nova_flexmem.build import kexecprogram
from nova_flexmem import guest
from nova_flexmem.guest import cmdline
from nova_flexmem.image import bootloader
from nova_flexmem.image import kernel

#: Programs of busybox that the scripts need, beside those of /init.
APPLETS = ('awk', 'cmp', 'cpio', 'reboot', 'sed', 'uname', 'xzcat', 'zcat')

#: The folder in the initramfs; /init knows it too.
FOLDER = 'kexec'

_SCRIPTS = os.path.join(os.path.dirname(guest.__file__), 'kexec')

_PROGRAM_MODE = stat.S_IFREG | 0o755
_FILE_MODE = stat.S_IFREG | 0o644


def members():
    """Return (name, mode, content) of each file of the initramfs."""
    files = [(f'{FOLDER}/{name}', _FILE_MODE, content)
             for name, content in _scripts()]
    return [(f'bin/{FOLDER}', _PROGRAM_MODE, kexecprogram.program()),
            (f'{FOLDER}/constants', _FILE_MODE, constants().encode()), *files]


def constants():
    """Return assignments of the shell: what the scripts must know."""
    values = {
        'needed': ' '.join(kernel.NEEDED),
        'welcome': ' '.join(kernel.WELCOME),
        **{device.replace('-', '_'): ' '.join(names)
           for device, names in kernel.DEVICES.items()},
        'dropped': bootloader.DROPPED,
        'max_line': cmdline.MAX_BYTES}
    return ''.join(f"{name}='{value}'\n" for name, value in values.items())


def _scripts():
    for name in sorted(os.listdir(_SCRIPTS)):
        if name.endswith(('.sh', '.awk')):
            with open(os.path.join(_SCRIPTS, name), 'rb') as f:
                yield name, f.read()
