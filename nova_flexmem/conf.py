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

from nova_flexmem import glanceconf
from nova_flexmem import schedulerconf

GROUP = cfg.OptGroup('flexmem', title='FlexMem: instances of one image'
                                      ' share its pages on the host')

OPTS = [
    cfg.StrOpt(
        'default_policy', default='disabled', choices=[
            ('disabled', 'the stock root disk'),
            ('preferred', 'FlexMem where possible, otherwise the stock root'
                          ' disk'),
            ('required', 'FlexMem; the instance is refused where FlexMem is'
                         ' not possible')],
        help="""
Policy for instances whose flavor and image do not set one.

Flavors set it with the extra spec flexmem:policy, images with the property
flexmem_policy; both take the values of this option. "preferred" saves memory
without a change of flavors or images, but some instances of a flavor may then
use FlexMem and others not. An instance keeps the policy that it was built with
until it is rebuilt."""),
    cfg.StrOpt(
        'image_policy', default='narrow', choices=[
            ('narrow', 'it can require or disable FlexMem where flavor or host'
                       ' allow it'),
            ('allow', 'it can ask for FlexMem with each flavor that does not'
                      ' disable it'),
            ('ignore', 'it has no effect')],
        help="""
Effect of the image property flexmem_policy.

Tenants set the properties of their images. With "narrow", an image cannot
switch FlexMem on: the flavor or default_policy has to be "preferred" or
"required". This holds for layered snapshots too, but not for instances that
use FlexMem already: they can be unshelved, for example. With "allow", tenants
can have bases built on all hosts that their flavors reach. "ignore" also
ignores flexmem_writes, flexmem_kernel and flexmem_lean."""),
    cfg.StrOpt(
        'default_writes', default='disk', choices=[
            ('disk', 'the delta, a disk as durable as a stock root disk'),
            ('memory', "the guest's memory; writes are lost at power-off")],
        help="""
Where instances keep their writes if their flavor and image do not say.

Flavors set it with the extra spec flexmem:writes, images with the property
flexmem_writes. With "memory" an instance has no root disk and starts faster,
but every write takes guest memory, and a stop and start discards all
writes."""),
    cfg.StrOpt(
        'device', default='nvdimm', choices=[
            ('nvdimm', 'an ACPI NVDIMM, supported by Linux since 4.2'),
            ('virtio-pmem', 'a virtio device, supported by Linux since'
                            ' 5.3')],
        help="""
FlexMem device of new instances.

Both devices map the same file in the same way. More guest kernels support
nvdimm; virtio-pmem takes a PCI slot instead of ACPI tables. If the image's
kernel supports only the other device, that one is used."""),
    cfg.StrOpt(
        'share_scope', default='image', choices=[
            ('image', 'all instances of the image on the host'),
            ('project', 'only instances of the image in one project')],
        help="""
Which instances share one copy of an image's pages.

"image" saves the most memory. As with KSM, a guest can tell from the duration
of a read whether another guest has read the same page before. "project"
prevents that between projects, at the cost of one base, on disk and in memory,
for each project that uses an image."""),
    cfg.StrOpt(
        'store_path', default='/var/lib/nova-flexmem',
        help="""
Folder of this host's base store.

Each base takes about as much disk as the files in its image; the appliance
that reads images takes another 400 MiB. Instances map their base from this
folder, so it must be on a local filesystem: on a network filesystem, page
faults of instances would go over the network."""),
    cfg.StrOpt(
        'rootfs', default='auto', choices=[
            ('auto', "EROFS if the image's kernel supports it, otherwise"
                     ' ext4'),
            ('erofs', 'EROFS; an image is refused if its kernel does not'
                      ' support it'),
            ('ext4', 'ext4 without a journal')],
        help="""
Root filesystem of new bases.

EROFS packs files without gaps, so root.pmem is smaller than with ext4. Each
guest saves 64 bytes of page structs per 4 KiB of root.pmem.

A change of this option does not change existing instances and snapshots: they
stay on the root filesystem that they were made on. An image then takes a
second base on hosts where instances use both."""),
    cfg.IntOpt(
        'max_virtual_size_gib', default=128, min=1,
        help="""
Largest virtual disk size of an image, in GiB.

A larger image is refused before it is read. Higher admits larger images; lower
limits the work that a tenant's image can cause on a host."""),
    cfg.IntOpt(
        'max_base_size_gib', default=32, min=1,
        help="""
Largest size of a base's root.pmem, in GiB.

It limits the total size of the files in an image. A build that would exceed it
fails and leaves nothing behind."""),
    cfg.IntOpt(
        'build_timeout_s', default=1800, min=60,
        help="""
Maximum duration of the build of a base, in seconds.

Higher lets large images succeed on slow hosts; lower limits how long a
malicious image can keep the host busy."""),
    cfg.IntOpt(
        'max_parallel_builds', default=1, min=1,
        help="""
Maximum number of bases that nova-compute builds at the same time.

A build takes one processor and up to 1 GiB of memory. With a higher limit,
instances of several new images start sooner on a large host. Instances of one
image always wait for a single build."""),
    cfg.IntOpt(
        'max_waiting_builds', default=4, min=0,
        help="""
Maximum number of images whose bases wait until another build ends.

An instance keeps one of Nova's build slots ([DEFAULT] max_concurrent_builds)
while it waits for its base. An instance that needs one more base is built on
another host; with the policy "preferred" it gets the stock root disk. Higher
builds more instances on the host that the scheduler chose; lower leaves more
of Nova's slots to instances that need no build."""),
    cfg.IntOpt(
        'build_wait_s', default=900, min=1,
        help="""
Maximum time that a new instance waits for builds of bases that have begun
before its own, and for the first checks of the host, in seconds.

After that it is built on another host; with the policy "preferred" it gets the
stock root disk. The build of the instance's own base is not counted. Higher
suits slow hosts and large images; lower frees Nova's build slots sooner."""),
    cfg.IntOpt(
        'max_store_size_gib', default=0, min=0,
        help="""
Maximum size of the base store, in GiB. 0 means no limit but the
filesystem's.

A build that may not fit removes bases that no instance uses, beginning with
the one unused for longest, and fails if that does not free enough. Lower saves
disk; higher avoids repeated builds."""),
    cfg.StrOpt(
        'publish_bases', default='none', choices=[
            ('none', 'each host builds the bases that it needs'),
            ('glance', 'one host builds a base and uploads it to Glance; the'
                       ' others take it from there')],
        help="""
Where hosts get bases that other hosts have built.

With "glance", the first instance of an image on a further host starts without
a build. Each base takes room in Glance, about a third of its size.
nova-compute uploads and takes bases with the credentials in [flexmem_glance].
No tenant may have a role in their project: whoever uploads images for it
decides what instances on all hosts run."""),
    cfg.StrOpt(
        'extra_kernel_args', default='',
        help="""
Arguments appended to the kernel command line of FlexMem instances.

A change applies to each FlexMem instance on the host at its next start. A
wrong argument can keep all of them from booting."""),
    cfg.BoolOpt(
        'guest_kernels', default=False,
        help="""
Let FlexMem instances run a kernel that is installed in them.

An instance starts its image's kernel. With this option, that kernel starts
another one by kexec: the one that the instance's boot loader would start, if
it was installed in the instance. So security updates of kernels take effect at
the next reboot, which takes one or two seconds longer then. Guests can run
kernels of their own making, as stock instances can.

Flavors set it with the extra spec flexmem:kernel, images with the property
flexmem_kernel; both take "own" and "base". Where either says "base", the
instance runs its image's kernel; with image_policy "narrow", an image cannot
ask for "own". An instance keeps what it was built with until it is rebuilt or
unshelved."""),
    cfg.BoolOpt(
        'free_page_reporting', default=True,
        help="""
Let FlexMem instances return freed pages to the host.

It saves the memory that booting and short-lived programs leave behind. A guest
pays one page fault when it uses a returned page again. The pages are returned
through the balloon device. Instances have none, and return nothing, if
[libvirt] mem_stats_period_seconds is 0."""),
    cfg.IntOpt(
        'free_page_reporting_order', default=0, min=0, max=9,
        help="""
Smallest block of free memory that FlexMem instances return to the host, as a
power of two of 4 KiB pages: 0 is one page, 9 is 2 MiB.

Linux's own default is 2 MiB. With that, up to a quarter of an instance's
memory may be free after its boot and not returned. Smaller blocks return more,
but split the host's huge pages and cost the guest one page fault for each
block that it uses again. Set 9 where instances are few and speed matters more
than memory. Set the host's khugepaged/max_ptes_none to 0: otherwise khugepaged
refills split huge pages, and most of the gain is lost within hours."""),
    cfg.StrOpt(
        'ksm', default='off', choices=[
            ('off', 'nova-compute does not run KSM'),
            ('after_boot', 'one bounded scan after FlexMem instances have'
                           ' started')],
        help="""
Whether the host's kernel merges equal pages that FlexMem does not share (KSM).

Such pages hold the guests' kernels and equal memory of their programs. Merged
pages stay merged, without further scans, until a guest writes to them. The
scan covers the RAM of all instances on the host, including stock instances and
instances of other projects, whatever share_scope is: a guest can tell from the
duration of a write that another guest has the same page. Instances whose
domain has <nosharepages/> are left out. A helper that runs as root controls
KSM; see [nova_flexmem_privileged]. If KSM is already on, for example by
ksmtuned, nova-compute does not touch it."""),
    cfg.IntOpt(
        'ksm_settle_s', default=120, min=10,
        help="""
Time between the start of an instance and the KSM scan, in seconds, with
ksm = after_boot.

If more instances start meanwhile, the scan waits for them too, for at most
five times this long, so that instances that start together get one scan.
Higher lets guests settle, so that merged pages stay merged; lower frees memory
sooner."""),
    cfg.IntOpt(
        'ksm_limit_s', default=600, min=1,
        help="""
Maximum duration of a KSM scan, in seconds.

A scan takes about one processor. The next scan continues where the last one
stopped, and starts no sooner than nine times the last scan's duration after
it. Higher merges more in one scan; lower limits how long a scan keeps the
processor busy."""),
    cfg.BoolOpt(
        'host_devices', default=False,
        help="""
Let instances with devices of the host use FlexMem: PCI devices, vGPUs,
accelerators and direct ports.

Nobody has tried that on real hardware. A device reads and writes the memory of
its instance by itself, so only the IOMMU keeps it from writing to the base. By
its sources, QEMU has the IOMMU map the base for reading only. Switch this on
only to try it, on a host without other tenants; "Known limits" in the
documentation says what has to be tried. Such an instance returns no memory,
cannot be migrated live or suspended, and keeps the whole base in memory."""),
    cfg.ListOpt(
        'direct_paths', default=[
            '/var/lib/docker', '/var/lib/containerd', '/var/lib/containers',
            '/var/lib/buildkit', '/var/lib/kubelet', '/var/lib/rancher',
            '/var/lib/k0s', '/var/lib/machines', '/var/lib/incus',
            '/var/snap/microk8s/common', '/var/snap/lxd/common'],
        help="""
Folders in the guest that lie directly on the delta, not on the overlay.

Container engines mount overlays in these folders, and Linux refuses an overlay
whose upper layer is itself on an overlay. At the first boot, the image's files
in these folders are copied to the delta, so large folders cost private disk
and boot time. Images name more in the property flexmem_direct_paths, and
images and users in /etc/flexmem/direct."""),
    cfg.IntOpt(
        'remove_unused_base_minimum_age_s', default=86400, min=0,
        help="""
Time that a base must have been unused before it is removed, in seconds.

Higher avoids rebuilding the bases of images that are used again; lower frees
disk sooner. A base that an instance uses is never removed."""),
]


def register_opts(conf):
    """Register the [flexmem] options with a ConfigOpts."""
    # a group object keeps overrides of its options, so each ConfigOpts gets
    # its own copy
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTS, group=GROUP)


def register_scheduler_opts(conf):
    """Register the options of [flexmem] that nova-scheduler reads."""
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(schedulerconf.OPTS, group=GROUP)


def reporting_order(conf):
    """Return the value for transform() of guest.domain.

    :returns: the option free_page_reporting_order, or None if
        free_page_reporting is off
    """
    return (conf.flexmem.free_page_reporting_order
            if conf.flexmem.free_page_reporting else None)


def list_opts():
    """Return [(group, options)] for oslo-config-generator."""
    return [(GROUP, copy.deepcopy(OPTS + schedulerconf.OPTS)),
            *glanceconf.list_opts()]
