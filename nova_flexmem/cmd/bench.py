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

"""nova-flexmem bench: what FlexMem gains on this host, and where it loses."""

import argparse
import re
import typing

from cliff import lister
from oslo_utils import units

from nova_flexmem.bench import compare
from nova_flexmem.bench import density
from nova_flexmem.bench import fit
from nova_flexmem.bench import pagetypes
from nova_flexmem.bench import results
from nova_flexmem.bench import workloads
from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import benchmark
from nova_flexmem.cmd import cells
from nova_flexmem.host import ksm_switch
from nova_flexmem.store import basestore

_SIZE = re.compile(r'(\d+)([MG])')


class Density(benchmark.Benchmark):
    """Measure host memory by number of VMs, with and without KSM.

    Stock guests, then FlexMem guests of one image. Where KSM is measured, it
    must be off when the benchmark starts.
    """

    def add_arguments(self, parser):
        parser.add_argument(
            '--counts', type=benchmark.counts, metavar='N,N,...',
            default=density.Options.counts, help='numbers of guests at which'
            ' memory is measured; default: 1,2,3,4,6,8,12,16')
        parser.add_argument(
            '--ksm-counts', type=benchmark.counts, metavar='N,N,...',
            default=density.Options.ksm_counts, help='numbers of guests'
            ' at which memory is also measured with KSM, and by type of page;'
            ' "" for none; default: 3,16')
        parser.add_argument(
            '--workload', choices=sorted(workloads.WORKLOADS),
            default='idle', help='what guests do after their boot;'
            ' default: %(default)s')
        parser.add_argument(
            '--at-once', type=arguments.at_least_one, default=1, metavar='N',
            help='guests that boot side by side; default: %(default)s')
        parser.add_argument(
            '--explain', action='store_true', help='tell by kind of page what'
            ' the RAM of a guest holds, where KSM is measured')
        parser.add_argument(
            '--fit', type=_size, metavar='SIZE', help='measure how many'
            ' guests fit into SIZE of memory instead, for example 3G')

    def check(self, parsed_args):
        if parsed_args.ksm_counts:
            switch = ksm_switch.Switch()
            switch.put_back()
            switch.check_off()
            if not parsed_args.fit:
                pagetypes.check_size(parsed_args.ram_mib * units.Mi)

    def measure(self, parsed_args, image, guest, reporter):
        if parsed_args.fit:
            return fit.run(
                image, fit.Options(
                    size_bytes=parsed_args.fit, guest=guest,
                    workload=parsed_args.workload,
                    with_ksm=bool(parsed_args.ksm_counts)),
                parsed_args.work, reporter)
        return density.run(
            basestore.Store(self.app.conf.flexmem.store_path), image,
            density.Options(
                workload=parsed_args.workload, counts=parsed_args.counts,
                ksm_counts=parsed_args.ksm_counts,
                at_once=parsed_args.at_once,
                explain=parsed_args.explain, guest=guest),
            parsed_args.work, reporter)


class Compare(lister.Lister):
    """Compare two runs of one benchmark.

    Differences of their hosts and options go to standard error.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        for name in 'AB':
            parser.add_argument(name, help='a folder that --report made, or'
                                ' the results.json in it')
        return parser

    def take_action(self, parsed_args):
        a, b = results.read(parsed_args.A), results.read(parsed_args.B)
        rows = compare.rows(a, b)
        for difference in compare.differences(a, b):
            self.app.stderr.write(f'{difference}\n')
        return compare.COLUMNS, cells.shown(rows, parsed_args.formatter)


def _size(text):
    size = _SIZE.fullmatch(text)
    if not size:
        raise argparse.ArgumentTypeError(f'{text!r}: give a size as 3G, 512M')
    return int(size[1]) << {'M': 20, 'G': 30}[size[2]]
