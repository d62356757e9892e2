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

"""/etc/fstab of a base: less what the base itself now is."""

_HEADER = ('# Lines marked "flexmem:" mounted parts of the image; in a FlexMem'
           ' instance these are\n# in the root filesystem already, and swap'
           ' space of the image does not exist.\n')


def reduce(text, mountpoints):
    """Return an fstab without the image's own filesystems and swap.

    What else is in it stays as it is: pseudo filesystems, network shares,
    volumes that are attached to the instance.

    :param text: the image's fstab (see fstab(5))
    :param mountpoints: where filesystems of the image are mounted
    """
    gone = {point.rstrip('/') for point in mountpoints} | {''}
    lines = []
    changed = False
    for line in text.removesuffix('\n').split('\n'):
        fields = line.split()
        if (len(fields) >= 3 and not fields[0].startswith('#')
                and (fields[2] == 'swap' or fields[1].rstrip('/') in gone)):
            line = f'# flexmem: {line}'
            changed = True
        lines.append(line)
    return (_HEADER if changed else '') + '\n'.join(lines) + '\n'
