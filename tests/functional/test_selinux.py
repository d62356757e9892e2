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

"""A guest whose image has SELinux, enforcing."""

import dataclasses

from nova_flexmem.demo import debian
from nova_flexmem.demo import layouts
from tests.functional import harness

_PACKAGES = ('selinux-policy-default', 'policycoreutils', 'selinux-utils')

#: Of what the image's files are to be labelled with.
_CONTEXTS = '/etc/selinux/default/contexts/files/file_contexts'

_SETTINGS = (
    'sed -i "s/console=tty0/security=selinux enforcing=1 console=tty0/"'
    ' /etc/default/grub.d/10_cloud.cfg && (echo SELINUX=enforcing;'
    ' echo SELINUXTYPE=default) > /etc/selinux/config')

#: Debian's policy does not have it, see doc/source/user.rst.
_RULE = ('echo "(allow domain kernel_t (fd (use)))" > /root/flexmem.cil'
         ' && semodule --noreload --install /root/flexmem.cil')

#: Ends the making of the image; the other commands write files as well.
_FINISH = (
    ('sh', _SETTINGS), ('sh', _RULE), *layouts.FINISH,
    ('mkdir-p', '/var/lib/docker'),
    ('sh', f'setfiles -F -e /proc -e /sys -e /dev {_CONTEXTS} /'))

#: Folders of which the guest's /init makes new ones, and files in them.
_PLACES = ('/', '/etc', '/etc/shadow', '/usr/bin/passwd', '/var/lib/docker',
           '/var/log', '/root', '/home', '/tmp')

_LABELS = f'stat -c "%n %C" {" ".join(_PLACES)}'

#: What is written gets the label that its folder and the policy give it.
_WRITE = """\
set -e
for folder in /etc /var/lib/docker /root; do
    mkdir -p $folder/new
    echo new > $folder/new/file
    stat -c '%n %C' $folder/new/file
done
# what the image has is changed, and keeps its label
echo '# changed' >> /etc/login.defs
chcon -t tmp_t /etc/motd
stat -c '%n %C' /etc/login.defs /etc/motd
"""

#: The domain of a daemon may not begin with a program that is not its own.
_DENIED = 'runcon system_u:system_r:ntpd_t:s0 cat /etc/motd'


class SELinuxTest(harness.GuestTestCase):

    @classmethod
    def make_image(cls):
        plan = layouts.LAYOUTS['ext4']
        return debian.make('selinux', dataclasses.replace(
            plan, finish=_FINISH, system=dataclasses.replace(
                plan.system, packages=(*plan.system.packages, *_PACKAGES))),
            harness.CACHE)

    def test_enforcing(self):
        stock = self.start(self.launcher.stock('stock', self.raw_image()))
        expected = self.seen(stock)
        stock.destroy()
        guest = self.start(self.launcher.flexmem(
            'guest', self.boot, direct_paths=('/var/lib/docker',)))
        self.assertEqual(expected, self.seen(guest))
        guest.reboot()
        self.assertEqual('Enforcing', guest.output('getenforce').strip())
        self.assertEqual(expected['written'], guest.output(_WRITE))

    def seen(self, guest):
        """Return what a guest says of itself."""
        code, denied = guest.run(_DENIED)
        self.assertNotEqual(0, code, denied)
        return {'enforcing': guest.output('getenforce').strip(),
                'state': guest.system_state(),
                'labels': guest.output(_LABELS),
                'written': guest.output(_WRITE)}
