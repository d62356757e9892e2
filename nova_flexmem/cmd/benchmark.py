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

"""What the commands that run a benchmark have in common."""

import argparse
import typing

from cliff import lister

from nova_flexmem.bench import report
from nova_flexmem.bench import table
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import cells
from nova_flexmem.cmd import progress
from nova_flexmem.cmd import signals


class Benchmark(lister.Lister):
    """A command that runs a benchmark, and shows and writes its results."""

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        arguments.add(parser)
        self.add_arguments(parser)
        parser.add_argument(
            '--report', metavar='FOLDER', help='write report.html, its'
            ' pictures, and results.json for "bench compare" there')
        return parser

    def add_arguments(self, parser):
        """Add the benchmark's own arguments to a parser."""
        raise NotImplementedError

    def check(self, parsed_args):
        """Check, before anything takes time, that the benchmark can run."""

    def measure(self, parsed_args, image, guest, reporter):
        """Run the benchmark; returns results.Results.

        :param image: the kinds.Image
        :param guest: the kinds.Options
        :param reporter: called with a text as each step begins
        """
        raise NotImplementedError

    def take_action(self, parsed_args):
        signals.clean_up_on_signals()
        if parsed_args.report:
            report.prepare(parsed_args.report)
        self.check(parsed_args)
        guest = arguments.guest_options(parsed_args, self.app.conf)
        with progress.Progress(self.app.stderr) as reporter:
            image = arguments.image(parsed_args, self.app.conf, reporter)
            results = self.measure(parsed_args, image, guest, reporter)
        if parsed_args.report:
            path = report.write(results, parsed_args.report)
            self.app.stderr.write(f'The report is {path}.\n')
        return table.columns(results), cells.shown(table.rows(results),
                                                   parsed_args.formatter)


def counts(text):
    """Return the numbers of guests in an argument, for argparse."""
    try:
        return tuple(arguments.at_least_one(each)
                     for each in text.split(',') if each)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r}: give numbers of guests with commas between')
