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

"""The control shell of a guest, over its second serial port: both ends.

The protocol is one line each way. Nothing is sent before the guest said that
it is ready, since a serial port that nobody reads from loses what it can't
hold.
"""

import base64
import re
import socket
import time

from nova_flexmem import exception

#: The guest's end: says "ready", then answers every line "id script" with
#: "id exit-code output"; script and output are in base64.
AGENT = '''\
exec < /dev/ttyS1 > /dev/ttyS1
stty raw -echo
folder=$(mktemp -d)
echo "ready $(cat /proc/sys/kernel/random/boot_id)"
while read -r id script; do
    echo "$script" | base64 -d > "$folder/script"
    sh "$folder/script" < /dev/null > "$folder/output" 2>&1
    echo "$id $? $(base64 -w 0 "$folder/output")"
done
'''

#: A unit that runs the guest's end from the file AGENT_PATH, as early as can
#: be, in images made for the demo.
AGENT_PATH = '/usr/local/sbin/control-shell'
UNIT = f'''\
[Unit]
Description=Control shell on the second serial port
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Environment=HOME=/root TMPDIR=/run/control-shell
RuntimeDirectory=control-shell
IgnoreSIGPIPE=no
ExecStart=-/bin/sh {AGENT_PATH}

[Install]
WantedBy=multi-user.target
'''

_READY = re.compile(rb'ready (\S+)')
_ANSWER = re.compile(rb'(\d+) (\d+) ?(\S*)')

#: How often the caller is asked whether there is a use in waiting, in seconds.
_ASK_EVERY_S = 5


class Shell:
    """A connection to the control shell of one guest.

    :param path: the unix socket that is the guest's second serial port
    """

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._buffer = b''
        self._last_id = 0

    def wait_ready(self, timeout_s, give_up=lambda: False):
        """Wait until a boot of the guest got as far as the shell.

        :param give_up: returns whether waiting has become useless
        :raises: DemoFailed if it does not in that time
        """
        deadline = time.monotonic() + timeout_s
        while not _READY.search(self._line(deadline, give_up)):
            pass

    def run(self, script, timeout_s):
        """Run a script in the guest with sh, as root.

        :returns: its exit code, and its output, text
        :raises: DemoFailed if it does not end in time, or the guest reboots
        """
        self._last_id += 1
        encoded = base64.b64encode(script.encode()).decode()
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(f'{self._last_id} {encoded}\n'.encode())
        except OSError as e:
            raise exception.DemoFailed(reason=f'control shell: {e}')
        deadline = time.monotonic() + timeout_s
        while True:
            line = self._line(deadline)
            answer = _ANSWER.fullmatch(line)
            if answer and int(answer[1]) == self._last_id:
                return int(answer[2]), base64.b64decode(answer[3]).decode(
                    errors='replace')
            if _READY.search(line):
                raise exception.DemoFailed(
                    reason='control shell: the guest rebooted meanwhile')

    def close(self):
        self._socket.close()

    def _line(self, deadline, give_up=lambda: False):
        while b'\n' not in self._buffer:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or give_up():
                raise exception.DemoFailed(reason='control shell: no answer')
            self._socket.settimeout(min(remaining_s, _ASK_EVERY_S))
            try:
                received = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as e:
                raise exception.DemoFailed(reason=f'control shell: {e}')
            if not received:
                raise exception.DemoFailed(
                    reason='control shell: the guest ended')
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b'\n')
        return line.strip()
