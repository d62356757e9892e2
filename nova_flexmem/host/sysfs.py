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

"""The kernel's settings in sysfs."""


def setting(path):
    """Return the content of a settings file, text.

    Where the file lists choices, as in "always [madvise] never", it is the
    word in brackets.

    :raises: OSError
    """
    with open(path, encoding='ascii') as f:
        content = f.read().strip()
    chosen = content.partition('[')[2].partition(']')[0]
    return chosen if '[' in content else content
