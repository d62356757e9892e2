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

"""A server's first use of an image, in a process of its own.

    python -m tests.drills.spawn STORE IMAGE USER [FOLDER]

As nova-compute has it: the worker builds, and checks, and the use is recorded.
With a folder, a guest is started with its files there. The id of its QEMU
process is printed, and whether the base was built or found; when standard
input ends, so does the guest, and the use is given back.
"""

import sys

from oslo_config import cfg

from nova_flexmem import conf as flexmem_conf
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import stock
from nova_flexmem.guest import domain
from nova_flexmem.store import basestore
from nova_flexmem.virt import worker
from tests.functional import harness

#: Enough for the smallest guest.
_FLAVOR = stock.Flavor(ram_mib=256, disk_bytes=256 << 20)


def use(path, image, user):
    """Have a base built or found, checked, and recorded as used.

    :returns: the Base, and whether it was built
    """
    conf = cfg.ConfigOpts()
    conf([], project='nova', default_config_files=[])
    flexmem_conf.register_opts(conf)
    conf.set_override('store_path', path, group='flexmem')
    built = worker.call('build', conf.flexmem, image=image,
                        image_format='raw', scope='',
                        rootfs=conf.flexmem.rootfs, name='image-id')
    worker.call('check', conf.flexmem, key=built['key'])
    return basestore.Store(path).use(built['key'], user), built['new']


def main():
    path, image, user, *folder = sys.argv[1:]
    base, new = use(path, image, user)
    if not folder:
        return
    with hypervisor.connect(folder[0]) as connection:
        launch = launcher.Launcher(connection, folder[0],
                                   hypervisor.domain_type(), _FLAVOR)
        with launch.flexmem('guest', domain.Boot.of(base),
                            extra_kernel_args=harness.NO_TIMER_CHECK) as guest:
            print(guest.pid, 'built' if new else 'found', flush=True)
            sys.stdin.read()
    basestore.Store(path).release(base.key, user)


if __name__ == '__main__':
    main()
