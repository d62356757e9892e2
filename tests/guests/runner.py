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

"""Runs the rows of a group in a guest of its image."""

import dataclasses
import os
import time

from nova_flexmem.build import bootfiles
from nova_flexmem.build import builder
from nova_flexmem.demo import debian
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import layouts
from nova_flexmem.guest import domain
from nova_flexmem import process
from tests.functional import aptrepo
from tests.functional import harness
from tests.guests import rows

#: As in tests/functional; swap files and more lie on the delta there.
DIRECT_PATHS = ('/var/lib/docker',)

_REPOSITORY = """<disk type="file" device="disk">
  <driver name="qemu" type="raw"/>
  <source file="{}"/>
  <target dev="vdb" bus="virtio"/>
  <readonly/>
</disk>"""


class Runner:
    """Runs groups, one guest after the other.

    :param folder: that QEMU's user can enter
    :param connection: a libvirt.virConnect
    """

    def __init__(self, folder, connection):
        self._folder = folder
        self._connection = connection
        self._store = harness.shared_store()

    def run(self, group_name, group, wanted=()):
        """Check the rows of a group; yield what came of each.

        That is (row, what is not as it says or None, what was seen, seconds).

        :param group_name: for files
        :param wanted: names of rows; none: all
        """
        folder = os.path.join(self._folder, group_name)
        os.mkdir(folder)
        os.chmod(folder, 0o711)
        image = self._image(group_name, group)
        base, _new = builder.build(self._store, image, builder.Options())
        boot = domain.Boot.of(base, bootfiles.folder(self._store, base))
        starter = launcher.Launcher(
            self._connection, folder, hypervisor.domain_type(), group.flavor,
            group.user_data)

        def make_guest(name, delta=None):
            guest = starter.flexmem(name, boot, direct_paths=DIRECT_PATHS)
            # as [libvirt] hw_disk_discard has it
            guest.xml = guest.xml.replace(
                'cache="none"', 'cache="none" discard="unmap"').replace(
                '</devices>', f'{group.devices}</devices>')
            scene = rows.Scene(guest)
            if delta:
                process.run('cp', '--sparse=always', delta, scene.disk,
                            timeout_s=600)
            return guest

        def make_stock(name):
            raw = os.path.join(folder, 'image.raw')
            process.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw',
                        image, raw, timeout_s=900)
            return starter.stock(name, raw)

        guest = make_guest('group')
        with guest:
            guest.wait_shell()
            if group.repository is not None:
                self._give_repository(guest, group, folder)
            scene = rows.Scene(guest, make_guest, make_stock)
            for row in group.rows:
                if not wanted or row.name in wanted:
                    yield self._run(row, scene)

    @staticmethod
    def _image(group_name, group):
        if not group.packages:
            return debian.build(group.layout, harness.CACHE)
        plan = layouts.LAYOUTS[group.layout]
        return debian.make(f'guests-{group_name}', dataclasses.replace(
            plan, finish=(*group.finish, *plan.finish),
            system=dataclasses.replace(plan.system, packages=(
                *plan.system.packages, *group.packages))), harness.CACHE)

    def _run(self, row, scene):
        began = time.monotonic()
        fault, seen = row.run(scene)
        return row, fault, seen, time.monotonic() - began

    def _give_repository(self, guest, group, folder):
        path = os.path.join(folder, 'repository.iso')
        aptrepo.make_upgrade_iso(
            path, guest.output('cat /var/lib/dpkg/status'), group.repository)
        guest.domain.attachDevice(_REPOSITORY.format(path))
