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

"""The command line: python -m tools.cloud up|down|status|env|run."""

import argparse
import os
import shlex
import sys
import time

from nova_flexmem import exception
from tools.cloud import cloud
from tools.cloud import layout


def _up(the_cloud, args):
    began = time.monotonic()
    the_cloud.up(args.driver, image_cache_s=args.image_cache_interval,
                 debug=args.debug, say=_say)
    _say(f'up after {time.monotonic() - began:.0f} s;'
         f' logs in {the_cloud.layout.logs}')
    print('. <(python -m tools.cloud env) makes the openstack command use it')


def _down(the_cloud, _args):
    the_cloud.down()


def _status(the_cloud, _args):
    status = the_cloud.status()
    for name, pid in status.items():
        print(f'{name:20} {pid or "does not run"}')
    return 0 if all(status.values()) else 1


def _env(the_cloud, _args):
    the_cloud.layout.settings()
    variables = {
        'OS_CLIENT_CONFIG_FILE': the_cloud.layout.clouds_yaml,
        'OS_CLOUD': 'admin',
        'PATH': os.path.join(layout.VENV, 'bin') + ':' + os.environ['PATH'],
        'no_proxy': '127.0.0.1'}
    for name, value in variables.items():
        print(f'export {name}={shlex.quote(value)}')


def _run(the_cloud, args):
    command = the_cloud.machines[args.machine].command(*args.command)
    sys.stdout.flush()
    os.execvp(command[0], command)


def _say(message):
    print(f'cloud: {message}', flush=True)


def _parser():
    parser = argparse.ArgumentParser(
        prog='python -m tools.cloud',
        description='An OpenStack cloud with two compute nodes on this'
                    ' machine, for tests. Needs root.')
    parser.add_argument('--folder', default=layout.FOLDER,
                        help='where it keeps everything (%(default)s)')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    up = commands.add_parser('up', help='bring the cloud up')
    up.add_argument('--driver', choices=('stock', 'flexmem'),
                    default='flexmem',
                    help="the compute nodes' driver (%(default)s)")
    up.add_argument('--image-cache-interval', type=int, default=2400,
                    metavar='SECONDS', help='between runs of the image'
                    ' cache manager (%(default)s)')
    up.add_argument('--debug', action='store_true',
                    help='have the services log more')
    up.set_defaults(function=_up)
    for name, function, text in (
            ('down', _down, 'end the cloud; logs and appliance stay'),
            ('status', _status, 'list machines and services'),
            ('env', _env, "print what to source for OpenStack's clients")):
        commands.add_parser(name, help=text).set_defaults(function=function)
    run = commands.add_parser('run', help='run a command in a machine')
    run.add_argument('machine', choices=('controller', *layout.NODES))
    run.add_argument('command', nargs=argparse.REMAINDER)
    run.set_defaults(function=_run)
    return parser


def main():
    args = _parser().parse_args()
    if os.geteuid() != 0:
        sys.exit('cloud: it needs root, for the namespaces of its machines')
    try:
        return args.function(cloud.Cloud(args.folder), args)
    except exception.FlexMemException as e:
        sys.exit(f'cloud: {e}')


if __name__ == '__main__':
    sys.exit(main())
