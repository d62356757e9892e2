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

"""The order of kernel releases: which kernel of an image is the newest."""

import functools
import heapq
import re

from debian import debian_support
import rpm_vercmp

#: What a release looks like: the name of a folder in /lib/modules.
RELEASE = re.compile(r'\d[\w.+~-]{0,100}', re.ASCII)

#: The two orders. They differ: of 5.14.0-611.5.1.el9_7 and 5.14.0-611.el9, the
#: first is newer for rpm and older for dpkg.
RPM, DPKG = 'rpm', 'dpkg'

#: Kernels for developers, for repairs and for special uses.
_SPECIAL = re.compile(
    r'(?:^|[\d.+_~-])(?:debug|dbg|rescue|rc\d*|rt\d*|kdump)(?![a-z])',
    re.IGNORECASE)

#: Comparing is slow; of more names the roughly newest ones are compared.
_MAX_COMPARED = 60


def order_of(tree):
    """Return the order in which an image's own package manager sees releases.

    :param tree: the image's operating_system.Tree
    """
    return DPKG if tree.is_file('/var/lib/dpkg/status') else RPM


def newest_first(releases, order):
    """Return releases, the newest first, special ones behind all others.

    :param releases: names; those that are no releases are left out
    :param order: RPM or DPKG
    """
    known = heapq.nlargest(
        _MAX_COMPARED, {*filter(RELEASE.fullmatch, releases)}, key=_roughly)
    compare = _dpkg if order == DPKG else rpm_vercmp.vercmp
    newest = functools.cmp_to_key(compare)
    return sorted(known, reverse=True,
                  key=lambda release: (not is_special(release),
                                       newest(release), release))


def is_special(release):
    """Return whether a kernel is none that a system runs as a rule.

    These are release candidates, real-time kernels, and kernels for debugging
    and for rescue.
    """
    return bool(_SPECIAL.search(release))


def version(release):
    """Return the first two numbers of a release, (6, 1) of 6.1.0-9-amd64."""
    return tuple(int(part) for part in re.findall(r'\d+', release)[:2])


def _dpkg(first, second):
    # a version of Debian has no underscore
    return debian_support.version_compare(*(
        release.replace('_', '.') for release in (first, second)))


def _roughly(release):
    """Return a sort key: numbers compare as numbers (as sort -V does)."""
    return (not is_special(release), [
        (1, int(part), '') if part.isdigit() else (0, 0, part)
        for part in re.findall(r'\d+|\D+', release)])
