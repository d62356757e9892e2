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

"""Progress of long work: a bar on a terminal, plain lines otherwise."""

import time

import tqdm


class Progress:
    """Reports stages; a context manager, and a callable for the worker.

    :param stream: where to, usually standard error
    """

    def __init__(self, stream):
        self._stream = stream
        self._stage = None
        self._bar = None

    def __enter__(self):
        self._began = time.monotonic()
        return self

    def __exit__(self, *_exc):
        self._end_stage()

    def __call__(self, stage, part=None):
        """Say how far a stage is.

        :param stage: its name
        :param part: the fraction done, None where that is not known
        """
        if stage != self._stage:
            self._end_stage()
            self._stage = stage
            if self._stream.isatty():
                self._bar = tqdm.tqdm(
                    total=100, desc=stage, file=self._stream, leave=True,
                    bar_format='{desc:<42} {bar:30} {n:3.0f} %'
                               ' {elapsed}' if part is not None
                    else '{desc:<42} {elapsed}')
            else:
                elapsed = time.monotonic() - self._began
                self._stream.write(f'{elapsed:6.1f} s  {stage}\n')
                self._stream.flush()
        if self._bar is not None:
            self._bar.n = 100 * part if part is not None else 0
            self._bar.refresh()

    def _end_stage(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None
