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

"""What guests of the density benchmark do after their boot."""

from oslo_utils import units

from nova_flexmem.demo import workload
from nova_flexmem import exception

_READ_BYTES = 300 * units.Mi
_WRITE_BYTES = 200 * units.Mi

_PROCESSES = 4

#: Much of Python's standard library, as a service would have it loaded.
_PROGRAM = """\
import argparse, asyncio, collections, concurrent.futures, contextlib, csv
import ctypes, dataclasses, datetime, decimal, difflib, email.message, hashlib
import hmac, html.parser, http.client, http.server, inspect, ipaddress, json
import logging.config, logging.handlers, multiprocessing, optparse, pickle
import pydoc, random, shutil, smtplib, socketserver, sqlite3, ssl, statistics
import subprocess, tarfile, tempfile, threading, tkinter.constants, typing
import unittest.mock, urllib.request, uuid, xml.dom.minidom
import xml.etree.ElementTree, xmlrpc.client, zipfile
"""

_START = """\
cat > /run/service.py << 'END'
import importlib, time
for line in open('/run/modules'):
    for name in line.replace('import', '').split(','):
        try:
            importlib.import_module(name.strip())
        except ImportError:
            pass  # a distribution may have it in a package of its own
open(f'/run/ready-{__import__("os").getpid()}', 'w').close()
time.sleep(1e9)
END
for number in NUMBERS; do
    systemd-run --quiet python3 /run/service.py
done
until [ "$(ls /run/ready-* 2> /dev/null | wc -l)" = COUNT ]; do sleep 1; done
"""

#: What unpacking packages does: a file's new version is written beside it and
#: renamed over it, and all is synced.
_UPGRADE = """\
cd /usr
cut -d ' ' -f 2- "$TMPDIR/files-to-read" | while read -r path; do
    cp -p "$path" "$path.dpkg-new" && mv "$path.dpkg-new" "$path" || exit 1
done
sync
"""


def idle(_guest):
    """Do nothing."""


def read(guest):
    """Read 300 MiB of programs and libraries of the image."""
    workload.choose_files(guest, _READ_BYTES)
    workload.read_files(guest)


def service(guest):
    """Run a Python service of 4 processes with much of its library loaded."""
    if guest.run('command -v python3')[0]:
        raise exception.BenchFailed(
            reason=f'guest {guest.name}: there is no python3 in its image,'
            ' which the workload service needs')
    guest.output(f"cat > /run/modules << 'END'\n{_PROGRAM}END\n")
    guest.output(_START.replace('NUMBERS', ' '.join(
        map(str, range(_PROCESSES)))).replace('COUNT', str(_PROCESSES)))


def upgrade(guest):
    """Write 200 MiB of the image's files anew, as an upgrade of packages does.

    The bad case: what is written is each guest's own.
    """
    workload.choose_files(guest, _WRITE_BYTES)
    guest.output(_UPGRADE)


WORKLOADS = {'idle': idle, 'read': read, 'service': service,
             'upgrade': upgrade}
