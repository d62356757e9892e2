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

"""Run a command while a cloud is up: python -m tests.cloud.run COMMAND.

Takes the cloud that is up, or brings one up and ends it afterwards. In that,
the folder FLEXMEM_CLOUD_USR covers /usr on the nodes FLEXMEM_CLOUD_USR_NODES.
"""

import os
import subprocess
import sys

from nova_flexmem import exception
from tools.cloud import cloud


def main():
    the_cloud = cloud.Cloud()
    if the_cloud.machines['controller'].pid is not None:
        return subprocess.run(sys.argv[1:], check=False).returncode
    try:
        the_cloud.up('flexmem', usr=os.environ.get('FLEXMEM_CLOUD_USR', ''),
                     usr_nodes=tuple(os.environ.get(
                         'FLEXMEM_CLOUD_USR_NODES', 'node1 node2').split()),
                     say=lambda line: print(f'cloud: {line}'))
        return subprocess.run(sys.argv[1:], check=False).returncode
    except exception.FlexMemException as e:
        print(f'cloud: {e}', file=sys.stderr)
        return 1
    finally:
        the_cloud.down()


if __name__ == '__main__':
    sys.exit(main())
