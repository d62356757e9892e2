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

"""The libvirt of a compute node."""

import os
import shutil
import uuid

from tools.cloud import layout as cloud_layout


def write(layout, node, settings):
    """Write the files that cover the machine's own; return what covers what.

    QEMU runs as Debian's user for it, without privileges.
    """
    etc = layout.path(node, 'libvirt-etc')
    run = layout.path(node, 'run')
    # as at the start of any machine
    shutil.rmtree(run)
    os.mkdir(run)
    address = cloud_layout.NODES[node]
    first_port = 5900 + 100 * list(cloud_layout.NODES).index(node)
    _write(os.path.join(etc, 'qemu.conf'), [
        # they refuse what is mounted in /dev, see below
        'namespaces = []',
        # there is one tree of control groups for all nodes
        'cgroup_controllers = []',
        f'migration_address = "{address}"',
        # of VNC; the nodes share the ports of one loopback
        f'remote_display_port_min = {first_port}',
        f'remote_display_port_max = {first_port + 99}',
    ])
    _write(os.path.join(etc, 'libvirtd.conf'), [
        # the same after a power cut
        f'host_uuid = "{uuid.uuid5(uuid.NAMESPACE_URL, etc)}"',
        'auth_unix_rw = "none"',
        'unix_sock_group = "libvirt"',
        'unix_sock_rw_perms = "0770"',
        'log_outputs = "2:stderr"',
    ])
    mounts = [
        (etc, '/etc/libvirt'),
        (layout.path(node, 'libvirt-lib'), '/var/lib/libvirt'),
        (layout.path(node, 'libvirt-log'), '/var/log/libvirt'),
        (layout.path(node, 'libvirt-cache'), '/var/cache/libvirt'),
        (layout.path(node, 'host'), layout.host),
        (run, '/run'),
    ]
    if settings.usr and node in settings.usr_nodes:
        mounts.append((settings.usr, '/usr'))
    if settings.virt_type == 'qemu' and os.path.exists('/dev/kvm'):
        # libvirt learns a QEMU anew for each guest, which takes a minute,
        # where QEMU's user can open a KVM that does not work
        cover = layout.path(node, 'no-kvm')
        os.close(os.open(cover, os.O_CREAT, mode=0))
        mounts.append((cover, '/dev/kvm'))
    return mounts


def _write(path, lines):
    with open(path, 'w', encoding='ascii') as f:
        f.writelines(f'{line}\n' for line in lines)
