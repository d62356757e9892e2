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

"""Options of nova-flexmem, group [flexmem] of nova.conf."""

import copy

from oslo_config import cfg

GROUP = cfg.OptGroup('flexmem', title='FlexMem: instances of one image share'
                                      ' its pages on the host')

OPTS = [
    cfg.StrOpt(
        'default_policy', default='disabled', choices=[
            ('disabled', 'the stock cow disk'),
            ('preferred', 'FlexMem where it is possible, else the stock cow'
                          ' disk'),
            ('required', 'FlexMem, or the instance is not built')],
        help="""
What instances get whose flavor and image say nothing of FlexMem.

Flavors ask by the extra spec flexmem:policy, images by the property
flexmem_policy, both with the same values. "preferred" saves memory without
anybody asking, but some instances of a flavor may then be FlexMem and others
not. Instances keep what they were built with until they are rebuilt."""),
    cfg.StrOpt(
        'default_writes', default='disk', choices=[
            ('disk', 'to the delta, a disk as durable as a stock root disk'),
            ('memory', 'to the memory of the guest; gone at power-off')],
        help="""
Where instances write whose flavor and image say nothing of it.

Flavors ask by the extra spec flexmem:writes, images by the property
flexmem_writes. With "memory" an instance has no disk at all and starts faster,
but every write costs its memory, and stop and start give a fresh root: what
was written is lost."""),
    cfg.StrOpt(
        'device', default='nvdimm', choices=[
            ('nvdimm', 'an ACPI NVDIMM, known to Linux since 4.2'),
            ('virtio-pmem', 'a virtio device, known to Linux since 5.3')],
        help="""
FlexMem device of new instances.

Both map the same file in the same way. An NVDIMM is known to more guest
kernels; virtio-pmem needs no ACPI tables of its own but a PCI slot. An image
whose kernel has a driver for the other one alone gets that."""),
    cfg.StrOpt(
        'share_scope', default='image', choices=[
            ('image', 'all instances of an image on the host'),
            ('project', 'the instances of an image and a project')],
        help="""
Who shares one copy of an image's pages.

"image" saves the most. As with KSM, one who shares pages with others can tell
by the time that a read takes whether anybody has read them before; "project"
rules that out between projects, at the price of one base, on disk and in
memory, for each project that uses an image."""),
    cfg.StrOpt(
        'store_path', default='/var/lib/nova-flexmem',
        help="""
Folder of the base store of this host.

It holds one base directory per image, about as large as the files in the
image, plus 400 MiB for the appliance that reads images. Instances map their
base from here, so it must be a local filesystem: on a network filesystem every
page fault of every instance would go over the network."""),
    cfg.StrOpt(
        'rootfs', default='auto', choices=[
            ('auto', 'EROFS where the kernel of the image has it, else ext4'),
            ('erofs', 'EROFS; images whose kernel lacks it are refused'),
            ('ext4', 'ext4 without a journal')],
        help="""
Root filesystem of new bases.

EROFS packs files without gaps: it costs every guest less memory for page
structs (64 bytes per 4 KiB of root.pmem) than ext4 does.

Instances and snapshots that were made on the other one stay with it: a delta
boots on the root filesystem alone that it was made on. Each image that they
come from takes a second base on the host then."""),
    cfg.IntOpt(
        'max_virtual_size_gib', default=128, min=1,
        help="""
Largest virtual disk size in GiB of an image that a base is built from.

A larger image is refused before any of it is read. It limits what one tenant's
image can make a host do."""),
    cfg.IntOpt(
        'max_base_size_gib', default=32, min=1,
        help="""
Largest size in GiB of a base's root.pmem, and with that of the files in an
image. A build that would need more stops and leaves nothing behind."""),
    cfg.IntOpt(
        'build_timeout_s', default=1800, min=60,
        help="""
Seconds after which the build of a base is given up.

Longer lets large images through on slow hosts; shorter frees the host sooner
from an image that was made to take long."""),
    cfg.IntOpt(
        'max_parallel_builds', default=1, min=1,
        help="""
Largest number of bases that nova-compute builds at the same time.

A build keeps one processor and up to 1 GiB of memory busy. More let instances
of several new images start sooner on a large host; instances of one image
always wait for one build."""),
    cfg.IntOpt(
        'max_store_size_gib', default=0, min=0,
        help="""
Largest size in GiB of the base store; 0 for no limit but the filesystem's.

A build that may not fit removes bases that no instance uses, those out of use
for longest first, and fails if that is not enough. Smaller saves disk and
builds more often."""),
    cfg.StrOpt(
        'extra_kernel_args', default='',
        help="""
Words that go behind all others on the kernel command line of instances.

They apply to every FlexMem instance that is started on the host from then on.
A wrong word can keep all of them from starting."""),
    cfg.BoolOpt(
        'free_page_reporting', default=True,
        help="""
Have FlexMem instances hand the pages that they freed back to the host.

It saves the memory that booting and short-lived programs leave behind, and
costs the guest a page fault where it takes such a page into use again. It goes
by the balloon device, which [libvirt]mem_stats_period_seconds can remove."""),
    cfg.IntOpt(
        'free_page_reporting_order', default=0, min=0, max=9,
        help="""
Smallest piece of free memory that FlexMem instances hand back, as the power of
two of its pages: 0 for single pages of 4 KiB, 9 for 2 MiB.

Kernels by themselves hand back 2 MiB and more, and with that a quarter of an
instance's memory may be free and not handed back after its boot. Smaller
pieces break up the huge pages of the host that instances have in part only,
and are taken back by a page fault each; where instances are few and speed
matters more than memory, set 9. The host's khugepaged must not fill up huge
pages again (max_ptes_none = 0), or most is lost again within hours."""),
    cfg.StrOpt(
        'ksm', default='off', choices=[
            ('off', 'KSM is left alone'),
            ('after_boot', 'one bounded scan after FlexMem instances have'
                           ' started, then no more')],
        help="""
Whether the host's kernel merges equal pages (KSM) that FlexMem does not share.

Those are the kernels of the guests and equal memory of their programs. Pages
that are merged stay so until a guest writes to them, with no scanner running.
The scan looks at the RAM of all instances on the host, of stock instances and
of all projects, whatever share_scope says: who writes to a merged page can
tell by the time it takes that somebody else has the same. Instances whose
domain has <nosharepages/> are left out. A helper that runs as root switches
KSM, see [nova_flexmem_privileged]. KSM that is on already, as by ksmtuned, is
left alone."""),
    cfg.IntOpt(
        'ksm_settle_s', default=120, min=10,
        help="""
Seconds that instances must have run before KSM scans, with ksm = after_boot.

While more of them start it waits, for five times as long at most, so that many
that start together get one scan. Longer lets guests come to rest, so that what
is merged stays so; shorter frees memory sooner."""),
    cfg.IntOpt(
        'ksm_limit_s', default=600, min=1,
        help="""
Seconds after which a scan of KSM is stopped that is not through yet.

It takes about one processor while it lasts. The next one goes on where it
stopped, and comes no sooner than after nine times as long as the last one
took."""),
    cfg.ListOpt(
        'direct_paths', default=['/var/lib/docker', '/var/lib/containerd',
                                 '/var/lib/containers', '/var/lib/kubelet'],
        help="""
Folders in the guest that lie directly on the delta, not on the overlay.

Linux refuses an overlay whose upper layer is on an overlay, which is what
container engines in the guest would ask for. What the image has in such a
folder is copied to the delta at the first boot, so large folders cost private
disk and boot time."""),
    cfg.IntOpt(
        'remove_unused_base_minimum_age_s', default=86400, min=0,
        help="""
Seconds that a base must have been out of use before ageing removes it.

Longer keeps a rebuild away from images that come back; shorter frees disk. A
base that any instance uses is never removed."""),
]


def register_opts(conf):
    """Register the options with a ConfigOpts."""
    # a group keeps its options' overrides: none is shared by two ConfigOpts
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTS, group=GROUP)


def reporting_order(conf):
    """Return what domain.transform() takes by that name."""
    return (conf.flexmem.free_page_reporting_order
            if conf.flexmem.free_page_reporting else None)


def list_opts():
    """Return the options for oslo-config-generator."""
    return [(GROUP, copy.deepcopy(OPTS))]
