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

"""nova-flexmem demo."""

import dataclasses
import json
import os
import signal
import sys
import typing

from cliff import lister

from nova_flexmem.base import builder
from nova_flexmem.base import store
from nova_flexmem.cmd import progress
from nova_flexmem.demo import chart
from nova_flexmem.demo import configdrive
from nova_flexmem.demo import debian
from nova_flexmem.demo import demo
from nova_flexmem.demo import report
from nova_flexmem.guest import domain

MIB = 1 << 20
GIB = 1 << 30

_LAYOUT = 'ext4'
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Demo(lister.Lister):
    """Compare stock guests with FlexMem guests of one image on this host.

    Stock guests are as Nova makes them. Each guest boots and reads the same
    files of its image. Medians over the guests are shown, with the range.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--image', metavar='FILE', help='image to use, raw or qcow2, with'
            ' cloud-init; default: a Debian image is made')
        parser.add_argument('--guests', type=_at_least_one, default=3,
                            metavar='N', help='guests of each kind;'
                            ' default: %(default)s')
        parser.add_argument('--read-mb', type=_at_least_one, default=100,
                            metavar='MIB', help='what each guest reads;'
                            ' default: %(default)s')
        parser.add_argument('--ram-mib', type=_at_least_one, default=512,
                            metavar='MIB', help='RAM of each guest;'
                            ' default: %(default)s')
        parser.add_argument(
            '--disk-gib', type=_at_least_one, metavar='GIB',
            help='size of each guest\'s disk, be it overlay or delta;'
            ' default: the image\'s virtual size')
        parser.add_argument('--device', default='nvdimm',
                            help='FlexMem device; default: %(default)s')
        parser.add_argument('--writes', default='disk',
                            choices=['disk', 'memory'],
                            help='writes policy; default: %(default)s')
        parser.add_argument(
            '--output', default='demo-results', metavar='FOLDER',
            help='for results.json and memory.png; default: %(default)s')
        parser.add_argument(
            '--work', default='/var/tmp', metavar='FOLDER',
            help='for temporary files and the Debian image;'
            ' default: %(default)s')
        return parser

    def run(self, parsed_args):
        self._failures: list[str] = []
        for number in _SIGNALS:
            signal.signal(number, _end)
        status = super().run(parsed_args)
        for failure in self._failures:
            self.app.stderr.write(f'{failure}\n')
        return 1 if self._failures else status

    def take_action(self, parsed_args):
        options = demo.Options(
            guests=parsed_args.guests, read_bytes=parsed_args.read_mb * MIB,
            ram_mib=parsed_args.ram_mib,
            disk_bytes=parsed_args.disk_gib and parsed_args.disk_gib * GIB,
            device=parsed_args.device, writes=parsed_args.writes,
            direct_paths=tuple(self.app.conf.flexmem.direct_paths),
            # the demo's own images have the control shell in them
            user_data=configdrive.control_shell() if parsed_args.image
            else None)
        os.makedirs(parsed_args.output, exist_ok=True)
        with progress.Progress(self.app.stderr) as reporter:
            image = parsed_args.image or debian.build(
                _LAYOUT, os.path.join(parsed_args.work,
                                      'nova-flexmem-images'), reporter)
            built = self._base(image, reporter)
            stock, flexmem = demo.run(
                image, built.manifest.image_format, domain.Boot.of(built),
                options, parsed_args.work, reporter)
        self._write(parsed_args.output, stock, flexmem, options)
        self._failures = report.failures(flexmem)
        return report.COLUMNS, report.rows(stock, flexmem)

    def _base(self, image, reporter):
        """Return the base of an image; builds it if there is none."""
        opened = store.Store(self.app.conf.flexmem.store_path)
        opened.clean()
        built, _new = builder.build(
            opened, image, builder.Options.from_conf(self.app.conf), reporter)
        return opened.check(built.key)

    def _write(self, folder, stock, flexmem, options):
        with open(os.path.join(folder, 'results.json'), 'w',
                  encoding='ascii') as f:
            json.dump({'options': dataclasses.asdict(options),
                       'stock': dataclasses.asdict(stock),
                       'flexmem': dataclasses.asdict(flexmem)}, f, indent=2)
        picture = os.path.join(folder, 'memory.png')
        chart.draw(picture, stock, flexmem,
                   f'Host memory by number of VMs ({options.ram_mib} MiB RAM'
                   f' each, {options.read_bytes // MIB} MiB of image files'
                   ' read)')
        self.app.stderr.write(f'the picture is {picture}\n')


def _at_least_one(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _end(signal_number, _frame):
    """End as on an error, so that everything is cleaned up, undisturbed."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + signal_number)
