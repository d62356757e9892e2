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

"""Domains as Nova writes them, for what flavors and images can ask for.

The order and the form of the elements are those of Nova's driver (see
tests/unit/guest/golden/pc.stock.xml). The network is QEMU's own, with a DHCP
server, and there is no VNC.
"""

#: What an instance can be like. The config drive is a CD, or on virtio a disk,
#: as Nova has it. Room is for memory that is plugged in later.
FACTORS = {
    'machine': ('pc', 'q35'),
    'ram_mib': (256, 512, 3072, 4096, 6144, 16384),
    'vcpus': (1, 2, 8),
    'cells': (1, 2),
    'config_drive': ('ide', 'sata', 'scsi', 'virtio'),
    'disk': ('virtio', 'scsi'),
    'network': ('virtio', 'e1000'),
    'tablet': (True, False),
    'firmware': ('bios', 'uefi'),
    'device': ('nvdimm', 'virtio-pmem'),
    'room': (False, True)}

_PREFIX = {'ide': 'hd', 'sata': 'sd', 'scsi': 'sd', 'virtio': 'vd'}

_DOMAIN = """<domain type="{domain_type}">
  <name>{name}</name>
  {room}<memory unit="KiB">{ram_kib}</memory>
  <vcpu>{vcpus}</vcpu>
  <sysinfo type="smbios">
    <system><entry name="product">OpenStack Nova</entry></system>
  </sysinfo>
  <os{efi}>
    <type arch="x86_64" machine="{machine}">hvm</type>
    <boot dev="hd"/>
    <smbios mode="sysinfo"/>
  </os>
  <features><acpi/><apic/><vmcoreinfo/></features>
  <clock offset="utc">
    <timer name="pit" tickpolicy="delay"/>
    <timer name="rtc" tickpolicy="catchup"/>
    <timer name="hpet" present="no"/>
  </clock>
  <cpu mode="host-model" match="exact">
    <topology sockets="{vcpus}" cores="1" threads="1"/>{numa}
  </cpu>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw" cache="none" discard="unmap"/>
      <source file="{folder}/disk"/>
      <target bus="{disk}" dev="{disk_prefix}a"/>
      {disk_address}
    </disk>
    <disk type="file" device="{drive_kind}">
      <driver name="qemu" type="raw" cache="none"/>
      <source file="{folder}/disk.config"/>
      <target bus="{config_drive}" dev="{drive_dev}"/>
      {drive_address}
    </disk>
    {scsi}
    <interface type="user">
      <mac address="fa:16:3e:4c:2c:30"/>
      <model type="{network}"/>
    </interface>
    <serial type="pty"><log file="{folder}/console.log" append="off"/></serial>
    {input}
    <video><model type="virtio"/></video>
    <rng model="virtio">
      <backend model="random">/dev/urandom</backend>
    </rng>
    <memballoon model="virtio"><stats period="10"/></memballoon>
  </devices>
</domain>
"""


def possible(combination):
    """Return whether Nova or libvirt let an instance be like that."""
    return not (
        # q35 has no IDE
        combination['machine'] == 'q35'
        and combination['config_drive'] == 'ide'
        # each cell needs a processor
        or combination['cells'] > combination['vcpus'])


def stock_xml(combination, name, domain_type, folder):
    """Return the XML of a stock domain.

    :param folder: with its files disk, disk.config and console.log
    """
    drive, disk = combination['config_drive'], combination['disk']
    ram_kib = combination['ram_mib'] << 10
    prefix = _PREFIX[drive]
    return _DOMAIN.format(
        name=name, domain_type=domain_type, folder=folder, ram_kib=ram_kib,
        efi=' firmware="efi"' if combination['firmware'] == 'uefi' else '',
        room='' if not combination['room'] else (
            f'<maxMemory slots="2" unit="KiB">{ram_kib + (4 << 20)}'
            '</maxMemory>\n  '),
        numa=_numa(combination, ram_kib),
        disk_prefix=_PREFIX[disk],
        disk_address=_scsi_address(0) if disk == 'scsi' else '',
        drive_kind='disk' if drive == 'virtio' else 'cdrom',
        drive_dev=prefix + ('b' if _PREFIX[disk] == prefix else 'a'),
        drive_address=_scsi_address(1) if drive == 'scsi' else '',
        scsi='<controller type="scsi" index="0" model="virtio-scsi"/>'
             if 'scsi' in (drive, disk) else '',
        input='<input type="tablet" bus="usb"/>'
              '<controller type="usb" index="0"/>'
              if combination['tablet'] else '',
        **{key: combination[key] for key in (
            'machine', 'vcpus', 'disk', 'config_drive', 'network')})


def _scsi_address(unit):
    return f'<address type="drive" controller="0" unit="{unit}"/>'


def _numa(combination, ram_kib):
    if combination['cells'] == 1:
        return ''
    half = combination['vcpus'] // 2
    return '<numa>' + ''.join(
        f'<cell id="{number}" cpus="{",".join(map(str, cpus))}"'
        f' memory="{ram_kib // 2}" memAccess="shared"/>'
        for number, cpus in enumerate((
            range(half), range(half, combination['vcpus'])))) + '</numa>'
