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

"""The preflight with the real appliance, as root and as another user."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from unittest import mock

from oslo_config import cfg
import testtools

import nova_flexmem
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.host import preflight
from nova_flexmem.host import trialguest
from tests.functional import harness

#: Any user but root; nobody's.
_UID = 65534

_SCRIPT = """
import dataclasses, json, sys
from oslo_config import cfg
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.host import preflight
conf = cfg.ConfigOpts()
flexmem_conf.register_opts(conf)
conf.set_override('store_path', sys.argv[1], group='flexmem')
json.dump([dataclasses.asdict(f) for f in preflight.check(conf)], sys.stdout)
"""


def _processor_s():
    """Return the processor time of programs that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class PreflightTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory(
            prefix='flexmem-preflight-', dir='/var/tmp'))
        os.chmod(self.folder, 0o711)
        self.conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(self.conf)

    def check(self, path):
        self.conf.set_override('store_path', path, group='flexmem')
        return {finding.name: finding
                for finding in preflight.check(self.conf)}

    def test_fit_and_fast_the_next_time(self):
        store = harness.new_store(self.folder)
        for finding in self.check(store.path).values():
            self.assertTrue(finding.ok, finding)
        began_s = _processor_s()
        self.assertIn('nothing has changed',
                      self.check(store.path)['appliance'].message)
        # less than the appliance takes to start, also without KVM
        self.assertLess(_processor_s() - began_s, 10)
        self.assertEqual([], os.listdir(store.folder('builds')))

    def test_boot_files_that_no_guest_boots(self):
        """QEMU maps the base all the same."""
        store = harness.new_store(self.folder)
        scripts = os.path.join(self.folder, 'scripts')
        os.mkdir(scripts)
        for name in initramfs._SCRIPTS:
            with open(os.path.join(scripts, name), 'w') as f:
                f.write('#!/bin/busybox sh\n'
                        'echo "flexmem: FATAL: it was edited"\npoweroff -f\n')
        jump = [(code.replace('ffe0', 'ebfe'), text)
                for code, text in handover.CODE]
        for target, name, value, limit_s, said in (
                (initramfs, '_GUEST', scripts, 600, 'FATAL: it was edited'),
                (handover, 'CODE', jump, 12, 'no end after 12 s')):
            limits_s = dict.fromkeys(trialguest._TIMEOUTS_S, limit_s)
            with (mock.patch.object(target, name, value),
                  mock.patch.object(trialguest, '_TIMEOUTS_S', limits_s)):
                found = self.check(store.path)
            self.assertTrue(found['device'].ok, found)
            self.assertFalse(found['guest'].ok, found)
            self.assertIn(said, found['guest'].message)
        self.assertTrue(self.check(store.path)['guest'].ok)

    def test_an_appliance_that_does_not_boot(self):
        store = harness.new_store(self.folder)
        self.check(store.path)  # it is made now
        own = os.path.join(self.folder, 'own')
        os.mkdir(own)
        subprocess.run(['cp', '-a', '--sparse=always', '--reflink=auto',
                        os.path.realpath(store.folder('appliance')),
                        os.path.join(own, 'appliance')], check=True)
        self.assertTrue(self.check(own)['appliance'].ok)
        made = os.path.join(own, 'appliance', 'cache',
                            f'.guestfs-{os.geteuid()}', 'appliance.d')
        os.truncate(os.path.join(made, 'initrd'), 4096)
        found = self.check(own)['appliance']
        self.assertFalse(found.ok, found)
        self.assertIn('guestfish failed', found.message)
        # and it is not taken for good the next time
        self.assertFalse(self.check(own)['appliance'].ok)

    def test_as_another_user(self):
        if os.geteuid() != 0:
            self.skipTest('not root, so this is another user already')
        store = os.path.join(self.folder, 'store')
        os.mkdir(store)
        os.chown(store, _UID, _UID)
        as_user = ['setpriv', f'--reuid={_UID}', f'--regid={_UID}',
                   '--clear-groups']
        for path in (sys.executable, nova_flexmem.__file__):
            if subprocess.run([*as_user, 'test', '-r', path]).returncode:
                self.skipTest(f'{path} cannot be read by another user')
        ran = subprocess.run([*as_user, sys.executable, '-c', _SCRIPT, store],
                             cwd='/', capture_output=True, text=True)
        self.assertEqual(0, ran.returncode, ran.stderr)
        for finding in json.loads(ran.stdout):
            self.assertTrue(finding['ok'], finding)
