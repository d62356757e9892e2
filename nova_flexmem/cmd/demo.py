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
import typing

from cliff import lister
from oslo_utils import units

from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import cells
from nova_flexmem.cmd import progress
from nova_flexmem.cmd import signals
from nova_flexmem.demo import chart
from nova_flexmem.demo import demo
from nova_flexmem.demo import report


class Demo(lister.Lister):
    """Compare stock guests with FlexMem guests of one image on this host.

    Stock guests are as Nova makes them. Each guest boots and reads the same
    files of its image. Medians over the guests are shown, with the range.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        arguments.add(parser)
        parser.add_argument('--guests', type=arguments.at_least_one, default=3,
                            metavar='N', help='guests of each kind;'
                            ' default: %(default)s')
        parser.add_argument('--read-mb', type=arguments.at_least_one,
                            default=100, metavar='MIB',
                            help='how much of the image\'s files each guest'
                            ' reads; default: %(default)s')
        parser.add_argument(
            '--output', default='demo-results', metavar='FOLDER',
            help='for results.json and memory.png; default: %(default)s')
        return parser

    def run(self, parsed_args):
        signals.clean_up_on_signals()
        status = super().run(parsed_args)
        # what is to be read last comes after the table
        for sentence in self._sentences:
            self.app.stderr.write(f'{sentence}\n')
        return 1 if self._failed else status

    def take_action(self, parsed_args):
        chart.prepare(parsed_args.output)
        options = demo.Options(
            guests=parsed_args.guests,
            read_bytes=parsed_args.read_mb * units.Mi,
            guest=arguments.guest_options(parsed_args, self.app.conf))
        with progress.Progress(self.app.stderr) as reporter:
            stock, flexmem = demo.run(
                arguments.image(parsed_args, self.app.conf, reporter),
                options, parsed_args.work, reporter)
        picture = self._write(parsed_args.output, stock, flexmem, options)
        failures = report.failures(flexmem)
        self._failed = bool(failures)
        self._sentences = list(filter(None, [
            *failures, f'The picture is {picture}.',
            report.prediction(stock, flexmem), report.gain(stock, flexmem)]))
        return report.COLUMNS, cells.shown(report.rows(stock, flexmem),
                                           parsed_args.formatter)

    def _write(self, folder, stock, flexmem, options):
        """Write the results and the picture; returns the picture's path."""
        with open(os.path.join(folder, 'results.json'), 'w',
                  encoding='ascii') as f:
            json.dump({'options': dataclasses.asdict(options),
                       'stock': dataclasses.asdict(stock),
                       'flexmem': dataclasses.asdict(flexmem)}, f, indent=2)
        picture = os.path.join(folder, 'memory.png')
        chart.draw(picture, stock, flexmem,
                   'Host memory by number of VMs'
                   f' ({options.guest.ram_mib} MiB RAM each,'
                   f' {options.read_bytes // units.Mi} MiB of image files'
                   ' read)')
        return picture
