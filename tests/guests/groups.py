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

"""The groups: each is one image, and one guest in which its rows are."""

import dataclasses

from nova_flexmem.demo import configdrive
from nova_flexmem.demo import stock
from tests.guests import cloudinit
from tests.guests import containers
from tests.guests import disks
from tests.guests import files
from tests.guests import filesystem
from tests.guests import quiesce
from tests.guests import rows
from tests.guests import tools
from tests.guests import upgrades
from tests.guests import watchers


@dataclasses.dataclass(frozen=True)
class Group:
    """One guest and its rows, in the order in which they are checked.

    :ivar layout: of the demo's images
    :ivar packages: more packages of the image
    :ivar finish: guestfish commands before those that end its making
    :ivar devices: XML of more devices of the guest
    :ivar user_data: for cloud-init; None: it is off
    :ivar repository: packages for a repository in the guest, with all
        upgrades; None: there is none
    """

    title: str
    rows: tuple[rows.Row, ...]
    layout: str = 'ext4'
    packages: tuple[str, ...] = ()
    finish: tuple[tuple[str, ...], ...] = ()
    devices: str = ''
    user_data: str | None = None
    repository: tuple[str, ...] | None = None
    ram_mib: int = 512

    @property
    def flavor(self):
        return stock.Flavor(ram_mib=self.ram_mib, disk_bytes=6 << 30)


GROUPS = {
    'files': Group('Files', (*files.ROWS, *filesystem.ROWS)),
    'disks': Group('Disk and boot', disks.ROWS),
    'cloud-init-12': Group(
        'cloud-init of Debian 12', cloudinit.ROWS,
        user_data=cloudinit.USER_DATA),
    'cloud-init-13': Group(
        'cloud-init and systemd of Debian 13', rows.untried(
            (*cloudinit.ROWS, cloudinit.SOFT_REBOOT)), layout='xfs',
        user_data=cloudinit.USER_DATA),
    'upgrades': Group('Upgrades of packages', upgrades.ROWS,
                      user_data=configdrive.quiet(),
                      repository=upgrades.INSTALLED),
    'tools': Group(
        'Programs that look closely at files',
        rows.untried((*tools.ROWS, *watchers.ROWS)), packages=tools.PACKAGES,
        finish=tools.FINISH),
    'quiesce': Group('Quiesced snapshots and databases',
                     rows.untried(quiesce.ROWS), packages=quiesce.PACKAGES,
                     devices=quiesce.DEVICES, ram_mib=768),
    'containers': Group('Containers', rows.untried(containers.ROWS),
                        packages=containers.PACKAGES,
                        ram_mib=containers.RAM_MIB)}
