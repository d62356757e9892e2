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

"""Run a command while libvirt answers: python -m tests.functional.run COMMAND.

Test workers that each started a libvirtd of their own would get into each
other's way; this starts one for all of them, where the host has none.
"""

import subprocess
import sys
import tempfile

from nova_flexmem.demo import hypervisor


def main():
    with tempfile.TemporaryDirectory() as folder, hypervisor.connect(folder):
        # each worker and each command would find out for itself, in 10 s
        words = [*hypervisor.without_kvm(folder), *sys.argv[1:]]
        return subprocess.run(words, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
