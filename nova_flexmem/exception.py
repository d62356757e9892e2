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

"""The exceptions of nova-flexmem, all of them below FlexMemException.

Each message is one line. It names the file or instance, the cause, and what an
operator can do about it.
"""


def one_line(text):
    """Return a text as one line that is safe to show on a terminal.

    Tenants control parts of many messages, for example the names of files.
    Characters that a terminal would obey are written as escapes.
    """
    return ''.join(
        character if character.isprintable() else
        character.encode('unicode_escape').decode()
        for character in ' '.join(text.split()))


class FlexMemException(Exception):
    """The base class of all exceptions of this package.

    :ivar kwargs: the values in the message, by name
    """

    msg_fmt = 'an unknown error occurred'

    def __init__(self, **kwargs):
        self.kwargs = kwargs
        message = self.msg_fmt % kwargs
        super().__init__(one_line(message))


class ImageRefused(FlexMemException):
    """An image cannot become a base; nothing was created."""

    msg_fmt = '%(image)s: %(reason)s'


class BuildFailed(FlexMemException):
    """A helper program failed or a resource ran out during a build."""

    msg_fmt = 'building a base from %(image)s failed: %(reason)s'


class ProgramFailed(FlexMemException):
    """A helper program failed, could not start, or exceeded a limit.

    If the program ended by itself, kwargs has its exit code as "code". A
    negative code is the number of the signal that ended it.
    """

    msg_fmt = '%(program)s failed: %(reason)s'


class BaseNotFound(FlexMemException):
    """No published base has a key, or a key with this beginning."""

    msg_fmt = ('%(key)s: no such base in %(store)s; list the bases with'
               ' "nova-flexmem image list"')


class BaseAmbiguous(FlexMemException):
    """Several bases have a key with this beginning."""

    msg_fmt = ('%(key)s: the keys of several bases in %(store)s begin with it;'
               ' give more of the key')


class BaseDamaged(FlexMemException):
    """A base differs from its manifest; no guest may start from it."""

    msg_fmt = ('%(path)s: %(reason)s; build the image of base %(key)s again'
               ' with "nova-flexmem image build", or hard reboot an instance'
               ' that uses it: nova-compute then gets the base again')


class BaseInUse(FlexMemException):
    """A base cannot be removed because instances use it."""

    msg_fmt = ('base %(key)s is in use by %(users)s and was not removed;'
               ' delete or rebuild its instances first')


class StoreUnusable(FlexMemException):
    """The base store cannot be read or written."""

    msg_fmt = '%(store)s: %(reason)s'


class DriversRefused(FlexMemException):
    """A file cannot become a driver pack, or a driver pack cannot be used."""

    msg_fmt = '%(source)s: %(reason)s'


class PublishFailed(FlexMemException):
    """A base cannot be published, or a published base cannot be taken."""

    msg_fmt = 'published bases: %(reason)s'


class DomainRefused(FlexMemException):
    """A libvirt domain cannot have a FlexMem device."""

    msg_fmt = 'domain %(domain)s: %(reason)s'


class DemoFailed(FlexMemException):
    """The demonstration could not be completed."""

    msg_fmt = '%(reason)s'


class BenchFailed(FlexMemException):
    """A benchmark could not be completed."""

    msg_fmt = '%(reason)s'


class ConfigUnusable(FlexMemException):
    """The configuration cannot be read, or has a wrong value."""

    msg_fmt = 'configuration: %(reason)s'


class CommandUnavailable(FlexMemException):
    """A command, or an option of it, needs an extra of this package."""

    msg_fmt = ('%(name)s: the Python package %(package)s is not installed;'
               ' install %(extra)s')


class PolicyConflict(FlexMemException):
    """What a flavor and an image ask for is wrong or contradictory."""

    msg_fmt = '%(reason)s'


class InstanceRefused(FlexMemException):
    """An instance cannot use FlexMem on any host."""

    msg_fmt = 'the instance cannot use FlexMem: %(reason)s'


class HostUnfit(FlexMemException):
    """This host cannot run FlexMem instances; another host may."""

    msg_fmt = 'this host cannot run FlexMem instances: %(reason)s'


class EstimateFailed(FlexMemException):
    """What FlexMem would save on this host cannot be estimated."""

    msg_fmt = '%(reason)s'


class InstanceLeftOut(FlexMemException):
    """An instance cannot be part of an estimate; the others can."""

    msg_fmt = '%(reason)s'


class HostBusy(FlexMemException):
    """An instance would wait too long on this host; another host may do."""

    msg_fmt = 'this host is busy: %(reason)s'


class KsmUnusable(FlexMemException):
    """KSM is not available, or is in use already."""

    msg_fmt = 'KSM: %(reason)s'


class CephFailed(FlexMemException):
    """Ceph cannot be asked, or does not do what it is asked for."""

    msg_fmt = 'Ceph does not answer as expected: %(reason)s'


class DiskNotFound(FlexMemException):
    """There is no image of this name in Ceph."""

    msg_fmt = '%(disk)s: Ceph has no such image'


class RecordUnusable(FlexMemException):
    """The record of what an instance was built with cannot be read."""

    msg_fmt = ('%(path)s: not a usable record (%(reason)s); the instance was'
               ' not changed: restore the file, or rebuild the instance')


class FlattenFailed(FlexMemException):
    """A delta could not be flattened; no image file was written."""

    msg_fmt = 'flattening %(delta)s onto %(image)s failed: %(reason)s'
