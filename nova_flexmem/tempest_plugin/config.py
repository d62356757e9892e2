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

"""Options of the tests, group [flexmem] of tempest.conf."""

from oslo_config import cfg

GROUP = cfg.OptGroup('flexmem', title='FlexMem')

OPTS = [
    cfg.StrOpt(
        'flavor_ref',
        help="""
Id of a flavor with flexmem:policy=required. Without it no test runs."""),
    cfg.StrOpt(
        'flavor_ref_alt',
        help="""
Id of another such flavor, with more memory and a larger disk, for the resize.
"""),
    cfg.StrOpt(
        'image_ref',
        help="""
Id of an image with cloud-init that can be a base; [compute] image_ref if it is
not set. CirrOS is none.

The tests read what a guest says of itself on its serial console, and need no
network."""),
    cfg.StrOpt(
        'host_command',
        help="""
Beginning of a command that runs what follows it as root on a compute host,
"{host}" standing for its name: "ssh stack@{host} sudo" for example, or just
"sudo" on the only host there is.

With it the tests look at the mappings of QEMU processes, which the API does
not show; without it those tests are skipped."""),
]
