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

"""Compares stock and FlexMem servers of one Glance image in the cloud.

python -m tools.cloud.demo: brings a cloud up, has Nova boot servers of either
kind on one of its nodes, and takes the cloud down again.
"""

import argparse
import base64
import datetime
import json
import os
import re
import statistics
import sys
import time

import prettytable

from nova_flexmem.demo import debian
from nova_flexmem.demo import report
from nova_flexmem.demo import workload
from nova_flexmem import exception
from nova_flexmem.host import memory
from tools.cloud import cloud
from tools.cloud import layout

MIB = 1 << 20
RAM_MIB = 512
DISK_GIB = 4
NODE = next(iter(layout.NODES))
MICROVERSION = '2.96'

KINDS = {'stock': {}, 'flexmem': {'flexmem:policy': 'required',
                                  'trait:CUSTOM_FLEXMEM': 'required'}}

_TIMEOUT_S = 900
_SETTLE_S = 20
_TIME = r'^(?P<time>\S+ \S+) .*\[instance: (?P<id>[0-9a-f-]{36})\] '
_CLAIMED = re.compile(_TIME + 'Claim successful', re.MULTILINE)
_STARTED = re.compile(_TIME + r'VM Started \(Lifecycle Event\)', re.MULTILINE)


class Demo:
    """The comparison, on a cloud that is up."""

    def __init__(self, the_cloud, args):
        self._cloud = the_cloud
        self._args = args
        self._connection = the_cloud.connect()

    def run(self):
        """Return the rows of the table.

        :raises: DemoFailed
        """
        _say('uploading the image')
        image = self._connection.image.create_image(
            'debian', filename=debian.build('ext4', self._args.cache),
            disk_format='qcow2', container_format='bare',
            validate_checksum=False).id
        flavors = {kind: self._flavor(kind, specs)
                   for kind, specs in KINDS.items()}
        self._await_trait()
        starts = self._starts(image, flavors)
        servers = {kind: self._measure(kind, image, flavor)
                   for kind, flavor in flavors.items()}
        if len({reading.digest for kind in servers.values()
                for reading, _usage in kind}) > 1:
            raise exception.DemoFailed(
                reason='the servers did not all read the same files, so their'
                ' figures cannot be compared')
        return self._rows(starts, servers)

    def _flavor(self, kind, specs):
        compute = self._connection.compute
        flavor = compute.create_flavor(name=f'demo-{kind}', ram=RAM_MIB,
                                       vcpus=1, disk=DISK_GIB)
        if specs:
            compute.create_flavor_extra_specs(flavor, specs)
        return flavor.id

    def _await_trait(self):
        placement = self._connection.placement
        _wait('the trait CUSTOM_FLEXMEM of a host', lambda: any(
            'CUSTOM_FLEXMEM' in placement.get(
                f'/resource_providers/{provider.id}/traits',
                microversion='1.6').json()['traits']
            for provider in placement.resource_providers(name=NODE)))

    def _starts(self, image, flavors):
        """Return {kind: seconds from claim to start, a list}.

        The first server of each kind fills the host's caches, and does not
        count.
        """
        ids = {kind: [] for kind in flavors}
        for number in range(self._args.starts + 1):
            for kind, flavor in flavors.items():
                _say(f'{kind}: start {number} of {self._args.starts}')
                server = self._create(f'{kind}-start-{number}', image, flavor)
                if number:
                    ids[kind].append(server)
                self._delete([server])
        with open(self._cloud.layout.log(f'nova-compute-{NODE}'),
                  encoding='utf-8', errors='replace') as f:
            text = f.read()
        claimed, started = (
            {match['id']: datetime.datetime.fromisoformat(match['time'])
             for match in reversed(list(pattern.finditer(text)))}
            for pattern in (_CLAIMED, _STARTED))
        return {kind: [(started[server] - claimed[server]).total_seconds()
                       for server in servers]
                for kind, servers in ids.items()}

    def _measure(self, kind, image, flavor):
        """Return [(Reading, Usage)] of the servers of a kind."""
        text = '#!/bin/sh\nexec > /dev/ttyS0 2>&1\n' + workload.script(
            self._args.read_mib * MIB)
        servers, readings = [], []
        for number in range(1, self._args.servers + 1):
            servers.append(self._create(
                f'{kind}-{number}', image, flavor, config_drive=True,
                user_data=base64.b64encode(text.encode()).decode()))
            _say(f'{kind}-{number}: active; it reads {self._args.read_mib}'
                 ' MiB')
            readings.append(_wait(f'{kind}-{number} to have read', lambda: (
                workload.parse(self._console(servers[-1]), 0))))
        _say(f'{kind}: settling, then measuring')
        time.sleep(_SETTLE_S)
        usages = [memory.of_process(_qemu(server), RAM_MIB * MIB)
                  for server in servers]
        self._delete(servers)
        return list(zip(readings, usages))

    def _rows(self, starts, servers):
        def usage(kind, figure):
            return [figure(used) / MIB for _reading, used in servers[kind]]

        def further(kind):
            private = usage(kind, lambda used: used.private_bytes)
            return [statistics.mean(private[1:] or private)]

        figures = (
            ('from claim to libvirt start', 's', starts.get),
            ('private host memory per server: guest RAM', 'MiB',
             lambda kind: usage(kind, lambda used: used.ram_bytes)),
            ('private host memory per server', 'MiB',
             lambda kind: usage(kind, lambda used: used.private_bytes)),
            ('private host memory per further server', 'MiB', further))
        return [report.row(name, unit, *map(values, KINDS))
                for name, unit, values in figures]

    def _create(self, name, image, flavor, **server):
        compute = self._connection.compute
        created = compute.post('/servers', microversion=MICROVERSION, json={
            'server': {'name': name, 'imageRef': image, 'flavorRef': flavor,
                       'networks': 'none', 'host': NODE} | server}).json()
        server_id = created['server']['id']
        _wait(f'{name} to be active', lambda: self._active(name, server_id))
        return server_id

    def _active(self, name, server_id):
        server = self._connection.compute.get_server(server_id)
        if server.status == 'ERROR':
            raise exception.DemoFailed(
                reason=f'server {name}: {(server.fault or {}).get("message")};'
                f' logs in {self._cloud.layout.logs}')
        return server.status == 'ACTIVE'

    def _console(self, server_id):
        return self._connection.compute.get_server_console_output(
            server_id)['output']

    def _delete(self, servers):
        compute = self._connection.compute
        for server in servers:
            compute.delete_server(server)
        _wait('servers to be deleted', lambda: not any(
            compute.find_server(server) for server in servers))


def _qemu(server_id):
    """Return the process id of a server's QEMU."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                words = f.read().split(b'\0')
        except OSError:
            continue  # it has ended
        if b'qemu' in words[0] and server_id.encode() in words:
            return int(pid)
    raise exception.DemoFailed(reason=f'server {server_id} has no QEMU')


def _wait(what, condition):
    deadline = time.monotonic() + _TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise exception.DemoFailed(
                reason=f'after {_TIMEOUT_S} s still waiting for {what}')
        time.sleep(0.5)
    return value


def _say(message):
    print(f'demo: {message}', flush=True)


def _parser():
    parser = argparse.ArgumentParser(
        prog='python -m tools.cloud.demo', description=__doc__)
    parser.add_argument('--servers', type=int, default=3,
                        help='of each kind (%(default)s)')
    parser.add_argument('--starts', type=int, default=5,
                        help='timed starts of each kind (%(default)s)')
    parser.add_argument('--read-mib', type=int, default=100,
                        help='what each server reads (%(default)s)')
    parser.add_argument('--cache', default='/var/tmp/nova-flexmem-images',
                        help='folder for the image (%(default)s)')
    parser.add_argument('--json', metavar='FILE',
                        help='write the table there, too')
    return parser


def main():
    args = _parser().parse_args()
    the_cloud = cloud.Cloud()
    try:
        the_cloud.up('flexmem', say=_say)
        try:
            rows = Demo(the_cloud, args).run()
        finally:
            the_cloud.down()
    except exception.FlexMemException as e:
        sys.exit(f'demo: {e}')
    table = prettytable.PrettyTable(report.COLUMNS)
    table.align = 'r'
    table.align['Figure'] = 'l'
    table.add_rows(rows)
    print(table)
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump([dict(zip(report.COLUMNS, row)) for row in rows], f,
                      indent=2)


if __name__ == '__main__':
    main()
