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

"""nova-flexmem as commit 67fc24c has it, the last one with bases of format 1.

It comes from the history of this repository, and is put beside the package
that is tested: programs of it run in processes of their own.
"""

import configparser
import functools
import io
import os
import subprocess
import sys
import tarfile

COMMIT = '67fc24c'

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
_METADATA = 'Metadata-Version: 2.1\nName: nova-flexmem\nVersion: 0.0.1\n'
_TIMEOUT_S = 1800


class NotThere(Exception):
    """The history of this repository does not go back to it."""


@functools.cache
def init():
    """Return the content of its /init.

    :raises: NotThere
    """
    return _git('show', f'{COMMIT}:nova_flexmem/base/init')


class Installed:
    """Its package in a folder.

    :param folder: an empty folder
    :raises: NotThere
    """

    def __init__(self, folder):
        self._folder = folder
        archive = _git('archive', COMMIT, 'nova_flexmem', 'setup.cfg')
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder)
        # all that an installation adds: without it, the entry points would be
        # those of the package that is tested
        setup = configparser.ConfigParser(delimiters='=')
        setup.read(os.path.join(folder, 'setup.cfg'))
        metadata = os.path.join(folder, 'nova_flexmem-0.0.1.dist-info')
        os.mkdir(metadata)
        with open(os.path.join(metadata, 'METADATA'), 'w') as f:
            f.write(_METADATA)
        with open(os.path.join(metadata, 'entry_points.txt'), 'w') as f:
            for group, entries in setup['entry_points'].items():
                f.write(f'[{group}]\n{entries.strip()}\n')

    def run(self, *words):
        """Run its command nova-flexmem.

        :returns: (its exit code, what it printed)
        """
        return self._run('-m', 'nova_flexmem.cmd.main', *words)

    def python(self, script, *arguments):
        """Run a Python script with it; returns what that printed.

        :raises: AssertionError if it failed
        """
        code, said = self._run('-c', script, *arguments)
        assert code == 0, said
        return said

    def _run(self, *words):
        done = subprocess.run(
            [sys.executable, *words], cwd=self._folder,
            env=os.environ | {'PYTHONPATH': self._folder},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=_TIMEOUT_S, check=False)
        return done.returncode, done.stdout


def _git(*words):
    done = subprocess.run(['git', '-C', _REPOSITORY, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode:
        raise NotThere(f'git {" ".join(words)}: {done.stderr.decode()}')
    return done.stdout
