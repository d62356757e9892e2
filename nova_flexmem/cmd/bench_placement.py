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

"""nova-flexmem bench placement."""

import importlib
import typing

from cliff import lister

from nova_flexmem.bench import placementload
from nova_flexmem.bench import placementmodel
from nova_flexmem.bench import report
from nova_flexmem.bench import table
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import cells
from nova_flexmem.cmd import progress
from nova_flexmem import exception


class Placement(lister.Lister):
    """Simulate a month of a cloud, with and without the FlexMem weigher.

    Nova's own scheduler code places the instances, so this command runs in an
    environment that has Nova.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        default = placementload.Options
        parser.add_argument(
            '--density', required=True, metavar='FOLDER', help='what'
            ' "bench density --report" made: how much memory instances save')
        for name, what in (('hosts', 'number of hosts'),
                           ('instances', 'mean number of instances'),
                           ('days', 'length of the simulated month'),
                           ('images', 'number of images'),
                           ('seed', 'seed of what is random')):
            parser.add_argument(
                f'--{name}', type=arguments.at_least_one, metavar='N',
                default=getattr(default, name),
                help=f'{what}; default: %(default)s')
        parser.add_argument(
            '--zipf', type=float, default=default.zipf, metavar='EXPONENT',
            help="of the images' popularity; default: %(default)s")
        parser.add_argument(
            '--multiplier', type=float, metavar='NUMBER',
            help='[flexmem] base_weight_multiplier; default: its default')
        parser.add_argument(
            '--margin', type=float, metavar='SHARE',
            help='[flexmem] base_weight_margin; default: its default')
        parser.add_argument(
            '--report', metavar='FOLDER', help='write report.html, its'
            ' pictures, and results.json for "bench compare" there')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.report:
            report.prepare(parsed_args.report)
        model = placementmodel.read(parsed_args.density)
        placement = _load()
        placement.prepare(parsed_args.multiplier, parsed_args.margin)
        options = placementload.Options(
            parsed_args.hosts, parsed_args.instances, parsed_args.days,
            parsed_args.images, parsed_args.zipf, parsed_args.seed)
        with progress.Progress(self.app.stderr) as reporter:
            results = placement.run(model, options, reporter)
        if parsed_args.report:
            path = report.write(results, parsed_args.report)
            self.app.stderr.write(f'The report is {path}.\n')
        return table.columns(results), cells.shown(table.rows(results),
                                                   parsed_args.formatter)


def _load():
    """Return the module of the benchmark, which imports Nova.

    :raises: BenchFailed
    """
    try:
        return importlib.import_module('nova_flexmem.bench.placement')
    except ModuleNotFoundError as e:
        raise exception.BenchFailed(
            reason=f'Nova is not installed here ({e}); run this command in the'
            ' Python environment of nova-scheduler or nova-compute')
