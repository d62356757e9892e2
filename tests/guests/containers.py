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

"""Container engines with a container each, and what they take on the host."""

import time

from nova_flexmem.host import memory
from tests.guests import rows

PACKAGES = ('buildah', 'crun', 'docker.io', 'fuse-overlayfs', 'podman',
            'slirp4netns', 'uidmap')

RAM_MIB = 768

#: Of the host's memory, FlexMem to stock
_RATIO = 0.65

#: A container's files: busybox, and what it is linked to.
_FILES = """
rm -rf image
mkdir -p image/bin
cp /bin/busybox image/bin
for library in $(ldd /bin/busybox | grep -o '/[^ ]*'); do
    mkdir -p image${library%/*}
    cp $library image$library
done
tar -C image -c . > image.tar
"""

_DOCKER = f"""
set -e
mkdir -p /root/docker
cd /root/docker
{_FILES}
docker import - row < image.tar
docker run --detach --name row --network none row /bin/busybox sh -c '
    echo text > /file; exec sleep 100000'
sleep 5
docker exec row /bin/busybox grep text /file
"""

_ROOTLESS = """
cd
{files}
podman import image.tar row
podman run --rm --network none row /bin/busybox echo from the container
podman info --format '{{{{.Store.GraphDriverName}}}}'
"""

_SETTLED = """
sync
until [ "$(cut -d . -f 1 /proc/uptime)" -gt {} ]; do sleep 1; done
"""


def _rootless(scene):
    guest = scene.guest
    guest.output('useradd --create-home --shell /bin/bash row'
                 ' && loginctl enable-linger row'
                 ' && mkdir -p /etc/flexmem /home/row/.local/share/containers'
                 ' && chown -R row: /home/row/.local'
                 ' && echo "/home/*/.local/share/containers"'
                 ' > /etc/flexmem/direct')
    guest.reboot()
    said = guest.output(
        "cat > /home/row/script << 'END'\n"
        f'{_ROOTLESS.format(files=_FILES)}END\n'
        'XDG_RUNTIME_DIR=/run/user/$(id -u row) HOME=/home/row'
        ' setpriv --reuid row --regid row --init-groups'
        ' sh -e /home/row/script')
    assert 'from the container' in said, said
    assert said.split()[-1] == 'overlay', said


def _memory(scene):
    """Compare what only the guest's QEMU has, FlexMem and stock."""
    private = {}
    for kind, guest in (('flexmem', scene.make_guest('measured')),
                        ('stock', scene.make_stock('stock'))):
        with guest:
            guest.wait_shell()
            guest.wait_multi_user()
            guest.output(_DOCKER, timeout_s=1200)
            # after the flush of what the boot read
            guest.output(_SETTLED.format(150), timeout_s=1200)
            time.sleep(20)
            private[kind] = memory.of_process(
                guest.pid, RAM_MIB << 20).private_bytes
    ratio = private['flexmem'] / private['stock']
    seen = ', '.join(f'{kind} {size / (1 << 20):.0f} MiB'
                     for kind, size in private.items()) + f': {ratio:.2f}'
    assert ratio <= _RATIO, seen
    return seen


ROWS = (
    rows.Row('docker', 'Docker: import an image, run a container', rows.WORKS,
             'with the storage driver ``overlay2``', f"""
({_DOCKER})
equal overlay2 "$(docker info --format '{{{{.Driver}}}}')"
docker rm --force row
"""),
    rows.Row('podman', 'Podman as root', rows.WORKS, '', f"""
{_FILES}
podman import image.tar row
podman run --rm --network none row /bin/busybox echo text | grep text
equal overlay "$(podman info --format '{{{{.Store.GraphDriverName}}}}')"
"""),
    rows.Row('buildah', 'Buildah', rows.WORKS, '', f"""
{_FILES}
container=$(buildah from scratch)
buildah add $container image /
buildah run --isolation chroot $container /bin/busybox touch /file
buildah commit $container built
buildah images | grep built
"""),
    rows.Row('podman-rootless', 'Podman without root', rows.DIFFERS,
             'Write ``/home/*/.local/share/containers`` to'
             ' ``/etc/flexmem/direct`` and reboot.', _rootless),
    rows.Row('memory', 'Memory on the host, with Docker and a container: at'
             f' most {_RATIO} of an ordinary server', rows.WORKS, '',
             _memory),
)
