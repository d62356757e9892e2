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

"""The encrypted devices that an image's /etc/crypttab opens.

Those of the image's own disk do not exist in a FlexMem instance, which would
wait for them at each start.
"""

from nova_flexmem.image import identifiers

_MARK = '# flexmem: '


def names(text, known):
    """Return the names under /dev/mapper of the image's own devices.

    :param text: the image's crypttab
    :param known: what identifiers.find() returned, of all devices
    """
    return {line.split()[0] for line in text.split('\n')
            if _is_own(line, known)}


def reduce(text, known):
    """Return a crypttab without the image's own devices."""
    return '\n'.join(f'{_MARK}{line}' if _is_own(line, known) else line
                     for line in text.split('\n'))


def restore(text):
    """Undo reduce() in a crypttab that a guest may have changed since."""
    return '\n'.join(line.removeprefix(_MARK) for line in text.split('\n'))


def _is_own(line, known):
    fields = line.split()
    return (len(fields) >= 2 and not fields[0].startswith('#')
            and identifiers.normal(fields[1]) in known)
