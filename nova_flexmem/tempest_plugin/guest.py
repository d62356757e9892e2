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

"""A guest that says on its serial console what it runs from."""

import base64
import dataclasses
import json

_WORD = 'FLEXMEM-TEMPEST '

#: Counts the boots in a file of the guest's, then says it several times, in
#: lines of their own, as other programs write to the console too.
_SCRIPT = """\
echo >> /var/lib/flexmem-tempest
sync
boots=$(wc -l < /var/lib/flexmem-tempest)
root=$(awk '$2 == "/" { type = $3 } END { print type }' /proc/mounts)
lower=$(awk '$2 == "/run/flexmem/lower" { print $3 }' /proc/mounts)
dax=false
grep -qE ' /run/flexmem/lower .*[ ,]dax(=always)?[ ,]' /proc/mounts && dax=true
set -- $(stat -f -c '%b %S' /)
for again in 1 2 3 4 5; do
    printf '\\n'
    printf 'FLEXMEM-TEMPEST {"boots": %s, "root": "%s", "lower": "%s", ' \\
        "$boots" "$root" "$lower"
    printf '"dax": %s, "root_bytes": %s}\\n' $dax $(($1 * $2))
    sleep 1
done > /dev/ttyS0
"""

#: cloud-init shall do nothing else: making SSH host keys, for one, takes
#: longer without KVM than all the rest of a boot.
_CLOUD_CONFIG = {
    'cloud_init_modules': ['bootcmd'], 'cloud_config_modules': [],
    'cloud_final_modules': [],
    'bootcmd': [['sh', '-c', _SCRIPT]]}


@dataclasses.dataclass(frozen=True)
class Status:
    """What a guest has written about itself on its console.

    :ivar boots: how often its system has started, this time included
    :ivar root: type of its root filesystem
    :ivar lower: type of the filesystem below the overlay, or ''
    :ivar dax: whether that is mounted with DAX
    :ivar root_bytes: size of its root filesystem
    """

    boots: int
    root: str
    lower: str
    dax: bool
    root_bytes: int


def user_data():
    """Return the user data that makes a guest say it, as Nova takes it."""
    text = f'#cloud-config\n{json.dumps(_CLOUD_CONFIG)}\n'
    return base64.b64encode(text.encode()).decode()


def status(console):
    """Return the last Status on a console, or None.

    :param console: text
    """
    last = None
    for line in console.splitlines():
        _before, word, text = line.partition(_WORD)
        try:
            last = Status(**json.loads(text)) if word else last
        except (ValueError, TypeError):
            continue  # something else was written into the line
    return last
