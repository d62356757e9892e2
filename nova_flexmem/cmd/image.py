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

"""nova-flexmem image: bases of images."""

import argparse
import importlib

from cliff import lister
from cliff import show
from oslo_utils import units

from nova_flexmem.build import builder
from nova_flexmem.cmd import progress
from nova_flexmem.cmd import signals
from nova_flexmem.cmd import store
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import names


class Build(store.StoreCommand, show.ShowOne):
    """Build the base of an image, unless the store has it."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('source', metavar='SOURCE',
                            help='image file, raw or qcow2')
        parser.add_argument(
            '--rootfs', choices=['auto', 'erofs', 'ext4'],
            help='root filesystem of the base; default: [flexmem] rootfs')
        parser.add_argument(
            '--allow-backing-chain', action='store_true',
            help='accept a qcow2 image that names backing files, and read'
                 ' them; never do so with an image from a tenant')
        parser.add_argument(
            '--scope', metavar='TEXT', default='',
            help='who shares the base, for example the id of a project;'
                 ' default: everybody')
        parser.add_argument(
            '--name', metavar='NAME', type=_name,
            help='another name for the base; under the name IMAGE_ID.ROOTFS,'
                 ' such as 1d9a3b4c-0f6e-4f1f-8c37-2a5b7f1e9d10.auto,'
                 ' nova-compute finds the base of an image')
        return parser

    def take_action(self, parsed_args):
        changes = {'allow_backing_chain': parsed_args.allow_backing_chain,
                   'scope': parsed_args.scope}
        if parsed_args.rootfs:
            changes['rootfs'] = parsed_args.rootfs
        options = builder.Options.from_conf(self.app.conf, **changes)
        opened = self.make_store()
        signals.clean_up_on_signals()
        with progress.Progress(self.app.stderr) as reporter:
            built, new = builder.build(opened, parsed_args.source, options,
                                       reporter)
        if parsed_args.name:
            opened.set_name(parsed_args.name, built.key)
        facts, values = store.describe(built, opened)
        return ('built', *facts), (new, *values)


class List(store.StoreCommand, lister.Lister):
    """List the bases of this host, or those in Glance."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--published', action='store_true',
            help='list what Glance has: the published bases, what they take'
                 ' there, and claims of hosts that build one')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.published:
            return _published().listed(self.app.conf)
        opened = self.look_at_store()
        rows = []
        users = opened.users_of_all()
        for key in opened.keys():
            try:
                manifest = opened.require(key).manifest
            except exception.BaseNotFound:
                continue  # removed meanwhile
            except exception.BaseDamaged as e:
                rows.append((key, f'damaged: {e.kwargs["reason"]}', '', '',
                             '', 0, '', ''))
                continue
            rows.append((
                key, manifest.distro, manifest.kernel_release,
                manifest.rootfs,
                round(manifest.files[basefiles.ROOT_PMEM].size_bytes
                      / units.Mi),
                len(users.get(key, ())), manifest.built_at,
                ' '.join(opened.names_of(key))))
        return ('Base', 'System', 'Kernel', 'Rootfs', 'Size MiB', 'Users',
                'Built at', 'Names'), rows


class Show(store.BaseCommand, show.ShowOne):
    """Show a base."""

    def take_action(self, parsed_args):
        opened = self.look_at_store()
        key = opened.find(parsed_args.base)
        facts, values = store.describe(opened.require(key), opened)
        return ((*facts, 'users', 'unused_s'),
                (*values, opened.users(key), round(opened.unused_s()[key])))


class Verify(store.StoreCommand):
    """Read every byte of bases again and compare with their manifests."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument('base', metavar='BASE', nargs='?',
                           help=store.BASE_HELP)
        which.add_argument('--all', action='store_true',
                           help='verify every base')
        return parser

    def take_action(self, parsed_args):
        opened = self.look_at_store()
        keys = (opened.keys() if parsed_args.all
                else [opened.find(parsed_args.base)])
        damaged = 0
        for key in keys:
            try:
                with progress.Progress(self.app.stderr) as reporter:
                    opened.verify(
                        key, lambda part, key=key: reporter(
                            f'verifying {key}', part))
            except exception.BaseDamaged as e:
                damaged += 1
                self.app.stderr.write(f'{e}\n')
            else:
                self.app.stdout.write(f'{key}: verified\n')
        return 1 if damaged else 0


class Remove(store.BaseCommand):
    """Remove a base that nothing uses."""

    def take_action(self, parsed_args):
        opened = self.open_store()
        key = opened.find(parsed_args.base)
        opened.remove(key)
        self.app.stdout.write(f'{key}: removed\n')


class Prune(store.StoreCommand, lister.Lister):
    """Remove bases that have not been used for some time, or from Glance."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--older-than', metavar='SECONDS', type=int,
            help='default: [flexmem] remove_unused_base_minimum_age_s')
        parser.add_argument(
            '--published', action='store_true',
            help='remove published bases from Glance that neither an image nor'
                 ' a server nor a snapshot needs; it takes credentials of an'
                 ' administrator')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.published:
            return _published().pruned(self.app.conf)
        age_s = parsed_args.older_than
        if age_s is None:
            age_s = self.app.conf.flexmem.remove_unused_base_minimum_age_s
        return ('Removed',), [(key,)
                              for key in self.open_store().prune(age_s)]


def _published():
    """Import the client of Glance, which takes a second."""
    return importlib.import_module('nova_flexmem.cmd.published')


def _name(text):
    try:
        names.check(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e))
    return text
