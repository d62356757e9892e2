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

"""What the commands on the base store share."""

import typing

from cliff import command
from oslo_utils import units

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

BASE_HELP = 'key of a base, or the beginning of one'


class StoreCommand(command.Command):
    """A command on the base store."""

    app: typing.Any

    def make_store(self):
        """Return the Store, made if there is none.

        What killed builds left in it is removed.
        """
        opened = basestore.Store(self.app.conf.flexmem.store_path)
        builder.clean(opened)
        return opened

    def open_store(self):
        """Return the Store, as make_store() if there is one.

        :raises: StoreUnusable
        """
        self._look()
        return self.make_store()

    def look_at_store(self):
        """Return the Store, as open_store() if it is this user's.

        That of another user is only looked at.

        :raises: StoreUnusable
        """
        looked_at = self._look()
        return self.make_store() if looked_at.is_own() else looked_at

    def _look(self):
        looked_at = basestore.Store(self.app.conf.flexmem.store_path,
                                    read_only=True)
        if not looked_at.exists():
            raise exception.StoreUnusable(
                store=looked_at.path, reason='there is no base store; give'
                ' the right one with --store or [flexmem] store_path, or make'
                ' it with "nova-flexmem image build"')
        return looked_at


class BaseCommand(StoreCommand):
    """A command on one base."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('base', metavar='BASE', help=BASE_HELP)
        return parser


def describe(base, opened):
    """Return the names and the values of the facts about a base.

    :param opened: the Store
    """
    manifest = base.manifest
    facts = {
        'base': manifest.key, 'names': opened.names_of(base.key),
        'scope': manifest.scope, 'path': base.path,
        'uuid': manifest.uuid, 'system': manifest.distro,
        'kernel': manifest.kernel_release,
        'other_kernels': manifest.kernel_others,
        'kernels_passed_over': manifest.kernels_passed_over,
        'driver_pack': '/'.join(
            manifest.driver_pack.get(name, '') for name in
            ('release', 'build')).strip('/'),
        'kernel_args': manifest.kernel_args, 'rootfs': manifest.rootfs,
        'rootfs_size_mib': round(manifest.rootfs_size_bytes / units.Mi),
        # 64 bytes for each 4 KiB page
        'guest_page_structs_mib': round(
            manifest.files[basefiles.ROOT_PMEM].size_bytes / 64 / units.Mi, 1),
        'devices': manifest.devices, 'image_sha256': manifest.image_sha256,
        'image_format': manifest.image_format,
        'image_virtual_size_mib': round(
            manifest.image_virtual_size_bytes / units.Mi),
        'files': {name: f'{f.size_bytes} bytes, sha256 {f.sha256}'
                  for name, f in manifest.files.items()},
        'built_at': manifest.built_at, 'built_by': manifest.built_by,
    }
    return tuple(facts), tuple(facts.values())
