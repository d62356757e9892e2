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

"""Puts FlexMemDriver in LibvirtDriver's place, for all of a process.

``FLEXMEM_NOVA_TESTS=stock`` keeps Nova's driver in its place, to tell which
tests fail with that as well.
"""

import atexit
import importlib.metadata
import os
import shutil
import tempfile
import types
import warnings

from oslo_config import cfg
from sqlalchemy import exc as sqlalchemy_exc

from nova.conf import paths
from nova.privsep import linux_net
from nova.tests import fixtures as nova_fixtures
from nova.virt import fake
from nova.virt import libvirt
from nova.virt.libvirt import driver as libvirt_driver

from nova_flexmem import conf as flexmem_conf
from nova_flexmem.virt import driver
from nova_flexmem.virt import readiness
from nova_flexmem.virt import record

# before Nova's tests replace either
_lexists = os.path.lexists
_read = record.read

#: Whether Nova's own driver stays.
STOCK = os.environ.get('FLEXMEM_NOVA_TESTS') == 'stock'


class _WarningsFixture(nova_fixtures.WarningsFixture):
    """Nova's, which makes errors of warnings, without one of them."""

    def setUp(self):
        super().setUp()
        # Nova uses it; releases of SQLAlchemy that are newer than this Nova
        # deprecate it
        warnings.filterwarnings('ignore', message=r'.*noload',
                                category=sqlalchemy_exc.SADeprecationWarning)


def prepare():
    """Let Nova's tests run outside of Nova's tree, and as root."""
    folder = tempfile.mkdtemp(prefix='flexmem-nova-tests-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, 'etc/nova'))
    shutil.copy(_api_paste(), os.path.join(folder, 'etc/nova'))
    cfg.set_defaults(paths.ALL_OPTS, state_path=folder)
    cfg.set_defaults(flexmem_conf.OPTS,
                     store_path=os.path.join(folder, 'store'))
    nova_fixtures.WarningsFixture = _WarningsFixture
    # they make real devices, where they may
    for name in ('create_tap_dev', 'set_device_mtu', 'delete_net_dev'):
        setattr(linux_net, name, lambda *_args, **_kwargs: None)


def _api_paste():
    """Return the path of the file that Nova's package installs."""
    for path in importlib.metadata.files('nova') or []:
        if path.name == 'api-paste.ini':
            return path.locate()
    raise LookupError('the package nova has no api-paste.ini')


def _read_what_is_there(folder, needed=False):
    """Read a record as the driver does, unless open() alone pretends it.

    Many of Nova's tests replace open(), so that any file seems to be there.
    """
    if not needed and not _lexists(os.path.join(folder, record.NAME)):
        return None
    return _read(folder, needed)


def put():
    """Give Nova's tests the FlexMem driver for LibvirtDriver."""
    ours, stock = driver.FlexMemDriver, libvirt_driver.LibvirtDriver
    # fixtures.MonkeyPatch puts inherited ones back as ordinary methods
    for name, value in vars(stock).items():
        if isinstance(value, (staticmethod, classmethod)):
            if name not in vars(ours):
                setattr(ours, name, value)
    # ours calls methods of its base class by that class's name
    driver.libvirt_driver = types.SimpleNamespace(**vars(libvirt_driver))
    libvirt.LibvirtDriver = libvirt_driver.LibvirtDriver = ours
    # it would start a worker at each start of a driver
    readiness.Readiness.start = lambda self: None
    record.read = _read_what_is_there
    # the real one has it
    fake.FakeVirtAPI.reportclient = None
