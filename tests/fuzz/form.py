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

"""How the input of a target that takes several texts is written.

A line that begins with "== " names the text that follows it::

    == /etc/default/grub
    GRUB_CMDLINE_LINUX=quiet
"""

import re

_HEAD = re.compile(rb'^== ([^\n]*)\n', re.MULTILINE)


def parts(data):
    """Return {name: bytes} of an input; what is before all names is ''."""
    first, *rest = _HEAD.split(data)
    found = {'': first}
    for name, content in zip(rest[::2], rest[1::2]):
        found[name.decode(errors='surrogateescape')] = content
    return found


def text(content):
    """Return bytes as operating_system.Tree.read_text() does."""
    return content.decode(errors='surrogateescape')
