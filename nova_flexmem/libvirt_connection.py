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

"""Connections to libvirt that change nothing."""

import contextlib

import libvirt

_SYSTEM = 'qemu:///system'


@contextlib.contextmanager
def read_only(uri=_SYSTEM):
    """Give a read-only connection to libvirt.

    :param uri: URI of the connection; default: that of the system's libvirtd
    :raises: libvirt.libvirtError if libvirt does not answer
    """
    # libvirt also prints errors by default; here they are exceptions
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.openReadOnly(uri)
    try:
        yield connection
    finally:
        connection.close()
