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

"""The host's transparent huge pages, and how they undo what guests hand back.

A guest that hands back pieces smaller than a huge page leaves one with holes.
khugepaged makes a whole one of it again where it may fill in the pages that
are missing (max_ptes_none), which takes the memory back.

Source: Documentation/admin-guide/mm/transhuge.rst.
"""

import os

from nova_flexmem.host import sysfs

FOLDER = '/sys/kernel/mm/transparent_hugepage'

#: The file that says how many missing pages khugepaged may fill in.
FILL = 'khugepaged/max_ptes_none'


def chosen(folder=FOLDER):
    """Return who gets huge pages: always, madvise or never."""
    return _setting(folder, 'enabled', 'never')


def filled_in(folder=FOLDER):
    """Return how many missing pages khugepaged fills in for one huge page."""
    # QEMU asks for huge pages (madvise), so "never" alone keeps it out
    if chosen(folder) == 'never':
        return 0
    return int(_setting(folder, FILL, '0'))


def _setting(folder, name, without):
    try:
        return sysfs.setting(os.path.join(folder, name))
    except FileNotFoundError:  # a kernel without huge pages
        return without
