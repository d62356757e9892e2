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

import json
import os

import fixtures
from oslo_config import cfg
import testtools

from nova_flexmem import accel
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.host import appliance
from nova_flexmem.host import place
from nova_flexmem.host import preflight
from nova_flexmem.host import qemu
from nova_flexmem.host import trialguest
from nova_flexmem import hostboot
from nova_flexmem import process
from nova_flexmem.store import basestore


def _reason(e):
    return e.kwargs['reason']


def _no_qemu():
    raise exception.HostUnfit(reason='it has no QEMU; install qemu-kvm')


def _emulator(program, *machines, named=None):
    return emulator.Emulator(program, machines or ('pc', 'q35'), named)


class QemuTest(testtools.TestCase):
    """With the QEMU of this machine."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        try:
            self.found = emulator.find()
        except exception.HostUnfit as e:
            self.skipTest(str(e))

    def has(self, *machines, program=None, named=None):
        self.found = _emulator(program or self.found.program, *machines,
                               named=named)

    def test_both_devices(self):
        for device in ('nvdimm', 'virtio-pmem'):
            folder = os.path.join(self.folder, device)
            os.mkdir(folder)
            said = qemu.check(self.found, device, folder, 'tcg')
            self.assertRegex(said, rf'QEMU \d+\.\d+\.\d+ \(.*\) maps {device}'
                             ' read-only on machine types pc and q35$')

    def test_a_qemu_without_pc(self):
        self.has('none', 'pc-q35-5.2', 'pc-q35-7.1', 'pc-q35-6.2')
        said = qemu.check(self.found, 'nvdimm', self.folder)
        self.assertIn('on machine type pc-q35-7.1; it has no pc', said)
        self.assertIn('hw_machine_type', said)

    def test_a_qemu_with_neither(self):
        self.has('none', 'microvm', 'isapc', 'virt-7.2')
        e = self.assertRaises(exception.HostUnfit, qemu.check, self.found,
                              'nvdimm', self.folder)
        self.assertIn('no machine type of the families pc and q35', _reason(e))

    def test_a_machine_type_that_qemu_does_not_know(self):
        self.has('pc-i440fx-rhel7.6.0', 'q35')
        e = self.assertRaises(exception.HostUnfit, qemu.check, self.found,
                              'nvdimm', self.folder)
        self.assertIn('machine type pc-i440fx-rhel7.6.0', _reason(e))

    def test_libvirt_runs_another(self):
        self.has('q35', named='/usr/libexec/qemu-kvm')
        self.assertIn('libvirt runs instances with /usr/libexec/qemu-kvm',
                      qemu.check(self.found, 'nvdimm', self.folder))

    def test_which_machine_type_is_taken(self):
        for machines, taken in (
                (('pc-i440fx-7.2', 'pc', 'pc-q35-7.2', 'q35'),
                 {'pc': 'pc', 'q35': 'q35'}),
                # RHEL 9 and 10
                (('pc-i440fx-rhel7.6.0', 'pc', 'pc-q35-rhel9.6.0', 'q35'),
                 {'pc': 'pc', 'q35': 'q35'}),
                (('pc-q35-rhel10.0.0', 'q35', 'none'), {'q35': 'q35'}),
                (('pc-i440fx-rhel7.6.0', 'pc-q35-rhel9.6.0',
                  'pc-q35-rhel9.10.0', 'pc-q35-rhel8.6.0'),
                 {'pc': 'pc-i440fx-rhel7.6.0', 'q35': 'pc-q35-rhel9.10.0'})):
            self.assertEqual(taken, qemu.machines(_emulator('qemu',
                                                            *machines)))

    def assert_refused(self):
        e = self.assertRaises(exception.HostUnfit, qemu.check, self.found,
                              'nvdimm', self.folder)
        self.assertIn('nvdimm on machine type pc', _reason(e))
        return _reason(e)

    def test_options_that_qemu_does_not_know(self):
        self.patch(flexmem_device, 'memory_backend', lambda path, size: [
            '-object', f'memory-backend-file,id=x,mem-path={path},size={size},'
            'no-such-option=on'])
        self.assertIn('no-such-option', self.assert_refused())

    def test_a_writable_mapping_is_found_out(self):
        self.patch(flexmem_device, 'memory_backend', lambda path, size: [
            '-object', f'memory-backend-file,id={flexmem_device.BACKEND_ID},'
            f'mem-path={self._writable(path)},size={size},share=on'])
        self.assertIn('rw-s', self.assert_refused())

    def _writable(self, path):
        os.chmod(path, 0o644)
        return path

    def test_a_private_mapping_is_found_out(self):
        backend = flexmem_device.memory_backend

        def private(*args):
            return [option.replace('share=on', 'share=off')
                    for option in backend(*args)]

        self.patch(flexmem_device, 'memory_backend', private)
        self.assertIn('r--p', self.assert_refused())

    def test_a_device_that_is_not_there(self):
        self.patch(flexmem_device, 'DEVICE_ID', 'other')
        device = 'nova_flexmem.guest.device.nvdimm.Nvdimm.arguments'
        self.useFixture(fixtures.MonkeyPatch(
            device, lambda *_args: ['-machine', 'nvdimm=on']))
        self.assertIn('without the device', self.assert_refused())

    def test_a_qemu_that_hangs(self):
        self.patch(qemu, '_TIMEOUT_S', 0.3)
        hanging = os.path.join(self.folder, 'qemu')
        with open(hanging, 'w') as f:
            f.write('#!/bin/sh\nexec sleep 60\n')
        os.chmod(hanging, 0o755)
        self.has(program=hanging)
        self.assertIn('ended by signal 9', self.assert_refused())

    def test_no_qemu(self):
        self.has(program='/no/such/qemu')
        self.assertIn('/no/such/qemu', self.assert_refused())

    def test_something_else_than_qemu(self):
        self.has(program='echo')
        self.assertIn('QMP answer is not as expected', self.assert_refused())


class PlaceTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        os.chmod(self.folder, 0o711)
        self.store = basestore.Store(os.path.join(self.folder, 'store'))

    def refusal(self):
        return _reason(self.assertRaises(exception.HostUnfit, place.check,
                                         self.store))

    def test_fit(self):
        self.assertIn(self.store.path, place.check(self.store))

    def test_what_is_local(self):
        for name in ('ext4', 'xfs', 'btrfs', 'tmpfs', 'overlay', 'zfs'):
            self.assertTrue(place.local(name), name)
        for name in ('nfs', 'nfs4', 'cifs', 'ceph', 'fuse', 'fuse.glusterfs',
                     'fuse.sshfs', '9p', 'virtiofs'):
            self.assertFalse(place.local(name), name)

    def test_a_filesystem_that_is_not_local(self):
        here = process.run('findmnt', '-n', '-o', 'FSTYPE', '--target',
                           self.folder, timeout_s=30).strip()
        self.patch(place, '_NOT_LOCAL', (here,))
        said = self.refusal()
        self.assertIn(f' on {here},', said)
        self.assertIn('store_path', said)

    def test_a_folder_that_qemu_can_not_pass(self):
        for path in (self.folder, self.store.path,
                     self.store.folder('bases')):
            os.chmod(path, 0o700)
            self.assertIn(f'chmod o+x {os.path.realpath(path)}',
                          self.refusal())
            os.chmod(path, 0o711)
            place.check(self.store)

    def test_an_access_control_list_is_not_judged(self):
        os.chmod(self.folder, 0o700)
        try:
            # version 2; owner rwx, user 65534 --x, group, mask --x, others
            os.setxattr(self.folder, 'system.posix_acl_access', bytes.fromhex(
                '02000000 01000700ffffffff 02000100feff0000 04000000ffffffff'
                ' 10000100ffffffff 20000000ffffffff'))
        except OSError as e:
            self.skipTest(f'no access control lists here: {e}')
        place.check(self.store)

    def test_a_store_that_is_full(self):
        self.patch(place, '_BUILD_BYTES', 1 << 60)
        self.assertIn('image prune', self.refusal())


class StateTest(testtools.TestCase):
    """When the appliance has to show again that it works."""

    def setUp(self):
        super().setUp()
        self.home = self.useFixture(fixtures.TempDir()).path
        self.tried = 0
        self.patch(appliance, '_try', self._try)
        package = os.path.join(self.home, 'package-database')
        open(package, 'w').close()
        self.package = package
        self.patch(appliance, '_FILES', (package,))

    def _try(self, home, _wanted, _folder):
        self.tried += 1
        made = os.path.join(home, 'cache', f'.guestfs-{os.geteuid()}',
                            'appliance.d')
        os.makedirs(made, exist_ok=True)
        for name in ('kernel', 'initrd', 'root'):
            with open(os.path.join(made, name), 'w') as f:
                f.write(name)

    def made(self, name):
        return os.path.join(self.home, 'cache', f'.guestfs-{os.geteuid()}',
                            'appliance.d', name)

    def check(self, tries, rootfs='auto', home=None):
        """Check; it must take a number of tries."""
        self.tried = 0
        appliance.check(_emulator('/bin/sh'), home or self.home, rootfs,
                        self.home)
        self.assertEqual(tries, self.tried)

    def test_known_to_work(self):
        self.check(1)
        self.check(0)

    def test_its_files_changed(self):
        self.check(1)
        with open(self.made('initrd'), 'a') as f:
            f.write('more')
        self.check(1)
        os.unlink(self.made('root'))
        self.check(1)
        self.check(0)

    def test_a_start_of_it_is_no_change(self):
        """libguestfs sets the times of its files then."""
        self.check(1)
        for name in ('kernel', 'initrd', 'root'):
            os.utime(self.made(name), (0, 0))
        self.check(0)

    def test_packages_changed(self):
        self.check(1)
        os.utime(self.package, (0, 0))
        self.check(1)

    def test_the_host_booted(self):
        self.check(1)
        other = os.path.join(self.home, 'boot_id')
        with open(other, 'w') as f:
            f.write('another boot\n')
        self.patch(hostboot, '_BOOT_ID', other)
        self.check(1)

    def test_another_root_filesystem_is_asked_for(self):
        self.check(1, 'erofs')
        self.check(1, 'ext4')
        self.check(0, 'ext4')

    def test_stores_may_share_one(self):
        self.check(1)
        link = os.path.join(self.home, 'link')
        os.symlink(self.home, link)
        self.check(0, home=link)

    def test_a_torn_record(self):
        self.check(1)
        os.truncate(os.path.join(self.home, 'checked.json'), 5)
        self.check(1)

    def test_a_failure_is_not_recorded(self):
        def fail(*_args):
            raise exception.ProgramFailed(program='guestfish',
                                          reason='no kernel')

        self.check(1)
        os.utime(self.package, (0, 0))
        with fixtures.MonkeyPatch('nova_flexmem.host.appliance._try', fail):
            for _again in range(2):
                e = self.assertRaises(exception.HostUnfit, self.check, 0)
                self.assertIn('no kernel', _reason(e))
                self.assertIn('libguestfs-test-tool', _reason(e))
        self.check(1)

    def test_kernels_that_are_of_root_alone(self):
        for name in ('vmlinuz-1', 'vmlinuz-2'):
            open(os.path.join(self.home, name), 'w').close()
        self.patch(appliance, '_KERNELS',
                   os.path.join(self.home, 'vmlinuz-*'))
        self.assertNotIn('readable', appliance._remedy())
        self.patch(os, 'access', lambda path, mode: path.endswith('1'))
        self.assertIn('vmlinuz-2 readable', appliance._remedy())


class PreflightTest(testtools.TestCase):
    """Without appliance and guest; see the functional tests for those."""

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        os.chmod(folder, 0o711)
        self.path = os.path.join(folder, 'store')
        self.conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(self.conf)
        self.conf.set_override('store_path', self.path, group='flexmem')
        self.patch(appliance, 'check', lambda *_args: 'not tried')
        self.booted = []
        self.patch(trialguest, 'check', self._boot)
        self.patch(accel, 'kvm_works', lambda: False)

    def _boot(self, _found, _home, device, accel, folder):
        self.assertTrue(os.path.isdir(folder))
        self.booted.append((device, accel))
        return 'not tried'

    def check(self, virt_type=None):
        findings = preflight.check(self.conf, virt_type)
        for finding in findings:
            self.assertTrue(finding.message, finding)
            self.assertNotIn('\n', finding.message)
        return {finding.name: finding for finding in findings}

    def failed(self, virt_type=None):
        return {name: finding.message for name, finding
                in self.check(virt_type).items() if not finding.ok}

    def test_fit(self):
        missing = [program for program in preflight._PROGRAMS
                   if not process.available(program)]
        if missing:
            self.skipTest(f'not installed here: {missing}')
        findings = self.check()
        self.assertEqual(['host', 'programs', 'accelerator', 'store', 'delta',
                          'initramfs', 'device', 'guest', 'appliance'],
                         list(findings))
        for finding in findings.values():
            self.assertTrue(finding.ok, finding)
            # they go between processes as JSON
            fields = json.loads(json.dumps(vars(finding)))
            self.assertEqual(finding, preflight.Finding(**fields))
        self.assertEqual([], os.listdir(os.path.join(self.path, 'builds')))

    def test_another_processor(self):
        self.patch(preflight.platform, 'machine', lambda: 'aarch64')
        self.assertIn('aarch64', self.failed()['host'])

    def tried_with(self, virt_type, device='nvdimm'):
        """Return the accelerators that device and guest were tried with."""
        tried = []
        self.patch(qemu, 'check', lambda _found, _device, _folder, accel:
                   tried.append(accel) or 'mapped')
        self.booted = []
        self.assertNotIn('accelerator', self.failed(virt_type))
        self.assertEqual([(device, *tried)], self.booted)
        return tried[0]

    def test_the_accelerator_that_instances_use(self):
        self.patch(accel, 'kvm_forbidden', lambda: False)
        for works, virt_type, wanted in (
                (True, 'kvm', 'kvm'), (True, 'qemu', 'tcg'),
                (True, None, 'kvm'), (False, 'qemu', 'tcg'),
                (False, None, 'tcg')):
            self.patch(accel, 'kvm_works', lambda works=works: works)
            self.assertEqual(wanted, self.tried_with(virt_type))

    def test_a_kvm_that_runs_no_guest(self):
        self.patch(accel, 'kvm_forbidden', lambda: False)
        self.patch(accel, 'newest_host_kernel', lambda: '/boot/vmlinuz-1')
        self.assertIn('no guest boots with KVM',
                      self.failed('kvm')['accelerator'])
        self.assertNotIn('accelerator', self.failed('qemu'))

    def test_a_kvm_that_this_user_cannot_try(self):
        """libvirt's user, who runs the instances, may be able to."""
        for name, value in (('kvm_forbidden', True),
                            ('newest_host_kernel', None)):
            self.patch(accel, 'kvm_forbidden', lambda: False)
            self.patch(accel, 'newest_host_kernel', lambda: '/boot/vmlinuz-1')
            self.patch(accel, name, lambda value=value: value)
            self.assertEqual('tcg', self.tried_with('kvm'))
            self.assertIn('KVM was not tried',
                          self.check('kvm')['accelerator'].message)

    def test_another_hypervisor(self):
        self.assertIn('virt_type is lxc', self.failed('lxc')['accelerator'])

    def test_the_device_that_is_configured(self):
        self.conf.set_override('device', 'virtio-pmem', group='flexmem')
        self.tried_with('qemu', 'virtio-pmem')

    def test_programs_that_are_missing(self):
        self.patch(preflight, '_PROGRAMS', {
            'no-such-program': ('of-debian', 'of-fedora'),
            'no-such-tool': ('of-both',), 'sh': ('dash',)})
        for has_dpkg, package in ((True, 'of-debian'), (False, 'of-fedora')):
            self.patch(process, 'available', lambda program, dpkg=has_dpkg: (
                dpkg if program == 'dpkg' else program == 'sh'))
            said = self.failed()['programs']
            self.assertIn(f'no-such-program (package {package})', said)
            self.assertIn('no-such-tool (package of-both)', said)
            self.assertNotIn('dash', said)

    def test_no_qemu(self):
        self.patch(emulator, 'find', _no_qemu)
        failed = self.failed()
        self.assertEqual({'programs', 'device', 'guest', 'appliance'},
                         set(failed))
        self.assertIn('install qemu-kvm', failed['device'])

    def test_qemu_is_looked_for_once(self):
        asked = []
        find = emulator.find
        self.patch(emulator, 'find', lambda: asked.append(1) or find())
        self.check()
        self.assertEqual([1], asked)

    def test_an_mke2fs_that_is_too_old(self):
        self.patch(preflight.delta, '_FEATURES', '^no_such_feature')
        self.assertIn('1.47', self.failed()['delta'])

    def test_no_static_busybox(self):
        self.patch(preflight.initramfs, 'BUSYBOX', '/bin/sh')
        self.assertIn('install busybox-static', self.failed()['initramfs'])

    def test_a_store_that_can_not_be_made(self):
        open(self.path, 'w').close()
        findings = self.check()
        self.assertEqual(['host', 'programs', 'accelerator', 'store'],
                         list(findings))
        self.assertFalse(findings['store'].ok)
        self.assertIn(self.path, findings['store'].message)
        self.assertIn('store_path', findings['store'].message)

    def test_a_store_of_somebody_else(self):
        if os.geteuid() == 0:
            self.skipTest('root may write into any folder')
        basestore.Store(self.path)
        os.chmod(os.path.join(self.path, 'builds'), 0o555)
        self.assertIn('Permission denied', self.failed()['store'])
