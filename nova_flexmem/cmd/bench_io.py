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

from nova_flexmem.bench import diskio
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import benchmark


class Io(benchmark.Benchmark):
    """Measure what reading and writing files costs in guests.

    Stock guests, stock guests whose disk goes through the host's page cache,
    and FlexMem guests of one image, with this host's fio.
    """

    def add_arguments(self, parser):
        parser.add_argument(
            '--guests', type=arguments.at_least_one, metavar='N',
            default=diskio.Options.guests,
            help='guests of each kind; default: %(default)s')
        parser.add_argument(
            '--set-mib', type=arguments.at_least_one, metavar='MIB',
            default=diskio.Options.set_mib, help="how much of the image's"
            ' files is read to measure first access; default: %(default)s')

    def measure(self, parsed_args, image, guest, reporter):
        return diskio.run(
            image, diskio.Options(guests=parsed_args.guests,
                                  set_mib=parsed_args.set_mib, guest=guest),
            parsed_args.work, reporter)
