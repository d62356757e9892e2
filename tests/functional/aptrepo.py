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

"""An apt repository on an ISO image, for guests that have no network.

It holds what Debian has published since the point release that the demo's
bookworm images are made from, so that upgrading such a guest has work to do.
In the guest, with the ISO mounted on /mnt, the source is SOURCE. To guests it
is Debian's archive of security fixes, by its Release file.
"""

import contextlib
import email.utils
import glob
import hashlib
import os
import shutil

from nova_flexmem.demo import sources
from nova_flexmem import process

SUITE = 'bookworm'
VOLUME = 'APTREPO'
SOURCE = 'deb [trusted=yes] file:/mnt ./'

#: Installed in the images, and with security fixes since the point release.
PACKAGES = ('liblzma5', 'libexpat1', 'libssl3', 'openssl')
KERNEL = 'linux-image-cloud-amd64'

#: Of the boot loader, whose installation a guest may repeat.
REINSTALLED = ('grub-pc', 'grub-pc-bin', 'grub2-common')

_TIMEOUT_S = 300


_RELEASE = f"""\
Origin: Debian
Label: Debian-Security
Suite: stable-security
Codename: {SUITE}-security
Architectures: amd64
Components: main
Date: {{date}}
SHA256:
 {{sha256}} {{size}} Packages
"""


def make_iso(path):
    """Write the repository's ISO image.

    :param path: of the file to write; scratch files lie beside it
    :returns: the name of the kernel package that KERNEL now stands for
    """
    with _scratch(path) as (folder, options):
        kernel = _kernel(options)
        process.run('env', f'--chdir={folder}', 'apt-get', *options,
                    'download', KERNEL, kernel, *PACKAGES,
                    timeout_s=_TIMEOUT_S)
    return kernel


def make_upgrade_iso(path, status, packages, suite=SUITE):
    """Write an ISO image with all upgrades of a system, and more packages.

    :param path: of the file to write; scratch files lie beside it
    :param status: the system's /var/lib/dpkg/status
    :param packages: what else can be installed, with all it depends on
    :param suite: where all of it is from
    """
    with _scratch(path, status, suite) as (folder, options):
        for words in (['full-upgrade'], *(['install', name]
                                          for name in packages),
                      ['install', '--reinstall', *REINSTALLED]):
            process.run('apt-get', *options, '-o',
                        f'Dir::Cache::archives={folder}', '--yes',
                        '--download-only', '--no-install-recommends', *words,
                        timeout_s=_TIMEOUT_S)


@contextlib.contextmanager
def _scratch(path, status='', suite=SUITE):
    """Give a folder for packages, and apt's options; make an ISO of it."""
    scratch = f'{path}.apt'
    packages = os.path.join(scratch, 'packages')
    os.makedirs(os.path.join(packages, 'partial'))
    try:
        options = _prepare(scratch, status, suite)
        process.run('apt-get', *options, 'update', timeout_s=_TIMEOUT_S)
        yield packages, options
        shutil.rmtree(os.path.join(packages, 'partial'))
        index = ''.join(map(_entry, sorted(
            glob.glob(os.path.join(packages, '*.deb'))))).encode()
        digest = hashlib.sha256(index).hexdigest()
        for name, text in (
                ('Packages', index), ('Release', _RELEASE.format(
                    date=email.utils.formatdate(usegmt=True), sha256=digest,
                    size=len(index)).encode())):
            with open(os.path.join(packages, name), 'wb') as f:
                f.write(text)
        process.run('xorriso', '-as', 'mkisofs', '-quiet', '-J', '-R',
                    '-V', VOLUME, '-o', path, packages, timeout_s=_TIMEOUT_S)
    finally:
        shutil.rmtree(scratch)


def _prepare(scratch, status, suite):
    """Return apt options that keep its state in a folder, made for it."""
    for folder in ('state/lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(scratch, folder))
    for name, lines in (('sources.list', sources.for_suite(suite)),
                        ('status', status.splitlines())):
        with open(os.path.join(scratch, name), 'w', encoding='utf-8') as f:
            f.writelines(f'{line}\n' for line in lines)
    settings = {'Dir::State': f'{scratch}/state',
                'Dir::State::status': f'{scratch}/status',
                'Dir::Cache': f'{scratch}/cache',
                'Dir::Etc::sourcelist': f'{scratch}/sources.list',
                'Dir::Etc::sourceparts': '/dev/null',
                'Acquire::Languages': 'none',
                'APT::Sandbox::User': 'root'}
    return [word for key, value in settings.items()
            for word in ('-o', f'{key}={value}')]


def _kernel(options):
    """Return the package that the newest version of KERNEL depends on."""
    shown = process.run('apt-cache', *options, 'show', '--no-all-versions',
                        KERNEL, timeout_s=_TIMEOUT_S)
    depends = next(line for line in shown.splitlines()
                   if line.startswith('Depends: '))
    return depends.split()[1]


def _entry(deb):
    """Return a package's paragraph of the index Packages."""
    control = process.run('dpkg-deb', '--field', deb, timeout_s=_TIMEOUT_S)
    with open(deb, 'rb') as f:
        digest = hashlib.file_digest(f, 'sha256').hexdigest()
    return (f'{control.rstrip()}\nFilename: ./{os.path.basename(deb)}\n'
            f'Size: {os.path.getsize(deb)}\nSHA256: {digest}\n\n')
