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

"""Where Debian's packages come from: the sources that this host's apt has."""

import platform

from nova_flexmem import exception
from nova_flexmem import process

_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

#: One line per index; $(ORIGIN) is what the archive says of itself.
_FORMAT = '$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)'


def for_suite(suite):
    """Return one-line apt sources of a Debian suite, from the host's own.

    The suite itself (its last point release) comes first, then its updates
    and security fixes where the host has those of its own suite.

    :param suite: for example bookworm
    :raises: DemoFailed if this host's apt has no Debian source
    """
    targets = process.run('apt-get', 'indextargets', '--format', _FORMAT,
                          'Created-By: Packages', timeout_s=60)
    codename = platform.freedesktop_os_release().get('VERSION_CODENAME', '')
    return derive(targets, codename, suite)


def derive(targets, codename, suite):
    """Return sources of a suite, made from the indexes of the host's suite.

    :param targets: what apt-get indextargets wrote
    :param codename: the host's suite
    """
    uris: dict[str, str] = {}
    for line in targets.splitlines():
        origin, component, release, uri = line.split('|')
        if (origin, component) == ('Debian', 'main'):
            uris.setdefault(release, uri)
    if not codename or codename not in uris:
        raise exception.DemoFailed(
            reason='apt on this host has no index of Debian packages; run'
                   ' "apt-get update", or give an image with --image')
    return [f'deb [signed-by={_KEYRING}] {uris[codename + part]}'
            f' {suite}{part} main'
            for part in ('', '-updates', '-security')
            if codename + part in uris]
