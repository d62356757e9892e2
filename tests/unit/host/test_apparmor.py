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

"""What AppArmor lets QEMU do, by profiles like libvirt's.

apparmor_parser reads them; the kernel need not have AppArmor for that.
"""

import os
import shutil
import subprocess

import fixtures
import libvirt
import testtools

from nova_flexmem import exception
from nova_flexmem.host import apparmor
from nova_flexmem import process

_SHIPPED = os.path.join(os.path.dirname(__file__), *[os.pardir] * 3, 'etc',
                        'apparmor', 'nova-flexmem')

_STORE = '/var/lib/nova-flexmem'
_BASE = f'{_STORE}/bases/{"a" * 32}'

_FILES = {
    'libvirt/TEMPLATE.qemu': """\
profile LIBVIRT_TEMPLATE flags=(attach_disconnected) {
  #include <abstractions/libvirt-qemu>
}
""",
    'abstractions/libvirt-qemu': """\
  capability dac_override,
  network inet stream,
  owner @{PROC}/*/auxv r,
  owner /{,var/}tmp/**/ r,
  /dev/kvm rw,
  /etc/gss/mech.d/* r,
  /sys/bus/nd/devices/{,**/} r,
  include if exists <local/abstractions/libvirt-qemu>
""",
    'usr.lib.libvirt.virt-aa-helper': """\
profile virt-aa-helper /usr/lib/libvirt/virt-aa-helper {
  /var/lib/libvirt/images/** r,
  /{media,mnt,opt,srv}/** r,
  /**.img r,
  /**/disk{,.*} r,
  #include if exists <local/usr.lib.libvirt.virt-aa-helper>
}
"""}

_INCLUDE = 'include <abstractions/nova-flexmem>\n'


class RulesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('apparmor_parser'):
            self.skipTest('not installed here: apparmor_parser')
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.patch(apparmor, '_FOLDER', self.folder)
        for path, text in _FILES.items():
            self.write(path, text)
        self.qemu = 'local/abstractions/libvirt-qemu'
        self.helper = 'local/usr.lib.libvirt.virt-aa-helper'

    def write(self, path, text):
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(text)

    def install(self):
        shutil.copy(_SHIPPED, os.path.join(self.folder, 'abstractions'))

    def refusal(self, check, store=_STORE):
        error = self.assertRaises(exception.HostUnfit, check, store)
        return error.kwargs['reason']

    def test_libvirt_s_own_rules(self):
        said = self.refusal(apparmor.check_instances)
        self.assertIn('local/abstractions/libvirt-qemu', said)
        self.assertIn('include <abstractions/nova-flexmem>', said)
        self.assertIn('apparmor_parser -r',
                      self.refusal(apparmor.check_rescue))

    def test_the_shipped_rules(self):
        self.install()
        self.write(self.qemu, _INCLUDE)
        apparmor.check_instances(_STORE)
        self.refusal(apparmor.check_rescue)
        self.write(self.helper, _INCLUDE)
        apparmor.check_rescue(_STORE)

    def test_the_shipped_rules_for_another_store(self):
        self.install()
        self.write(self.qemu, _INCLUDE)
        self.assertIn('/srv/store', self.refusal(
            apparmor.check_instances, '/srv/store'))
        # this helper's own rules have it
        apparmor.check_rescue('/srv/store')

    def test_where_the_path_leads_counts(self):
        self.install()
        self.write(self.qemu, _INCLUDE)
        link = os.path.join(self.folder, 'link')
        os.symlink(_STORE, link)
        apparmor.check_instances(link)

    def test_boot_files_that_were_made_anew_count(self):
        self.write(self.qemu, f'{_STORE}/bases/** r,\n')
        self.refusal(apparmor.check_instances)
        self.write(self.qemu, f'{_STORE}/bases/** r,\n'
                              f'{_STORE}/boot/*/kernel r,\n')
        self.refusal(apparmor.check_instances)
        self.write(self.qemu, f'{_STORE}/{{bases,boot}}/** r,\n')
        apparmor.check_instances(_STORE)

    def test_a_part_of_a_base_is_not_enough(self):
        self.write(self.qemu, f'{_STORE}/bases/*/root.pmem r,\n')
        self.refusal(apparmor.check_instances)

    def test_rules_that_let_nothing_be_read(self):
        for rule in (f'owner {_STORE}/** r,', f'deny {_STORE}/** r,',
                     f'audit deny {_STORE}/** r,', f'{_STORE}/** wl,',
                     f'{_STORE}/* r,', f'{_STORE}/bases/* r,',
                     f'#{_STORE}/** r,', '/var/lib/nova?flexmem r,'):
            self.write(self.qemu, f'{rule}\n')
            self.refusal(apparmor.check_instances)

    def test_rules_of_other_words(self):
        for rule in (f'{_STORE}/** r,', f'"{_STORE}/**" rk,',
                     f'audit {_STORE}/bo** mr,\n  {_STORE}/bases/** r,',
                     '/var/lib/** rw,',
                     '/var/{cache,lib{,64}}/nova-flexmem/** r,',
                     f'allow {_STORE}/b*/[0-9a-f]*/[kri]* r,',
                     f'file {_STORE}/** r,', '/var/lib/nova\\-flexmem/** r,'):
            self.write(self.qemu, f'  {rule}\n')
            apparmor.check_instances(_STORE)

    def test_profiles_that_can_not_be_read(self):
        os.unlink(os.path.join(self.folder, 'libvirt/TEMPLATE.qemu'))
        self.assertRaises(exception.ProgramFailed, apparmor.check_instances,
                          _STORE)

    def test_the_parser_takes_the_shipped_rules(self):
        """Nothing is loaded into the kernel."""
        self.install()
        for path in (self.qemu, self.helper):
            self.write(path, _INCLUDE)
        for profile in ('libvirt/TEMPLATE.qemu',
                        'usr.lib.libvirt.virt-aa-helper'):
            # what it knows of variables is in another package's file
            self.write('abstractions/libvirt-qemu',
                       f'#include <{self.qemu}>\n')
            process.run('apparmor_parser', '--base', self.folder,
                        '--skip-kernel-load', '--skip-cache',
                        os.path.join(self.folder, profile), timeout_s=60)


class ProfilesOfLibvirtTest(testtools.TestCase):
    """The rules in the profiles that this machine's libvirt brings."""

    def setUp(self):
        super().setUp()
        if not process.available('apparmor_parser'):
            self.skipTest('not installed here: apparmor_parser')
        if not os.path.exists(os.path.join(apparmor._FOLDER,
                                           apparmor._TEMPLATE)):
            self.skipTest('no profiles of libvirt here')
        folder = self.useFixture(fixtures.TempDir()).join('apparmor.d')
        shutil.copytree(apparmor._FOLDER, folder)
        self.patch(apparmor, '_FOLDER', folder)
        self.local = os.path.join(folder, 'local')
        for name in ('abstractions/libvirt-qemu', apparmor._HELPER):
            path = os.path.join(self.local, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, 'w').close()

    def compile(self, profile):
        """Compile a profile without loading it; returns the policy."""
        return subprocess.run(
            ['apparmor_parser', '-Q', '-K', '-S', '--base', apparmor._FOLDER,
             os.path.join(apparmor._FOLDER, profile)], check=True,
            stdout=subprocess.PIPE, timeout=120).stdout

    def check(self, profile, check, name):
        before = self.compile(profile)
        self.assertRaises(exception.HostUnfit, check, _STORE)
        shutil.copy(_SHIPPED, os.path.join(apparmor._FOLDER, 'abstractions'))
        with open(os.path.join(self.local, name), 'w') as f:
            f.write(_INCLUDE)
        check(_STORE)
        self.assertNotEqual(before, self.compile(profile))

    def test_instances(self):
        self.check(apparmor._TEMPLATE, apparmor.check_instances,
                   'abstractions/libvirt-qemu')

    def test_rescue(self):
        self.check(apparmor._HELPER, apparmor.check_rescue, apparmor._HELPER)


class ConfinesTest(testtools.TestCase):

    class Connection:

        def __init__(self, model):
            self._model = model

        def getCapabilities(self):
            return ('<capabilities><host><uuid/><secmodel><model>'
                    f'{self._model}</model></secmodel><secmodel>'
                    '<model>dac</model></secmodel></host></capabilities>')

        def close(self):
            pass

    def kernel(self, text):
        path = self.useFixture(fixtures.TempDir()).join('enabled')
        if text is not None:
            with open(path, 'w') as f:
                f.write(text)
        self.patch(apparmor, '_ENABLED', path)

    def test_a_kernel_without(self):
        for text in (None, 'N\n'):
            self.kernel(text)
            self.assertFalse(apparmor.confines('no-such://uri'))

    def test_what_libvirt_says(self):
        self.kernel('Y\n')
        for model, answer in (('apparmor', True), ('none', False)):
            self.patch(libvirt, 'openReadOnly',
                       lambda _uri, model=model: self.Connection(model))
            self.assertIs(answer, apparmor.confines('qemu:///system'))

    def test_libvirt_that_does_not_answer(self):
        self.kernel('Y\n')
        error = self.assertRaises(exception.HostUnfit, apparmor.confines,
                                  'no-such://uri')
        self.assertIn('libvirt cannot be asked', error.kwargs['reason'])
