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

"""nova-flexmem image flatten: an ordinary image from an instance's disk."""

import os
import typing

from cliff import show
from oslo_utils import strutils
from oslo_utils import units

from nova_flexmem.cmd import progress
from nova_flexmem.cmd import signals
from nova_flexmem import exception
from nova_flexmem.flatten import flatten
from nova_flexmem.store import basestore


class Flatten(show.ShowOne):
    """Make an ordinary bootable image from a layered snapshot.

    OUT is IMAGE with what the instance changed on DELTA. It boots on any
    host, through the boot loader of IMAGE. IMAGE and DELTA stay as they are.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'image', metavar='IMAGE',
            help='the image that the instance was made from, as uploaded to'
                 ' Glance (a snapshot\'s property flexmem_base_image has its'
                 ' id); the base in the store has no boot loader')
        parser.add_argument(
            'delta', metavar='DELTA',
            help='the layered snapshot, or the disk of an instance that is'
                 ' shut off; raw or qcow2')
        parser.add_argument('out', metavar='OUT',
                            help='file to write; it must not exist')
        parser.add_argument(
            '--disk-format', choices=flatten.FORMATS,
            default='qcow2', help='of OUT; default: qcow2')
        parser.add_argument(
            '--size', metavar='SIZE',
            help='virtual size of OUT, for example 20GiB: grows the last'
                 ' partition and the root filesystem on it (ext4, xfs,'
                 ' btrfs); default: that of IMAGE')
        parser.add_argument(
            '--image-sha256', metavar='DIGEST',
            help='refuse an IMAGE of another SHA-256 (a snapshot\'s property'
                 ' flexmem_base_sha256); without it, DELTA itself has to'
                 ' say that it lies on IMAGE')
        parser.add_argument(
            '--direct-paths', metavar='PATH,...',
            help='folders of the guest that lie directly on DELTA (a'
                 ' snapshot\'s property flexmem_direct_paths); default:'
                 ' [flexmem] direct_paths')
        return parser

    def take_action(self, parsed_args):
        group = self.app.conf.flexmem
        paths = group.direct_paths
        if parsed_args.direct_paths is not None:
            paths = [path for path in parsed_args.direct_paths.split(',')
                     if path]
        sha256 = parsed_args.image_sha256
        options = flatten.Options(
            format=parsed_args.disk_format,
            size_bytes=_size_bytes(parsed_args.size),
            image_sha256=sha256.lower() if sha256 else None,
            direct_paths=tuple(path.rstrip('/') for path in paths),
            max_virtual_size_bytes=group.max_virtual_size_gib * units.Gi,
            timeout_s=group.build_timeout_s)
        signals.clean_up_on_signals()
        with progress.Progress(self.app.stderr) as reporter:
            made = flatten.flatten(
                basestore.Store(group.store_path), parsed_args.image,
                parsed_args.delta, parsed_args.out, options, reporter)
        facts = {
            'path': made.path, 'format': made.format,
            'virtual_size_mib': round(made.virtual_size_bytes / units.Mi),
            'size_mib': round(os.stat(made.path).st_blocks * 512 / units.Mi),
            'system': made.system, 'written': made.written,
            'removed': made.removed, 'unclear_hard_links': made.unclear}
        return tuple(facts), tuple(facts.values())


def _size_bytes(text):
    """Return a size given as 20GiB, 20G or in bytes; None for None."""
    if text is None:
        return None
    try:
        size_bytes = strutils.string_to_bytes(text, return_int=True)
    except ValueError:
        size_bytes = 0
    if size_bytes <= 0:
        raise exception.ConfigUnusable(
            reason=f'--size {text}: not a size; give for example 20GiB')
    return -(-size_bytes // units.Mi) * units.Mi
