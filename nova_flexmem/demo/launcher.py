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

"""Makes guests of both kinds, ready to start, each in a folder of its own."""

import os
import uuid as uuid_module

from nova_flexmem.demo import configdrive
from nova_flexmem.demo import guest
from nova_flexmem.demo import stock
from nova_flexmem.guest import delta
from nova_flexmem.guest import domain


class Launcher:
    """Makes guests on one libvirt connection.

    :param connection: a libvirt.virConnect
    :param folder: for the guests' files; QEMU's user must be able to enter it
    :param domain_type: kvm or qemu
    :param flavor: what each guest gets, a stock.Flavor
    :param user_data: for cloud-init, on a config drive; None for no drive
    """

    def __init__(self, connection, folder, domain_type, flavor,
                 user_data=None):
        self.connection = connection
        self._folder = folder
        self._domain_type = domain_type
        self._flavor = flavor
        self._user_data = user_data

    def stock(self, name, image):
        """Return a stock guest.

        :param image: path of the image, raw, as in Nova's image cache
        """
        def create_disk(path):
            stock.create_disk(path, image, self._flavor)

        return self._guest(name, create_disk, 'qcow2', lambda xml: xml)

    def flexmem(self, name, boot, **options):
        """Return a FlexMem guest.

        :param boot: the base, a domain.Boot
        :param options: of domain.transform
        """
        def create_disk(path):
            if options.get('writes') != 'memory':
                delta.create(path, self._flavor.disk_bytes)

        return self._guest(
            name, create_disk, 'raw',
            lambda xml: domain.transform(xml, boot, **options))

    def _guest(self, name, create_disk, disk_format, change):
        # two demos may run at once
        domain_name = f'flexmem-{os.getpid()}-{name}'
        uuid = str(uuid_module.uuid4())
        files = stock.Folder(os.path.join(self._folder, name))
        os.mkdir(files.path)
        create_disk(files.disk)
        if self._user_data is not None:
            configdrive.create(files.config_drive, name, uuid,
                               self._user_data)
        xml = stock.domain_xml(
            name=domain_name, uuid=uuid, domain_type=self._domain_type,
            flavor=self._flavor, folder=files, disk_format=disk_format,
            config_drive=self._user_data is not None)
        return guest.Guest(
            self.connection, domain_name, change(xml), files,
            needs_cloud_init=configdrive.starts_control_shell(
                self._user_data))
