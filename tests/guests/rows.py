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

"""What software expects of a server: a row of the table, and its check."""

import dataclasses
import typing

from lxml import etree

from nova_flexmem import exception

#: What came of an expectation. A row that differs says what to do instead, a
#: row that fails says why.
WORKS = 'works'
DIFFERS = 'works differently'
FAILS = 'does not work'

#: What runs before each script: a folder of its own on the overlay, and
#: names for the image's files and for new ones.
_PRELUDE = """
set -e
export LC_ALL=C.UTF-8
folder=/root/rows/{name}
mkdir -p $folder
cd $folder
fails() {{
    if "$@"; then echo "this should fail: $*"; exit 1; fi
}}
equal() {{
    [ "$1" = "$2" ] || {{ echo "expected: $1; is: $2"; exit 1; }}
}}
"""


@dataclasses.dataclass
class Scene:
    """Where rows are checked.

    :ivar guest: the demo Guest of the group, which takes scripts
    :ivar make_guest: returns another Guest of the group's image, which is not
        started; its parameters are a name, and the path of a delta to copy
    :ivar make_stock: returns a stock Guest of it, for a name
    """

    guest: typing.Any
    make_guest: typing.Callable | None = None
    make_stock: typing.Callable | None = None

    @property
    def disk(self):
        """The path of the guest's delta."""
        return etree.fromstring(self.guest.xml).xpath(
            'devices/disk/source/@file')[0]


@dataclasses.dataclass(frozen=True)
class Row:
    """One expectation.

    :ivar name: how the row is named on command lines
    :ivar title: what is expected, for the table
    :ivar result: WORKS, DIFFERS or FAILS
    :ivar note: for the table: what to do, or why not
    :ivar check: a shell script that ends with 0 if the guest is as the row
        says, or a function that gets the Scene and raises AssertionError or
        DemoFailed if it is not
    :ivar tried: whether the check has been run, and was right
    """

    name: str
    title: str
    result: str
    note: str
    check: str | typing.Callable
    timeout_s: int = 600
    tried: bool = True

    def run(self, scene):
        """Run the check.

        :returns: (what is not as the row says, or None; what was seen, text)
        """
        try:
            if callable(self.check):
                return None, self.check(scene) or ''
            code, text = scene.guest.run(
                _PRELUDE.format(name=self.name) + self.check,
                timeout_s=self.timeout_s)
        except (AssertionError, exception.DemoFailed) as e:
            return str(e) or 'an assertion failed', ''
        return (f'exit code {code}: {text.strip()}' if code else None), ''


def untried(those):
    """Return rows whose checks have not been run yet; no page has them."""
    return tuple(dataclasses.replace(row, tried=False) for row in those)


def python(script):
    """Return a shell script that runs a Python program."""
    return f"python3 - << 'END'\n{script}\nEND\n"
