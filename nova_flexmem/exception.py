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

"""The exceptions of nova-flexmem, one tree.

Every message is one line that names the file or instance, the cause, and what
an operator can do about it.
"""


def one_line(text):
    """Return a text as one line that may be shown on a terminal.

    Tenants have a say in many messages: by names of files, for example.
    """
    return ''.join(
        character if character.isprintable() else
        character.encode('unicode_escape').decode()
        for character in ' '.join(text.split()))


class FlexMemException(Exception):
    """Base of everything this package raises on purpose."""

    msg_fmt = 'an unknown error occurred'

    def __init__(self, **kwargs):
        self.kwargs = kwargs
        message = self.msg_fmt % kwargs
        super().__init__(one_line(message))


class ImageRefused(FlexMemException):
    """An image can't become a base; nothing was created."""

    msg_fmt = '%(image)s: %(reason)s'


class BuildFailed(FlexMemException):
    """A helper program failed or a resource ran out during a build."""

    msg_fmt = 'building a base from %(image)s failed: %(reason)s'


class ProgramFailed(FlexMemException):
    """A helper program ended with an error, or overran one of its limits.

    Where it ended by itself there is a kwarg code: its exit code, or below 0
    the signal that ended it.
    """

    msg_fmt = '%(program)s failed: %(reason)s'


class BaseNotFound(FlexMemException):
    """No published base answers to a key or to the beginning of one."""

    msg_fmt = ('%(key)s: no such base in %(store)s; "nova-flexmem image list"'
               ' shows the bases there are')


class BaseAmbiguous(FlexMemException):
    """The beginning of a key fits several bases."""

    msg_fmt = '%(key)s: several bases in %(store)s begin with it; give more'


class BaseDamaged(FlexMemException):
    """A base is not what its manifest says; no guest may start from it."""

    msg_fmt = ('%(path)s: %(reason)s; remove the base with "nova-flexmem image'
               ' remove %(key)s" and build it again')


class BaseInUse(FlexMemException):
    """A base can't be removed because instances use it."""

    msg_fmt = '%(key)s: in use by %(users)s; it was not removed'


class StoreUnusable(FlexMemException):
    """The base store can't be read or written."""

    msg_fmt = '%(store)s: %(reason)s'


class DomainRefused(FlexMemException):
    """A libvirt domain can't take a FlexMem device."""

    msg_fmt = 'domain %(domain)s: %(reason)s'


class DemoFailed(FlexMemException):
    """The demonstration could not be carried through."""

    msg_fmt = '%(reason)s'


class BenchFailed(FlexMemException):
    """A benchmark could not be carried through."""

    msg_fmt = '%(reason)s'


class ConfigUnusable(FlexMemException):
    """The configuration can't be read, or says something impossible."""

    msg_fmt = 'configuration: %(reason)s'


class PolicyConflict(FlexMemException):
    """A flavor and an image do not say together what an instance shall be."""

    msg_fmt = '%(reason)s'


class InstanceRefused(FlexMemException):
    """An instance can't use FlexMem, on any host."""

    msg_fmt = 'the instance cannot use FlexMem: %(reason)s'


class HostUnfit(FlexMemException):
    """This host can't run FlexMem instances; another one may."""

    msg_fmt = 'this host cannot run FlexMem instances: %(reason)s'


class KsmUnusable(FlexMemException):
    """KSM can't scan, or is not to."""

    msg_fmt = 'KSM: %(reason)s'


class RecordUnusable(FlexMemException):
    """What an instance was built with can't be read."""

    msg_fmt = ('%(path)s: not a usable record (%(reason)s); the instance was'
               ' left as it is: restore the file, or rebuild the instance')


class FlattenFailed(FlexMemException):
    """An image could not be made from a delta; no file was written."""

    msg_fmt = 'flattening %(delta)s onto %(image)s failed: %(reason)s'
