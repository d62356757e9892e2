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

"""The config drive of a demo guest: its identity, and the control shell.

A stock cloud image needs no change to be driven: cloud-init reads the config
drive and starts the guest's end of the control shell at every boot. Both
ends of it are in nova_flexmem.demo.shell.
"""

import base64
import json
import os
import tempfile

from nova_flexmem.demo import shell
from nova_flexmem import process

#: What cloud-init looks for (ConfigDrive data source).
_LABEL = 'config-2'

#: Nothing else for cloud-init to do, in guests of either kind: making SSH
#: host keys, for one, takes longer without KVM than all the rest of a boot.
_QUIET = {'cloud_init_modules': ['bootcmd'], 'cloud_config_modules': [],
          'cloud_final_modules': []}

#: Starts the guest's end without delaying the boot, and so that it neither
#: waits for anything nor outlives the shutdown.
_START = '''\
mkdir -p /run/control-shell
echo {agent} | base64 -d > /run/control-shell/agent
systemd-run --no-block --unit control-shell \
    --property DefaultDependencies=no --property Conflicts=shutdown.target \
    --property Before=shutdown.target \
    --property IgnoreSIGPIPE=no --setenv HOME=/root \
    --setenv TMPDIR=/run/control-shell sh /run/control-shell/agent
'''


def create(path, name, uuid, user_data):
    """Write the config drive of a guest, an ISO 9660 image.

    :param name: the guest's host name
    :param uuid: its instance id
    :param user_data: for cloud-init, text
    :raises: ProgramFailed if xorriso does not make it
    """
    with tempfile.TemporaryDirectory() as folder:
        latest = os.path.join(folder, 'openstack', 'latest')
        os.makedirs(latest)
        metadata = {'uuid': uuid, 'hostname': name, 'name': name}
        for file, text in (('meta_data.json', json.dumps(metadata)),
                           ('user_data', user_data)):
            with open(os.path.join(latest, file), 'w', encoding='utf-8') as f:
                f.write(text)
        process.run('xorriso', '-as', 'mkisofs', '-quiet', '-V', _LABEL,
                    '-J', '-R', '-o', path, folder, timeout_s=60)


def quiet():
    """Return a cloud-config, for images with the control shell in them."""
    return _cloud_config(_QUIET)


def control_shell():
    """Return the cloud-config that starts the control shell at every boot."""
    agent = base64.b64encode(shell.AGENT.encode()).decode()
    return _cloud_config(
        _QUIET | {'bootcmd': [['sh', '-c', _START.format(agent=agent)]]})


def starts_control_shell(user_data):
    """Return whether user data is what control_shell() returned."""
    return user_data == control_shell()


def _cloud_config(config):
    return f'#cloud-config\n{json.dumps(config)}\n'
