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

"""nova-flexmem drivers: modules that images lack, from their vendors."""

import glob
import os
import re
import tempfile

from cliff import lister

from nova_flexmem.build import drivers
from nova_flexmem.cmd import store
from nova_flexmem import exception
from nova_flexmem import process

_DOWNLOAD = ('apt-get', 'download')
_FETCH_TIMEOUT_S = 600
_RELEASE = re.compile(r'\d[a-z0-9.+~-]{0,100}', re.ASCII)

#: What Ubuntu and Debian call the package, for a kernel's release.
_PACKAGES = ('linux-modules-extra-{}', 'linux-image-{}')


class _PacksCommand(store.StoreCommand, lister.Lister):
    """A command that lists driver packs."""

    def table(self, packs):
        """Return what cliff's Lister shows of packs."""
        return ('Driver pack', 'Package', 'Modules', 'Files'), [
            (pack.name, pack.package, ' '.join(sorted(pack.modules)),
             ' '.join(sorted(pack.sources))) for pack in packs]

    def import_all(self, sources):
        """Import packages; return their Packs, each once."""
        opened = self.make_store()
        packs = {}
        for source in sources:
            with opened.reporting():
                pack = drivers.import_pack(opened.driver_packs, source)
            packs[pack.name] = pack
        return packs.values()


class Import(_PacksCommand):
    """Import the modules that FlexMem guests need from packages."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'sources', metavar='FILE', nargs='+',
            help='a package (.deb or .rpm) of an image\'s very kernel, or a'
                 ' folder with its modules')
        return parser

    def take_action(self, parsed_args):
        return self.table(self.import_all(parsed_args.sources))


class Fetch(_PacksCommand):
    """Download the package of a kernel with apt-get, and import it."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('release', metavar='RELEASE',
                            help='release of the image\'s kernel (uname -r)')
        return parser

    def take_action(self, parsed_args):
        release = parsed_args.release
        if not _RELEASE.fullmatch(release):
            raise exception.DriversRefused(source=release,
                                           reason='no release of a kernel')
        with tempfile.TemporaryDirectory() as folder:
            return self.table(self.import_all([_download(release, folder)]))


class List(_PacksCommand):
    """List the driver packs of this host."""

    def take_action(self, parsed_args):
        return self.table(self.look_at_store().driver_packs.all())


class Remove(store.StoreCommand):
    """Remove a driver pack; bases that were built with it stay of use."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('pack', metavar='PACK',
                            help='RELEASE/BUILD, or RELEASE for all of them')
        return parser

    def take_action(self, parsed_args):
        packs = self.open_store().driver_packs
        wanted = [pack for pack in packs.all()
                  if parsed_args.pack in (pack.name, pack.release)]
        if not wanted:
            raise exception.DriversRefused(
                source=parsed_args.pack, reason='no such driver pack; list'
                ' them with "nova-flexmem drivers list"')
        for pack in wanted:
            packs.remove(pack)
            self.app.stdout.write(f'{pack.name}: removed\n')


def _download(release, folder):
    """Return the path of the package of a kernel, downloaded into a folder."""
    failed = []
    for package in (name.format(release) for name in _PACKAGES):
        try:
            # apt-get puts it where it runs
            process.run('env', '-C', folder, *_DOWNLOAD, package,
                        timeout_s=_FETCH_TIMEOUT_S)
            return glob.glob(os.path.join(folder, '*.deb'))[0]
        except (exception.ProgramFailed, IndexError) as e:
            failed.append(f'{package}: {e}')
    raise exception.DriversRefused(
        source=release, reason='apt-get cannot download it'
        f' ({"; ".join(failed)}); import its package with "nova-flexmem'
        ' drivers import"')
