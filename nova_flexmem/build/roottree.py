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

"""The root tree of an image in an appliance: what it holds, what can hold it.

It is at /sysroot there, mounted read-only.
"""

import base64

from nova_flexmem.build import rootfs
from nova_flexmem import exception

_ROOT = '/sysroot'


def replace(appliance, texts):
    """Lay other files over some of the image's, which stay as they are.

    :param texts: {path in /etc: what it is to say}
    :raises: ProgramFailed
    """
    for number, (path, text) in enumerate(texts.items()):
        encoded = base64.b64encode(
            text.encode(errors='surrogateescape')).decode()
        appliance.shell(f"""
            old={_ROOT}{path} new=/tmp/replaced{number}
            if [ -f $old ] && ! [ -L $old ] && ! [ -L {_ROOT}/etc ]; then
                cp -a $old $new
                echo {encoded} | base64 -d > $new
                touch -r $old $new
                mount --bind $new $old
            fi""")


def measure(appliance):
    """Return the rootfs.Content of the tree.

    :raises: ProgramFailed
    """
    lines = appliance.shell(_measuring(_ROOT))
    try:
        numbers = [*map(int, ' '.join(lines).split())]
        if len(numbers) != 4 or min(numbers) < 0:
            raise ValueError
    except ValueError:
        raise exception.ProgramFailed(
            program='find', reason='its output is not four sizes:'
            f' {lines[:1]}')
    return rootfs.Content(*numbers)


def _measuring(folder):
    """Return a shell script that prints the fields of a tree's Content."""
    return (f"LC_ALL=C find {folder} -printf '%D:%i %y %s\n'"
            f" -name '{'?' * 255}' -printf 'longest %D:%i\n' | sort -u |"
            " gawk '"
            '$1 == "longest" { longest++; next }'
            ' { inodes++; size = $2 == "d" && $3 < 4096 ? 4096 : $3;'
            ' blocks += int((size + 4095) / 4096) }'
            " END { print blocks, inodes, longest + 0 }'\n"
            f"if grep -q '^[^ ]* {folder}[^ ]* btrfs ' /proc/mounts; then"
            f" getfattr -R -P -h --absolute-names -m '^btrfs[.]' {folder} |"
            " gawk '/^btrfs[.]/ { count++ } END { print count + 0 }';"
            " else echo 0; fi")


def choose_rootfs(wanted, kernel, content, image):
    """Return the RootFilesystem that the tree gets.

    :param wanted: as [flexmem] rootfs
    :param kernel: the image's kernel.Kernel
    :param content: the tree's rootfs.Content
    :param image: the image's path, for messages
    :raises: ImageRefused if none can be had
    """
    names = kernel.rootfs if wanted == 'auto' else (wanted,)
    if not set(names) <= set(kernel.rootfs):
        raise exception.ImageRefused(
            image=image, reason=f'its kernel {kernel.release} cannot mount'
            f' {wanted} with DAX; build it with --rootfs auto')
    for driver in map(rootfs.load, names):
        if driver.holds(content):
            return driver
    odd = ('names of 255 bytes' if content.longest_names
           else 'properties of btrfs, such as compression')
    raise exception.ImageRefused(
        image=image, reason=f'files in it have {odd}, and'
        f' {" and ".join(names)} cannot have them; build it with --rootfs'
        ' auto')
