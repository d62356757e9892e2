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

"""Switching KSM from nova-compute, which is not root.

oslo.privsep starts a helper as root, which calls the two functions that are
marked here, and no others. They take no arguments, so all that one who has
taken over nova-compute gets from them is one bounded scan after the other.
"""

import atexit
import contextlib

from oslo_config import cfg
from oslo_privsep import daemon
from oslo_privsep import priv_context

from nova_flexmem import exception
from nova_flexmem.host import ksm_switch

#: Root without any capability: the kernel's files and /run are root's.
context = priv_context.PrivContext(
    __name__, cfg_section='nova_flexmem_privileged',
    pypath=f'{__name__}.context', capabilities=[])


@context.entrypoint
def scan():
    """Have KSM scan until off(), or until the helper ends.

    The helper ends with its connection to nova-compute, however that ended.

    :returns: None, or the reason why it can't be. An exception of ours would
        not get through.
    """
    reason = _reason(ksm_switch.Switch().scan)
    if reason is None:
        atexit.unregister(_end)
        atexit.register(_end)
    return reason


@context.entrypoint
def off():
    """Stop KSM if this helper had it scan, or one that was killed.

    :returns: as scan()
    """
    return _reason(ksm_switch.Switch().release)


def _end():
    ksm_switch.Switch().release()


def _reason(act):
    try:
        act()
    except exception.KsmUnusable as e:
        return e.kwargs['reason']
    return None


class Switch:
    """KSM's switch for ksm.scan_once(); see switch()."""

    folder = ksm_switch.FOLDER

    def scan(self):
        """Have KSM scan.

        :raises: KsmUnusable
        """
        _call(scan)

    def off(self):
        """Have KSM scan no more, if it does so by us.

        :raises: KsmUnusable
        """
        _call(off)


@contextlib.contextmanager
def switch():
    """A Switch; the helper of root ends with the context.

    It is there again in half a second, and would hold 40 MiB for good.
    """
    try:
        yield Switch()
    finally:
        context.stop()


def try_out(config_files, config_dirs, root_helper):
    """Start the helper as a service would, and end it again.

    In a process with no options of oslo.config's global ones in use.

    :param config_files: paths of the service's configuration, and config_dirs
    :param root_helper: command line that runs others as root
    :raises: KsmUnusable if the helper can't be had
    """
    cfg.CONF([], project='nova', default_config_files=config_files,
             default_config_dirs=config_dirs)
    priv_context.init(root_helper=root_helper.split())
    with switch() as found:
        found.off()


def _call(function):
    try:
        reason = function()
    except (daemon.FailedToDropPrivileges, OSError) as e:
        raise exception.KsmUnusable(
            reason=f'privsep-helper cannot be run as root ({e}); its words'
            f' are in the log, and [{context.cfg_section}] helper_command'
            ' can say how to start it')
    if reason:
        raise exception.KsmUnusable(reason=reason)
