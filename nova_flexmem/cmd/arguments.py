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

"""Arguments that the commands share which start guests of an image."""

import argparse
import os

from oslo_utils import units

from nova_flexmem.build import bootfiles
from nova_flexmem.build import builder
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.demo import configdrive
from nova_flexmem.demo import debian
from nova_flexmem.demo import kinds
from nova_flexmem.guest import domain
from nova_flexmem.guest import lean
from nova_flexmem.store import basestore

_LAYOUT = 'ext4'


def add(parser):
    """Add the arguments to a parser."""
    parser.add_argument(
        '--image', metavar='FILE', help='image to use, raw or qcow2, with'
        ' cloud-init; default: a Debian image is made')
    parser.add_argument(
        '--config-drive', action='store_true', help='give each guest a'
        ' config drive, so that cloud-init runs as in a cloud; --image implies'
        ' it')
    parser.add_argument(
        '--ram-mib', type=at_least_one, default=512, metavar='MIB',
        help='RAM of each guest; default: %(default)s')
    parser.add_argument(
        '--cpu-model', metavar='MODEL', help='CPU model of each guest, one of'
        ' "virsh cpu-models x86_64"; default: the host model, as with Nova')
    parser.add_argument(
        '--disk-gib', type=at_least_one, metavar='GIB',
        help='size of each guest\'s disk; default: the image\'s virtual'
        ' size')
    parser.add_argument('--device', default='nvdimm',
                        help='FlexMem device; default: %(default)s')
    parser.add_argument('--writes', default='disk',
                        choices=['disk', 'memory'],
                        help='writes policy; default: %(default)s')
    parser.add_argument(
        '--lean', type=_parts, default=(), metavar='PART,...',
        help='what FlexMem guests do without, as by the extra spec'
        f' flexmem:lean: {", ".join(lean.PARTS)}')
    parser.add_argument(
        '--work', default='/var/tmp', metavar='FOLDER',
        help='folder for temporary files and the Debian image;'
        ' default: %(default)s')


def guest_options(parsed_args, conf):
    """Return the kinds.Options that the arguments ask for."""
    user_data = None
    if parsed_args.image:
        user_data = configdrive.control_shell()
    elif parsed_args.config_drive:
        # images that are made here have the control shell in them
        user_data = configdrive.quiet()
    return kinds.Options(
        ram_mib=parsed_args.ram_mib,
        disk_bytes=parsed_args.disk_gib and parsed_args.disk_gib * units.Gi,
        cpu_model=parsed_args.cpu_model,
        device=parsed_args.device, writes=parsed_args.writes,
        direct_paths=tuple(conf.flexmem.direct_paths),
        extra_kernel_args=conf.flexmem.extra_kernel_args,
        reporting_order=flexmem_conf.reporting_order(conf),
        user_data=user_data, without=parsed_args.lean)


def image(parsed_args, conf, progress):
    """Return the kinds.Image that the arguments ask for.

    It is made, and its base is built, where there is none.

    :param progress: called with a text as each step begins
    """
    path = parsed_args.image or debian.build(
        _LAYOUT, os.path.join(parsed_args.work, 'nova-flexmem-images'),
        progress)
    opened = basestore.Store(conf.flexmem.store_path)
    builder.clean(opened)
    built, _new = builder.build(opened, path,
                                builder.Options.from_conf(conf), progress)
    checked = bootfiles.ensure(opened, built.key)
    return kinds.Image(path, checked.manifest.image_format,
                       checked.manifest.image_virtual_size_bytes,
                       domain.Boot.of(
                           checked, bootfiles.folder(opened, checked)))


def at_least_one(text):
    """Return the number in an argument, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _parts(text):
    try:
        return lean.parse(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e))
