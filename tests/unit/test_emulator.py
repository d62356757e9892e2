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

import contextlib
import os

import fixtures
import libvirt
import testtools

from nova_flexmem import accel
from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem import libvirt_connection
from nova_flexmem import process

_CAPABILITIES = """<capabilities>
  <host><cpu><arch>x86_64</arch></cpu></host>
  <guest><os_type>hvm</os_type>
    <arch name="i686"><emulator>/usr/bin/qemu-system-i386</emulator>
      <machine>isapc</machine></arch></guest>
  <guest><os_type>{os_type}</os_type>
    <arch name="x86_64"><wordsize>64</wordsize>
      <emulator>{program}</emulator>
      {machines}
      <domain type="qemu"/><domain type="kvm"/></arch></guest>
</capabilities>"""

_DEBIAN_12 = ('pc-i440fx-7.2', 'pc', 'pc-q35-7.2', 'q35', 'microvm')
_RHEL_9 = ('pc-i440fx-rhel7.6.0', 'pc', 'pc-q35-rhel9.6.0', 'q35')
_RHEL_10 = ('pc-q35-rhel10.0.0', 'q35')

_HELP = """Supported machines are:
none                 empty machine
pc-q35-rhel10.0.0    RHEL-10.0.0 PC (Q35 + ICH9, 2009)
q35                  RHEL-10.0.0 PC (Q35 + ICH9, 2009) (alias of pc-q35-rhel)
"""


class EmulatorTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        # only what a test puts there is installed
        self.patch(emulator, '_PROGRAMS', (
            'qemu-of-tests', f'{self.folder}/libexec/qemu-kvm'))
        self.patch(process, '_ENVIRONMENT', process._ENVIRONMENT | {
            'PATH': f'{self.folder}/bin:{process._ENVIRONMENT["PATH"]}'})

    def install(self, path):
        """Install a QEMU; it names the machine types of RHEL 10."""
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(f"#!/bin/sh\ncat << 'EOF'\n{_HELP}EOF\n")
        os.chmod(path, 0o755)
        return path

    def libvirt_says(self, program, machines=(), os_type='hvm'):
        self.says(_CAPABILITIES.format(
            program=program, os_type=os_type, machines=''.join(
                f'<machine maxCpus="255">{name}</machine>'
                for name in machines)))

    def says(self, text):
        class Connection:
            def getCapabilities(self):
                return text

        self.patch(libvirt_connection, 'read_only',
                   lambda: contextlib.nullcontext(Connection()))

    def is_silent(self):
        def refuse():
            raise libvirt.libvirtError('no libvirtd')

        self.patch(libvirt_connection, 'read_only', refuse)

    def test_debian(self):
        qemu = self.install('bin/qemu-of-tests')
        self.libvirt_says(qemu, _DEBIAN_12)
        self.assertEqual(emulator.Emulator(qemu, _DEBIAN_12, qemu),
                         emulator.find())

    def test_rhel(self):
        """Its QEMU is not in PATH, and 10 has no pc."""
        qemu = self.install('libexec/qemu-kvm')
        for machines in (_RHEL_9, _RHEL_10):
            self.libvirt_says(qemu, machines)
            self.assertEqual(emulator.Emulator(qemu, machines, qemu),
                             emulator.find())

    def test_several(self):
        """What libvirt names counts, not what is first in PATH."""
        self.install('bin/qemu-of-tests')
        qemu = self.install('opt/qemu-kvm')
        self.libvirt_says(qemu, _RHEL_9)
        self.assertEqual(qemu, emulator.find().program)

    def test_libvirt_is_silent(self):
        qemu = self.install('libexec/qemu-kvm')
        for silence in (
                self.is_silent,
                lambda: self.says('<capabilities/>'),
                lambda: self.says('<capabilities'),
                lambda: self.libvirt_says('/x', _DEBIAN_12, os_type='linux'),
                lambda: self.patch(emulator, 'libvirt', None)):
            silence()
            self.assertEqual(
                emulator.Emulator(qemu, ('none', *_RHEL_10), None),
                emulator.find())

    def test_libvirt_names_what_is_not_here(self):
        """nova-compute is in a container, libvirt is not."""
        self.libvirt_says(f'{self.folder}/no/qemu-kvm', _RHEL_9)
        qemu = self.install('bin/qemu-of-tests')
        found = emulator.find()
        self.assertEqual(qemu, found.program)
        self.assertEqual(f'{self.folder}/no/qemu-kvm', found.named)
        # of the QEMU that is tried, not of the other
        self.assertEqual(('none', *_RHEL_10), found.machines)

    def test_none(self):
        self.patch(emulator, '_PROGRAMS', ('no-such-qemu',))
        self.is_silent()
        reason = self.refusal()
        self.assertIn('no QEMU, neither no-such-qemu; install', reason)
        self.libvirt_says('/no/qemu-kvm')
        self.assertIn('neither /no/qemu-kvm of libvirt, nor no-such-qemu;',
                      self.refusal())

    def refusal(self):
        e = self.assertRaises(exception.HostUnfit, emulator.find)
        return e.kwargs['reason']

    def test_this_machine(self):
        """Its own libvirt and QEMU agree on the families."""
        found = emulator.Emulator(*emulator._of_libvirt(), None)
        if found.program is None:
            self.skipTest('no libvirtd answers here')
        if not os.path.exists(found.program):
            self.skipTest(f'{found.program} is not here')
        own = emulator._of_qemu(found.program)
        self.assertEqual(set(found.machines), set(own) - {'none'})

    def test_kvm_is_tried_with_it(self):
        tried = []
        self.patch(os, 'access', lambda *_args: True)
        self.libvirt_says(self.install('libexec/qemu-kvm'), _RHEL_10)
        self.patch(process, 'run', lambda program, *_args, **_more:
                   tried.append(program))
        self.addCleanup(accel.kvm_works.cache_clear)
        accel.kvm_works.cache_clear()
        self.assertTrue(accel.kvm_works('/kernel'))
        self.assertEqual([f'{self.folder}/libexec/qemu-kvm'], tried)
