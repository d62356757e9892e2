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

"""What the checks of nova-flexmem-status say of where root disks are."""

import importlib

from oslo_upgradecheck import upgradecheck


def of(conf):
    """Return the host.ceph.Ceph that root disks are in, None if in none.

    :param conf: a ConfigOpts with the options of status.new_conf()
    """
    if 'libvirt' not in conf:
        return None  # Nova cannot be imported
    return _kinds().kind(conf.libvirt.images_type).storage(conf)


def notes(conf):
    """Return pairs of a code and a text, on Nova's options."""
    if conf.libvirt.images_type not in _kinds().IMAGES_TYPES:
        return [(upgradecheck.Code.FAILURE, '[libvirt] images_type is'
                 f' {conf.libvirt.images_type}, and FlexMem needs the disks of'
                 ' instances in files or in Ceph; set it to qcow2, raw or'
                 ' rbd')]
    if of(conf) and not (
            conf.workarounds.ensure_libvirt_rbd_instance_dir_cleanup):
        return [(upgradecheck.Code.WARNING, 'this host keeps the folders, and'
                 ' so the bases, of instances that were evacuated from it; set'
                 ' [workarounds] ensure_libvirt_rbd_instance_dir_cleanup to'
                 ' true')]
    return []


def _kinds():
    return importlib.import_module('nova_flexmem.virt.diskkinds')
