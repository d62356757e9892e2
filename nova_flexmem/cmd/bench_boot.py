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

"""nova-flexmem bench boot."""

from nova_flexmem.bench import boot
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import benchmark
from nova_flexmem.store import basestore


class Boot(benchmark.Benchmark):
    """Measure how long guests take to boot beside running ones.

    Stock guests, stock guests whose kernel QEMU starts, and FlexMem guests of
    one image, each beside guests of its kind.
    """

    def add_arguments(self, parser):
        parser.add_argument(
            '--neighbours', type=benchmark.counts, metavar='N,N,...',
            default=boot.Options.neighbours, help='how many guests run'
            ' already when one boots; default: 1,4,8')
        parser.add_argument(
            '--starts', type=arguments.at_least_one, metavar='N',
            default=boot.Options.starts, help='boots for each of these'
            ' numbers, with a cold and with a warm host cache; default:'
            ' %(default)s')

    def measure(self, parsed_args, image, guest, reporter):
        return boot.run(
            basestore.Store(self.app.conf.flexmem.store_path), image,
            boot.Options(neighbours=parsed_args.neighbours,
                         starts=parsed_args.starts, guest=guest),
            parsed_args.work, reporter)
