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

"""Upgrades of packages, boot loaders and kernels among them."""

from tests.functional import aptrepo
from tests.guests import rows

#: What is installed in a guest; apt knows what else that needs.
INSTALLED = ('dracut', 'grub-cloud-amd64', 'unattended-upgrades')

_APT = """
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
"""

#: As a Debian server has it; the repository calls itself so.
_SOURCES = f"""
mkdir -p /media/row
mountpoint -q /media/row || mount -o ro LABEL={aptrepo.VOLUME} /media/row
echo 'deb [trusted=yes] file:/media/row ./' > /etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
apt-get -q update
"""


def _assert_sound(guest):
    """Check what dpkg thinks, then the next boot."""
    assert not guest.output('dpkg --audit')
    guest.reboot()
    state = guest.system_state()
    assert (state.state, state.failed_units) == ('running', []), state


def _run(scene, script):
    said = scene.guest.output(f'set -e\n{_APT}{_SOURCES}{script}',
                              timeout_s=3000)
    _assert_sound(scene.guest)
    return said


def _unattended(scene):
    said = _run(scene, """
        $apt install unattended-upgrades > /dev/null
        unattended-upgrade -v
        """)
    assert 'All upgrades installed' in said, said


def _full_upgrade(scene):
    _run(scene, """
        $apt full-upgrade
        $apt full-upgrade | grep -q '^0 upgraded, 0 newly installed'
        """)


def _grub_pc(scene):
    said = _run(scene, """
        # as cloud-init does it at the first boot
        echo grub-pc grub-pc/install_devices multiselect \
            /dev/disk/by-id/virtio-flexmem-delta | debconf-set-selections
        echo grub-pc grub-pc/install_devices_empty boolean false |
            debconf-set-selections
        $apt install --reinstall grub-pc grub2-common grub-pc-bin
        """)
    assert 'grub-install success' in said, said


def _grub_cloud(scene):
    said = _run(scene, """
        $apt install grub-cloud-amd64
        $apt install --reinstall grub-cloud-amd64 grub-efi-amd64-signed \
            shim-signed
        """)
    assert 'Failed: grub-install' not in said, said


def _grub_elsewhere(scene):
    """A disk of the user's gets a boot loader as ever."""
    scene.guest.output("""
        set -e
        truncate -s 64M /var/lib/docker/disk
        sfdisk -q /var/lib/docker/disk << 'END'
label: gpt
size=2048, type=21686148-6449-6E6F-744E-656564454649
type=linux
END
        disk=$(losetup -P -f --show /var/lib/docker/disk)
        mkfs.ext4 -q ${disk}p2
        mount ${disk}p2 /mnt
        mkdir /mnt/boot
        grub-install --target=i386-pc --boot-directory=/mnt/boot $disk
        test -e /mnt/boot/grub/i386-pc/core.img
        umount /mnt
        losetup -d $disk
        rm /var/lib/docker/disk
        """)


def _dracut(scene):
    said = _run(scene, """
        $apt install dracut
        dpkg-reconfigure linux-image-$(uname -r)
        """)
    assert 'dracut' in said, said


ROWS = (
    rows.Row('unattended', 'unattended-upgrades', rows.WORKS, '', _unattended,
             tried=False),
    rows.Row('full-upgrade', '``apt full-upgrade``, with a kernel',
             rows.WORKS, '', _full_upgrade, tried=False),
    rows.Row('grub-pc', 'Upgrade of ``grub-pc`` that runs'
             ' ``grub-install``', rows.DIFFERS,
             '``grub-install`` on the root disk says that there is nothing'
             ' to install, and succeeds.', _grub_pc),
    rows.Row('grub-cloud', 'Upgrade of ``grub-cloud-amd64``,'
             ' ``grub-efi-amd64-signed`` and ``shim-signed``',
             rows.DIFFERS, 'as above', _grub_cloud, tried=False),
    rows.Row('grub-elsewhere', '``grub-install`` on another disk',
             rows.WORKS, '', _grub_elsewhere),
    rows.Row('dracut', 'Kernel packages with dracut in place of'
             ' initramfs-tools', rows.WORKS, '', _dracut, tried=False),
)
