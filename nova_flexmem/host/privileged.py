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

"""Switches KSM from nova-compute, which is not root.

oslo.privsep starts a helper as root. The helper calls only the two functions
that are marked as entry points here. They take no arguments, so an attacker in
nova-compute can only make KSM scan.
"""

import atexit
import contextlib

from oslo_config import cfg
from oslo_privsep import daemon
from oslo_privsep import priv_context

from nova_flexmem import exception
from nova_flexmem.host import ksm_switch

#: Root without capabilities: as the owner it may write KSM's files and /run.
context = priv_context.PrivContext(
    __name__, cfg_section='nova_flexmem_privileged',
    pypath=f'{__name__}.context', capabilities=[])


@context.entrypoint
def scan():
    """Switch KSM on until off(), or until the helper ends.

    The helper ends when nova-compute closes the connection or dies.

    :returns: None, or why KSM cannot be switched on, text. privsep would not
        pass KsmUnusable on.
    """
    reason = _reason(ksm_switch.Switch().scan)
    if reason is None:
        atexit.unregister(_end)
        atexit.register(_end)
    return reason


@context.entrypoint
def off():
    """Switch KSM off if this helper, or one that was killed, switched it on.

    :returns: None, or why KSM cannot be switched off, text
    """
    return _reason(ksm_switch.Switch().release)


def _end():
    ksm_switch.Switch().release()


def _reason(function):
    """Call a function; return why KSM is unusable, or None if it is not."""
    try:
        function()
    except exception.KsmUnusable as e:
        return e.kwargs['reason']
    return None


class Switch:
    """The switch that ksm.scan_once() takes; see switch()."""

    folder = ksm_switch.FOLDER

    def scan(self):
        """Switch KSM on.

        :raises: KsmUnusable
        """
        _call(scan)

    def off(self):
        """Switch KSM off if nova-compute has switched it on.

        :raises: KsmUnusable
        """
        _call(off)


@contextlib.contextmanager
def switch():
    """Give a Switch; the helper ends at the end of the context.

    A helper that ran on would take 40 MiB; to start it takes half a second.
    """
    try:
        yield Switch()
    finally:
        context.stop()


def try_out(config_files, config_dirs, root_helper):
    """Start the helper like nova-compute does, and end it.

    Call this only in a process that does not use oslo.config's global CONF.

    :param config_files: paths of nova-compute's configuration files
    :param config_dirs: paths of its configuration folders
    :param root_helper: command line that runs a command as root
    :raises: KsmUnusable if the helper cannot be started
    """
    cfg.CONF([], project='nova', default_config_files=config_files,
             default_config_dirs=config_dirs)
    priv_context.init(root_helper=root_helper.split())
    with switch() as ksm:
        ksm.off()


def _call(function):
    """Call scan() or off() in the helper.

    :raises: KsmUnusable
    """
    try:
        reason = function()
    except (daemon.FailedToDropPrivileges, OSError) as e:
        raise exception.KsmUnusable(
            reason=f'privsep-helper cannot be run as root ({e}); see its'
            f' output in the log, or set [{context.cfg_section}]'
            ' helper_command to the command that starts it')
    if reason:
        raise exception.KsmUnusable(reason=reason)
