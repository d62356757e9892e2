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

"""How a refusal reaches whoever asked.

Nova shows users the words of its own exceptions; of others, the name of the
class alone.
"""

import contextlib

from oslo_log import log

from nova.compute import utils as compute_utils
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import driver as libvirt_driver

from nova_flexmem import exception

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)


@contextlib.contextmanager
def logged(what):
    """Log what goes wrong with FlexMem, and go on.

    For what stock instances have a part in: a base store that can't be used
    must not keep Nova from starting or from deleting them.

    :param what: what is being done
    """
    try:
        yield
    except (exception.FlexMemException, OSError) as e:
        LOG.error('%(what)s: %(e)s', {'what': what, 'e': e})


@contextlib.contextmanager
def shown():
    """Turn our exceptions into Nova's."""
    try:
        yield
    except exception.FlexMemException as e:
        raise nova_exception.Invalid(str(e)) from e


def is_of_flexmem(error):
    """Return whether an instance may start where FlexMem is left out.

    :param error: what ended its spawn
    """
    return (isinstance(error.__cause__, exception.FlexMemException) or
            # of QEMU or libvirt, maybe of what they are asked for FlexMem
            isinstance(error, libvirt_driver.libvirt.libvirtError))


@contextlib.contextmanager
def refusing():
    """Have Nova leave an instance as it is if this raises.

    Without this it would set the instance to ERROR.
    """
    try:
        with shown():
            yield
    except nova_exception.NovaException as e:
        raise nova_exception.InstanceFaultRollback(inner_exception=e) from e


@contextlib.contextmanager
def reporting(context, instance, event):
    """Write a refusal into the action that was asked for.

    For what Nova does when the API has called the action a success already,
    so that users would see no reason.

    :param event: the name of the action's event that failed
    """
    try:
        with shown():
            yield
    except nova_exception.NovaException as e:
        with contextlib.suppress(nova_exception.InstanceActionNotFound):
            with compute_utils.EventReporter(context, event, CONF.host,
                                             instance.uuid):
                raise e
        raise


def note(context, instance, event):
    """Write an event into the action that is under way, if there is one."""
    with contextlib.suppress(nova_exception.InstanceActionNotFound):
        with compute_utils.EventReporter(context, event, CONF.host,
                                         instance.uuid):
            pass


def refuse(reason):
    """Refuse an operation, and leave the instance as it is."""
    with refusing():
        raise exception.InstanceRefused(reason=reason)
