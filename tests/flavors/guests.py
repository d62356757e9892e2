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

"""Guests of all flavors, and what is wrong with what they say they see."""

import hashlib
import os
import pathlib
import subprocess
import time

import libvirt

from nova_flexmem.demo import hypervisor
from nova_flexmem.guest import delta
from nova_flexmem.guest import domain
from tests.flavors import domains

#: Without KVM, on a host with other load, with 8 processors to start.
_BOOT_S = 600


class Guests:
    """Starts guests on a libvirt connection, one after the other.

    :param folder: a folder that QEMU's user can enter
    :param connection: a libvirt.virConnect
    """

    #: What its guests must say besides, {word: value}
    says: dict[str, str] = {}

    def __init__(self, folder, connection):
        self.folder = pathlib.Path(folder)
        self._connection = connection
        self._number = 0

    def boot(self):
        """Return what the guests boot from, a domain.Boot."""
        raise NotImplementedError

    def make_drive(self, path):
        """Write the config drive of a guest to a pathlib.Path."""
        raise NotImplementedError

    def run(self, combination):
        """Run a guest until it is off.

        :returns: (what is wrong with it, a list; seconds)
        :raises: DomainRefused
        """
        self._number += 1
        name = f'flexmem-flavor-{os.getpid()}-{self._number}'
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o711)
        stock = domains.stock_xml(combination, name,
                                  hypervisor.domain_type(), folder)
        xml = domain.transform(stock, self.boot(),
                               device=combination['device'])
        self.make_drive(folder / 'disk.config')
        drive = (folder / 'disk.config').read_bytes()
        delta.create(str(folder / 'disk'), delta.MIN_SIZE_BYTES)
        began = time.monotonic()
        console = self._console_of(xml, folder)
        seconds = time.monotonic() - began
        subprocess.run(['rm', '-r', folder], check=True)
        return _faults(combination, console, self.says | {
            'drive': hashlib.sha256(drive).hexdigest()}), seconds

    def _console_of(self, xml, folder):
        """Run a domain until it is off; return what was on its console."""
        running = self._connection.createXML(
            xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)
        deadline = time.monotonic() + _BOOT_S
        try:
            while running.isActive() and time.monotonic() < deadline:
                time.sleep(0.5)
            running.destroy()
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        return (folder / 'console.log').read_text(errors='replace')


def _faults(combination, console, says):
    """Return what a guest saw that is not as its flavor has it."""
    lines = console.replace('\r', '').splitlines()
    if 'end' not in lines:
        return [f'it did not come up; its console ends: {lines[-8:]}']
    seen = dict(line.split(' ', 1) for line in
                lines[lines.index('begin') + 1:lines.index('end')]
                if ' ' in line)
    wanted = says | {
        'network': '10.0.2.15', 'tablet': str(int(combination['tablet'])),
        'processors': str(combination['vcpus']),
        'cells': str(combination['cells']), 'root': 'written'}
    faults = [f'{key} {seen.get(key)}, not {value}'
              for key, value in wanted.items() if seen.get(key) != value]
    # the kernel keeps a part for itself, more of a small guest, and buffers
    # for DMA (swiotlb) if there may be memory above 4 GiB
    ram_kib = combination['ram_mib'] << 10
    buffers_kib = (64 << 10) if combination['room'] else 0
    if not 0.7 * (ram_kib - buffers_kib) < int(seen.get('ram', 0)) < ram_kib:
        faults.append(f'ram {seen.get("ram")} KiB')
    return faults + [line for line in lines if 'I/O error' in line]
