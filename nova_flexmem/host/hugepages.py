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

"""The host's settings of transparent huge pages.

They matter to free page reporting: where a guest returns blocks smaller than a
huge page, khugepaged may fill the holes with new memory to make a huge page
again (max_ptes_none), and the memory is lost again.

Source: Documentation/admin-guide/mm/transhuge.rst.
"""

import os

from nova_flexmem.host import sysfs

FOLDER = '/sys/kernel/mm/transparent_hugepage'

#: The file with the number of missing pages that khugepaged may fill in.
MAX_FILLED = 'khugepaged/max_ptes_none'


def mode(folder=FOLDER):
    """Return which memory gets huge pages: 'always', 'madvise' or 'never'."""
    return _setting(folder, 'enabled', 'never')


def max_filled_pages(folder=FOLDER):
    """Return how many missing pages khugepaged may fill in per huge page.

    0 means that it does not undo free page reporting.
    """
    # QEMU asks for huge pages with madvise(2), so only "never" excludes it
    if mode(folder) == 'never':
        return 0
    return int(_setting(folder, MAX_FILLED, '0'))


def _setting(folder, name, default):
    try:
        return sysfs.setting(os.path.join(folder, name))
    except FileNotFoundError:  # the kernel has no huge pages
        return default
