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


"""Progress of long work: a line for each stage."""

import time


class Progress:
    """Reports stages; a context manager, and a callable for the worker.

    On a terminal, the line of a stage also shows how much of it is done.

    :param stream: where to, usually standard error
    """

    def __init__(self, stream):
        self._stream = stream
        self._on_terminal = stream.isatty()
        self._stage = None

    def __enter__(self):
        self._began = time.monotonic()
        return self

    def __exit__(self, *_exc):
        self._end_line()

    def __call__(self, stage, part=None):
        """Say how far a stage is.

        :param stage: its name
        :param part: the fraction done, None where that is not known
        """
        if stage != self._stage:
            self._end_line()
            self._stage = stage
            elapsed_s = time.monotonic() - self._began
            self._line = f'{elapsed_s:6.1f} s  {stage}'
            self._stream.write(
                self._line if self._on_terminal else f'{self._line}\n')
        if self._on_terminal and part is not None:
            self._stream.write(f'\r{self._line}  {part:4.0%}')
        self._stream.flush()

    def _end_line(self):
        if self._on_terminal and self._stage is not None:
            self._stream.write('\n')
