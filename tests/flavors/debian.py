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

"""Guests of Debian, whose cloud-init reads the config drive."""

import json
import uuid

from nova_flexmem.build import builder
from nova_flexmem.demo import configdrive
from nova_flexmem.demo import debian
from nova_flexmem.guest import domain
from tests.flavors import guests
from tests.functional import harness

#: Has a kernel with drivers for all that a flavor can have.
_LAYOUT = 'xfs'

_SCRIPT = """\
exec > /dev/ttyS0 2>&1
stty -onlcr < /dev/ttyS0
status=$(cloud-init status --wait --long)
code=$?
echo begin
echo "cloud-init $code $(echo "$status" | sed -n 's/^status: //p')"
echo "drive $(sha256sum < /dev/disk/by-label/config-2 | cut -d ' ' -f 1)"
echo "hostname $(hostname)"
echo "network $(hostname -I | cut -d ' ' -f 1)"
echo "tablet $(grep -c 'QEMU USB Tablet' /proc/bus/input/devices)"
echo "processors $(grep -c ^processor /proc/cpuinfo)"
echo "cells $(ls -d /sys/devices/system/node/node[0-9]* | wc -l)"
echo "ram $(awk '/^MemTotal/ { print $2 }' /proc/meminfo)"
echo written > /written && sync && echo "root $(cat /written)"
dmesg | grep -m 3 'I/O error'
echo end
[ $code = 0 ] || { echo "$status"; cat /var/log/cloud-init.log; }
poweroff -f
"""

#: SSH host keys of other types take minutes without KVM.
_USER_DATA = {'ssh_genkeytypes': ['ed25519'],
              'runcmd': [['systemd-run', '--no-block', 'sh', '-c', _SCRIPT]]}


class DebianGuests(guests.Guests):

    says = {'cloud-init': '0 done', 'hostname': 'flavor'}

    def __init__(self, folder, connection):
        super().__init__(folder, connection)
        image = debian.build(_LAYOUT, harness.CACHE, print)
        self._base, _new = builder.build(harness.new_store(folder), image)

    def boot(self):
        return domain.Boot.of(self._base)

    def make_drive(self, path):
        configdrive.create(str(path), 'flavor', str(uuid.uuid4()),
                           f'#cloud-config\n{json.dumps(_USER_DATA)}\n')
