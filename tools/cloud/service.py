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

"""Services of the cloud: start, wait until they answer, end."""

import dataclasses
import os
import signal
import socket
import time
import typing

from tools.cloud import exception
from tools.cloud import machine
from tools.cloud import pid

_READY_TIMEOUT_S = 300
_STOP_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True)
class Service:
    """A program that runs as long as the cloud does."""

    name: str
    machine: machine.Machine
    argv: tuple[str, ...]
    run_folder: str
    log_path: str
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Returns whether the service answers
    answers: typing.Callable[[], bool] = lambda: True

    @property
    def _file(self):
        return os.path.join(self.run_folder, f'service-{self.name}')

    @property
    def pid(self):
        """Its process, or None if it does not run."""
        return pid.recorded(self._file)

    def start(self):
        """Start it, without waiting."""
        pid.record(self._file, self.machine.spawn(
            *self.argv, log_path=self.log_path, env=self.env))

    def check(self):
        """Check that it runs.

        :raises: ServiceFailed with the end of its log if it does not
        """
        if self.pid is None:
            self._fail('ended')

    def wait(self):
        """Wait until it answers.

        :raises: ServiceFailed with the end of its log if it does not
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        self.check()
        while not self.answers():
            self.check()
            if time.monotonic() > deadline:
                self._fail(f'does not answer after {_READY_TIMEOUT_S} s')
            time.sleep(0.1)

    def stop(self):
        """End it in order, or after a while by force."""
        number = self.pid
        if number is not None:
            pid.end([number], timeout_s=_STOP_TIMEOUT_S)

    def kill(self):
        """End it as kill -9 does, and wait until it has ended."""
        number = self.pid
        if number is not None:
            pid.send([number], signal.SIGKILL)
            pid.end([number], timeout_s=_STOP_TIMEOUT_S)

    def _fail(self, what):
        raise exception.ServiceFailed(service=self.name, what=what,
                                      log=self.log_path)


def listens(port, address='127.0.0.1'):
    """Return a function that says whether a port is open."""
    def answers():
        with socket.socket() as client:
            client.settimeout(2)
            return client.connect_ex((address, port)) == 0
    return answers


def connects(path):
    """Return a function that says whether a Unix socket is open."""
    def answers():
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
            except OSError:
                return False
            return True
    return answers
