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

"""Guests of one image, of both kinds, made ready in one place."""

import contextlib
import dataclasses
import os
import tempfile
import typing

from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import stock
from nova_flexmem.guest import domain
from nova_flexmem import process

KINDS = ('stock', 'flexmem')


@dataclasses.dataclass(frozen=True)
class Image:
    """An image and its base.

    :ivar path: of the image
    :ivar format: raw or qcow2
    :ivar virtual_size_bytes: of its disk
    :ivar boot: of its base
    """

    path: str
    format: str
    virtual_size_bytes: int
    boot: domain.Boot


@dataclasses.dataclass(frozen=True)
class Options:
    """What all guests get; what domain.transform() takes, FlexMem guests.

    :ivar disk_bytes: of the root disk, overlay or delta; None means the
        image's virtual size
    :ivar cpu_model: a CPU model of libvirt's; None means the host model
    :ivar user_data: for cloud-init; None means no config drive
    """

    ram_mib: int = 512
    disk_bytes: int | None = None
    cpu_model: str | None = None
    device: str = 'nvdimm'
    writes: str = 'disk'
    direct_paths: tuple[str, ...] = ()
    extra_kernel_args: str = ''
    reporting_order: int | None = 0
    user_data: str | None = None
    without: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What makes guests of either kind.

    :ivar folder: a scratch folder that goes with them
    :ivar raw: path of the image, raw, as in Nova's image cache
    """

    folder: str
    raw: str
    launcher: launcher.Launcher
    image: Image
    options: Options

    def guest(self, kind, name):
        """Return a guest.Guest, not started.

        :param kind: one of KINDS
        """
        if kind == 'stock':
            return self.launcher.stock(name, self.raw)
        return self.launcher.flexmem(
            name, self.image.boot, device=self.options.device,
            writes=self.options.writes,
            direct_paths=self.options.direct_paths,
            extra_kernel_args=self.options.extra_kernel_args,
            reporting_order=self.options.reporting_order,
            without=self.options.without)


@contextlib.contextmanager
def prepare(image, options, work_folder,
            progress: typing.Callable[[str], object]):
    """Give Kinds, on a libvirt connection that ends with the context.

    :param image: the Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :raises: DemoFailed, ProgramFailed
    """
    with tempfile.TemporaryDirectory(prefix='flexmem-demo-',
                                     dir=work_folder) as folder:
        os.chmod(folder, 0o711)  # QEMU's user must be able to enter it
        progress('converting the image to raw, as Nova does')
        raw = os.path.join(folder, 'image.raw')
        process.write_disk('qemu-img', 'convert', '-f', image.format, '-O',
                           'raw', image.path, raw,
                           size_bytes=image.virtual_size_bytes)
        flavor = stock.Flavor(options.ram_mib,
                              options.disk_bytes or os.path.getsize(raw),
                              options.cpu_model)
        with hypervisor.connect(folder) as connection:
            yield Kinds(folder, raw, launcher.Launcher(
                connection, folder, hypervisor.domain_type(), flavor,
                options.user_data), image, options)
