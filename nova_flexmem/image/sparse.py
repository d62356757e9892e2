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

"""Sparse files."""

import errno
import os
import threading


def extents(fd):
    """Yield (offset, size), in bytes, of each part of a file that has data."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:  # a hole to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end - start


def written_bytes(path):
    """Return how much of a file has data."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return sum(size for _offset, size in extents(fd))
    finally:
        os.close(fd)


class Watch:
    """Reports how far a file is written, until the end of the context."""

    def __init__(self, path, expected_bytes, progress):
        self._path = path
        self._expected_bytes = max(1, expected_bytes)
        self._progress = progress
        self._ended = threading.Event()

    def __enter__(self):
        self._progress(0.0)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_exc):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(1):
            self._progress(min(1.0, written_bytes(self._path)
                               / self._expected_bytes))
