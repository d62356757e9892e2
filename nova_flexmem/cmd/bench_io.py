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

"""nova-flexmem bench io."""

import typing

from cliff import lister

from nova_flexmem.bench import diskio
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import bench
from nova_flexmem.cmd import ending
from nova_flexmem.cmd import progress


class Io(lister.Lister):
    """Measure what reading and writing files costs in guests.

    Stock guests, stock guests whose disk goes through the host's page cache,
    and FlexMem guests of one image, with this host's fio.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        arguments.add(parser)
        parser.add_argument(
            '--guests', type=arguments.at_least_one, metavar='N',
            default=diskio.Options.guests,
            help='guests of each kind; default: %(default)s')
        parser.add_argument(
            '--set-mib', type=arguments.at_least_one, metavar='MIB',
            default=diskio.Options.set_mib, help='what each measurement of a'
            " first access reads of the image's files; default: %(default)s")
        bench.add_report(parser)
        return parser

    def take_action(self, parsed_args):
        ending.clean_up_on_signals()
        with progress.Progress(self.app.stderr) as reporter:
            found = diskio.run(
                arguments.image(parsed_args, self.app.conf, reporter),
                diskio.Options(
                    guests=parsed_args.guests, set_mib=parsed_args.set_mib,
                    guest=arguments.guest_options(parsed_args,
                                                  self.app.conf)),
                parsed_args.work, reporter)
        return bench.shown(self.app, found, parsed_args)
