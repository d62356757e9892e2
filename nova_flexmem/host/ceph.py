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

"""Checks by trial whether this host can keep root disks in Ceph RBD."""

import dataclasses
import importlib

import libvirt

from nova_flexmem import exception
from nova_flexmem import libvirt_connection
from nova_flexmem import process

_TIMEOUT_S = 60


@dataclasses.dataclass(frozen=True)
class Ceph:
    """Nova's options of the group [libvirt] that name a Ceph and a pool.

    :ivar pool: images_rbd_pool
    :ivar conf: images_rbd_ceph_conf; empty: Ceph's own places
    :ivar user: rbd_user; None: Ceph's own choice
    :ivar secret: rbd_secret_uuid; None where guests need none
    :ivar timeout_s: rbd_connect_timeout
    :ivar uri: of libvirt, connection_uri; empty: the system's
    """

    pool: str
    conf: str
    user: str | None
    secret: str | None
    timeout_s: int
    uri: str


def check(ceph):
    """Check what root disks in Ceph need.

    :param ceph: the Ceph
    :returns: a sentence
    :raises: HostUnfit
    """
    _check_qemu()
    _check_pool(ceph)
    _check_secret(ceph)
    return f'QEMU, this Python and libvirt can use the pool {ceph.pool}'


def _check_qemu():
    try:
        # without a name of an image it asks no Ceph
        process.run('qemu-img', 'info', 'rbd:', timeout_s=_TIMEOUT_S)
    except exception.ProgramFailed as e:
        if 'nknown protocol' in str(e):
            raise exception.HostUnfit(
                reason='its QEMU has no driver for rbd; install'
                ' qemu-block-extra, or qemu-kvm-block-rbd')


def _check_pool(ceph):
    try:
        rados, _rbd = map(importlib.import_module, ('rados', 'rbd'))
    except ImportError as e:
        raise exception.HostUnfit(
            reason=f'{e} in the Python of nova-compute; install python3-rados'
            ' and python3-rbd, and let it see them')
    try:
        client = rados.Rados(rados_id=ceph.user, conffile=ceph.conf)
        try:
            client.connect(timeout=ceph.timeout_s)
            client.open_ioctx(ceph.pool).close()
        finally:
            client.shutdown()
    except rados.ObjectNotFound as e:
        raise exception.HostUnfit(
            reason=f'Ceph has no pool {ceph.pool}, or ceph.conf or the keyring'
            f' is not there ({e}); look at [libvirt] images_rbd_pool,'
            ' images_rbd_ceph_conf and rbd_user')
    except rados.Error as e:
        raise exception.HostUnfit(
            reason=f'Ceph does not answer ({e}); look at "ceph status", and'
            ' at [libvirt] images_rbd_ceph_conf and rbd_user')


def _check_secret(ceph):
    if not ceph.secret:
        if ceph.user:
            raise exception.HostUnfit(
                reason='[libvirt] rbd_user is set, and rbd_secret_uuid is not,'
                ' so that QEMU has no key; set it to a secret of libvirt')
        return
    try:
        with libvirt_connection.read_only(
                *filter(None, [ceph.uri])) as connection:
            connection.secretLookupByUUIDString(ceph.secret)
    except libvirt.libvirtError as e:
        raise exception.HostUnfit(
            reason=f'libvirt does not have the secret {ceph.secret} of'
            f' [libvirt] rbd_secret_uuid ({e}); define it with "virsh'
            ' secret-define"')
