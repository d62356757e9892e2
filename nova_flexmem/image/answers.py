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

"""Lines that a program writes, read while it runs, in a bounded memory."""

import collections
import queue
import threading

#: What a line takes in memory besides its characters, about.
_LINE_BYTES = 64


class Answers:
    """The lines of a program's answers, each given when it is asked for.

    :param stream: the program's output, text
    :param max_bytes: how much one answer may take; what is over that is not
        read
    """

    def __init__(self, stream, max_bytes):
        self._stream = stream
        self._max_bytes = self._room_bytes = max_bytes
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.too_long = False
        threading.Thread(target=self._read, daemon=True).start()

    def expect(self):
        """Begin another answer."""
        self._room_bytes = self._max_bytes

    def next(self, timeout_s):
        """Return the next line; None at the end of all.

        :raises: queue.Empty if there is none in time
        """
        line = self._lines.get(timeout=timeout_s)
        if line is None:
            self._lines.put(None)  # for whoever asks next
        return line

    def _read(self):
        for line in iter(lambda: self._stream.readline(self._max_bytes), ''):
            self._room_bytes -= len(line) + _LINE_BYTES
            self.too_long = self._room_bytes < 0
            if self.too_long:
                break
            self._lines.put(line.rstrip('\n'))
        self._lines.put(None)


class Errors:
    """The last lines of what a program says of errors.

    :param stream: where it says them, text
    """

    def __init__(self, stream):
        self._stream = stream
        self._lines: collections.deque[str] = collections.deque(maxlen=20)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def cause(self):
        """Return the first error, else all lines; the program has ended."""
        self._reader.join(timeout=5)
        # the others are what follows from it
        causes = [line for line in self._lines if 'error:' in line][:1]
        return '\n'.join(causes or self._lines)

    def _read(self):
        for line in self._stream:
            if line.strip():
                self._lines.append(line.strip())
