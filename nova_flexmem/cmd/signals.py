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

"""Commands clean up when a signal ends them, as after an error."""

import signal
import sys

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def clean_up_on_signals():
    """Have signals end this process as an error does."""
    for number in _SIGNALS:
        signal.signal(number, _end)


def _end(signal_number, _frame):
    # cleaning up is not to be disturbed
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + signal_number)
