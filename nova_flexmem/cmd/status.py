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

"""nova-flexmem-status: whether FlexMem can work here, or what to do."""

import importlib
import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_flexmem.cmd import signals
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception


def new_conf():
    """Return a ConfigOpts with this package's options, and Nova's if there.

    Options of its own, not Nova's global ones, and nothing of Nova runs.
    """
    conf = cfg.ConfigOpts()
    flexmem_conf.register_opts(conf)
    try:
        modules = [importlib.import_module(f'nova.conf.{name}')
                   for name in ('base', 'compute', 'libvirt', 'workarounds')]
    except ImportError:
        return conf  # which _check_nova says
    for module in modules:
        for group, options in module.list_opts().items():
            name = getattr(group, 'name', group)
            conf.register_opts(options,
                               group=None if name == 'DEFAULT' else name)
    return conf


def _checks(conf):
    """Return the checks, which need what nova-compute's host has."""
    try:
        checks = importlib.import_module('nova_flexmem.cmd.checks')
    except ModuleNotFoundError as e:
        raise exception.CommandUnavailable(
            name='upgrade check', package=e.name,
            extra='nova-flexmem[compute]')
    return checks.Checks(conf)


def main(argv=None):
    """Run the command; return its exit status.

    0: all is well; 1: warnings; 2: failures; 255: it could not check.
    """
    conf = new_conf()
    signals.clean_up_on_signals()
    try:
        return upgradecheck.main(conf, 'nova', _checks(conf),
                                 sys.argv[1:] if argv is None else argv)
    except (cfg.Error, exception.CommandUnavailable) as e:
        sys.stderr.write(f'nova-flexmem-status: {e}\n')
        return 255


if __name__ == '__main__':
    sys.exit(main())
