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
other's way; this starts one for all of them, where the host has none. They
share a base store as well. Within its command it changes nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile

from nova_flexmem.demo import hypervisor
from tests.functional import harness


def main():
    if harness.STORE in os.environ:
        return subprocess.run(sys.argv[1:], check=False).returncode
    with tempfile.TemporaryDirectory(
            prefix='flexmem-tests-', dir='/var/tmp') as folder, \
            hypervisor.connect(folder):
        # QEMU runs as a user of its own, and must get to the bases
        os.chmod(folder, 0o711)
        store = harness.new_store(folder)
        # each worker and each command would find out for itself, in 10 s
        words = [*hypervisor.without_kvm(folder), *sys.argv[1:]]
        with subprocess.Popen(words, env=os.environ | {
                harness.STORE: store.path}) as command:
            # a terminal interrupts the command as well, which then ends
            signal.signal(signal.SIGINT, lambda *_: None)
            return command.wait()


if __name__ == '__main__':
    sys.exit(main())
