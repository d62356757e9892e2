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

"""nova-flexmem host ksm: one bounded scan of the kernel's samepage merging."""

import typing

from cliff import show

from nova_flexmem.cmd import signals
from nova_flexmem import exception
from nova_flexmem.host import ksm


class Ksm(show.ShowOne):
    """Have KSM merge equal pages of this host's guests once, and stop.

    What is merged stays merged until a guest writes to it. Run it as root.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--limit', metavar='SECONDS', type=float, default=600.0,
            help='stop after so long in any case (default: 600)')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.limit <= 0:
            raise exception.ConfigUnusable(
                reason=f'--limit {parsed_args.limit:g}: give seconds')
        signals.clean_up_on_signals()
        done = ksm.scan_once(limit_s=parsed_args.limit)
        return zip(*{
            'seconds': round(done.seconds, 1), 'cpu_s': round(done.cpu_s, 2),
            'full_scans': done.full_scans, 'complete': done.complete,
            'saved_before_bytes': done.saved_before_bytes,
            'saved_bytes': done.saved_bytes,
            'profit_bytes': done.profit_bytes}.items())
