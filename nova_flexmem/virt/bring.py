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

"""Brings a base from another host, by Nova's own way of copying disks.

The other host is believed nothing: the layout has to be the one that is
wanted, and every byte is read and compared with the manifest.
"""

import os

from oslo_concurrency import processutils
from oslo_log import log
from oslo_utils import units

import nova.conf
from nova import objects
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import locks
from nova_flexmem.store import room
from nova_flexmem.virt import layered
from nova_flexmem.virt import worker

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

#: How many hosts are asked for a base.
_MAX_HOSTS = 8


def hosts_with(context, image_id):
    """Return other hosts that have instances of an image, and so bases of it.

    :param image_id: a Glance id
    """
    instances = objects.InstanceList.get_by_filters(
        context.elevated(), {'deleted': False, 'system_metadata': {
            layered.SYSTEM_KEY: image_id}}, expected_attrs=[])
    return sorted({instance.host for instance in instances}
                  - {None, CONF.host})[:_MAX_HOSTS]


def bring(store, group, wanted, scope, host, source=None):
    """Bring a base into the store.

    :param group: the [flexmem] options
    :param wanted: the layered.Wanted
    :param scope: who may share the base
    :param host: name of the host that may have it
    :param source: the folder of bases there; None: the same as here
    :returns: whether it is in the store now
    """
    key = wanted.base_key
    source = os.path.join(source or store.folder('bases'), key)
    LOG.info('Bringing base %s from host %s', key, host)
    try:
        with (store.lock(locks.BUILD, key),
              store.build_folder(key) as build_folder):
            folder = os.path.join(build_folder, key)
            os.mkdir(folder)
            _copy(source, basefiles.MANIFEST, folder, host)
            brought = basefiles.Base(folder)
            if not wanted.is_met_by(brought, scope):
                raise exception.BaseDamaged(
                    path=folder, key=key, reason=f'{host} has another layout'
                    ' of the image under this key')
            room.make_room(store, sum(file.size_bytes for file
                                      in brought.manifest.files.values()),
                           group.max_store_size_gib * units.Gi)
            for name in basefiles.FILES:
                _copy(source, name, folder, host)
            worker.call('verify', group, folder=folder)
            store.publish(folder, key)
    except (exception.FlexMemException, OSError,
            processutils.ProcessExecutionError) as e:
        LOG.warning('Could not bring base %(key)s from %(host)s: %(e)s',
                    {'key': key, 'host': host, 'e': e})
        return False
    return True


def _copy(source, name, folder, host):
    libvirt_utils.copy_image(os.path.join(source, name),
                             os.path.join(folder, name), host=host,
                             receive=True)
