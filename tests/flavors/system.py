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

"""The kernel of the guests: Debian's, with drivers for real machines."""

import glob
import os
import shutil
import subprocess
import tempfile

from nova_flexmem import process
from tests.functional import harness

#: The package of the newest one; what it needs has the kernel.
_PACKAGE = 'linux-image-amd64'

_TIMEOUT_S = 900


def unpacked():
    """Return a folder with the kernel's package, unpacked.

    It comes from this host's own apt sources, and is kept beside the images.
    """
    depends = process.run('apt-cache', 'depends', '--important', _PACKAGE,
                          timeout_s=_TIMEOUT_S)
    name = next(line.split()[-1] for line in depends.splitlines()
                if 'Depends: linux-image-' in line)
    kept = os.path.join(harness.CACHE, name)
    if not os.path.exists(kept):
        os.makedirs(harness.CACHE, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f'{name}-', dir=harness.CACHE)
        try:
            _download(name, folder)
            os.rename(folder, kept)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return kept


def _download(name, folder):
    subprocess.run(['apt-get', '-q', 'download', name], check=True,
                   cwd=folder, timeout=_TIMEOUT_S, capture_output=True)
    package, = glob.glob(os.path.join(folder, '*.deb'))
    process.run('dpkg-deb', '-x', package, folder, timeout_s=_TIMEOUT_S)
    os.unlink(package)
