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

"""Root disks in Ceph RBD.

The record of an instance goes where its disk goes: it is in the metadata of
the image. The one in the instance's folder is a copy, for when Ceph does not
answer.
"""

import contextlib
import functools
import os

from oslo_log import log
from oslo_utils import fileutils

from nova.compute import task_states
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import imagebackend

from nova_flexmem import exception
from nova_flexmem.host import ceph
from nova_flexmem.virt import layered
from nova_flexmem.virt import rbdimage
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import rootdisk

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

#: What keys of records begin with; the instance's uuid follows. Clones have
#: the metadata of their parents, so that a record names its instance.
_PREFIX = 'nova-flexmem:'


class RbdDisk(rootdisk.RootDisk):
    """A root disk that is an image of Ceph RBD."""

    TRAITS = ('CUSTOM_FLEXMEM_RBD',)

    @functools.cached_property
    def _rbd_backend(self):
        rbdimage.require_bindings()
        return self._backend or imagebackend.Rbd(instance=self._instance,
                                                 disk_name='disk')

    @property
    def _rbd_driver(self):
        return self._rbd_backend.driver

    @property
    def _name(self):
        return f'{self._instance.uuid}_disk'

    @property
    def _key(self):
        return f'{_PREFIX}{self._instance.uuid}'

    @property
    def source(self):
        return f'{CONF.libvirt.images_rbd_pool}/{self._name}'

    @staticmethod
    def reserved_mib(bases):
        return 0  # DISK_GB is that of the pool, and the store is not in it

    @staticmethod
    def storage(conf):
        group = conf.libvirt
        return ceph.Ceph(
            pool=group.images_rbd_pool, conf=group.images_rbd_ceph_conf,
            user=group.rbd_user, secret=group.rbd_secret_uuid,
            timeout_s=group.rbd_connect_timeout, uri=group.connection_uri)

    def exists(self):
        return rbdimage.exists(self._rbd_driver, self._name)

    def is_certainly_stock(self):
        return False  # whatever its guest has written into it

    # -- making it

    def grow(self, size_bytes):
        with rbdimage.answering():
            self._grow(self._rbd_backend, size_bytes)

    @staticmethod
    def _grow(rbd_backend, size_bytes):
        # it would cut a disk that is larger
        if size_bytes > rbd_backend.get_disk_size(None):
            rbd_backend.resize_image(size_bytes)

    @contextlib.contextmanager
    def publishing(self, size_bytes, record):
        path = os.path.join(self._folder, 'disk.raw')
        try:
            fileutils.delete_if_exists(path)  # of one that was killed
            yield path
            with self._making() as name:
                rbdimage.create(self._rbd_driver, name, path)
                self._publish(name, record)
        finally:
            fileutils.delete_if_exists(path)

    def clone(self, context, image_id, size_bytes, record):
        with self._making() as name:
            rbd_backend = imagebackend.Rbd(
                path=f'{CONF.libvirt.images_rbd_pool}/{name}')
            try:
                rbd_backend.clone(context, image_id)
            except nova_exception.ImageUnacceptable as e:
                LOG.info('The delta is not made within Ceph: %s', e,
                         instance=self._instance)
                return False
            with rbdimage.answering():
                rootdisk.check_size(size_bytes,
                                    rbd_backend.get_disk_size(None))
                if layered.is_restored(self._instance):
                    # Glance could not delete the snapshot
                    rbd_backend.flatten()
                self._grow(rbd_backend, size_bytes)
            self._publish(name, record)
        return True

    @contextlib.contextmanager
    def _making(self):
        """Give the name of an image that is not whole yet.

        Nova removes it with the instance's other images, as all of these have
        names that begin with the uuid.
        """
        name = f'{self._name}.new'
        rbdimage.remove(self._rbd_driver, name)  # of one that was killed
        try:
            yield name
        except BaseException:
            with contextlib.suppress(exception.CephFailed):
                rbdimage.remove(self._rbd_driver, name)
            raise

    def _publish(self, name, record):
        rbdimage.write_note(self._rbd_driver, name, self._key, record.text(),
                            prefix=_PREFIX)
        rbdimage.rename(self._rbd_driver, name, self._name)

    def remove(self):
        with (contextlib.suppress(exception.DiskNotFound),
              rbdimage.answering()):
            self._rbd_driver.cleanup_volumes(
                lambda name: name.startswith(self._instance.uuid))

    # -- its record

    def record(self, ask=True):
        copy = self._copy_of_record()
        if copy is None and not ask or copy and (
                copy.writes == 'memory' or
                # the disk is as it was before the resize, and so is the copy;
                # the image's metadata is not rolled back with it
                self._instance.task_state == task_states.RESIZE_REVERTING):
            return copy
        try:
            text = rbdimage.read_note(self._rbd_driver, self._name, self._key)
        except exception.DiskNotFound:
            return copy  # the image is made after it
        except exception.CephFailed as e:
            if copy is None:
                raise exception.RecordUnusable(path=self.source, reason=str(e))
            LOG.warning('Its record is taken from its folder: %s', e,
                        instance=self._instance)
            return copy
        return text and record_module.parse(text, self.source)

    def _copy_of_record(self):
        try:
            return record_module.read(self._folder)
        except exception.RecordUnusable as e:
            LOG.warning('%s', e, instance=self._instance)
            return None

    def require_record(self):
        record = self.record()
        if record is None:
            raise exception.RecordUnusable(
                path=self.source, reason=f'its metadata has no {self._key};'
                f' another host may have it in {record_module.NAME} of the'
                ' instance\'s folder')
        return record

    def write_record(self, record):
        record.write(self._folder)
        if record.writes == 'memory':
            return
        text = record.text()
        with contextlib.suppress(exception.DiskNotFound):  # not made yet
            # a guest that runs would have to give away its lock for writing
            if text != rbdimage.read_note(self._rbd_driver, self._name,
                                          self._key):
                rbdimage.write_note(self._rbd_driver, self._name, self._key,
                                    text)

    # -- snapshots

    def check_snapshot_of_running(self, context):
        rbd_driver = self._rbd_driver
        try:
            with rbdimage.answering():
                self._rbd_backend._get_parent_pool(
                    context, self._instance.image_ref, rbd_driver.get_fsid())
        except nova_exception.ImageUnacceptable:
            raise exception.InstanceRefused(
                reason=f'its image {self._instance.image_ref} has no location'
                ' in this Ceph that Glance shows to Nova, so that Nova would'
                ' have to suspend it; stop it first')
