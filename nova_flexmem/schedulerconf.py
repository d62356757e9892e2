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

"""Options of nova-scheduler, group [flexmem] of nova.conf."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.FloatOpt(
        'base_weight_multiplier', default=3.0,
        help="""
Weight of hosts that run instances of the base that a new instance needs.

This option is for nova-scheduler, if [filter_scheduler] weight_classes names
nova_flexmem.scheduler.weigher.SameBaseWeigher. Higher places more instances
of one image together, which saves memory and builds; lower gives Nova's other
weighers more of a say. 0 switches the weigher off, and a negative value places
instances of one image apart. The key flexmem_base_weight_multiplier in the
metadata of an aggregate overrides this option for the aggregate's hosts."""),
    cfg.FloatOpt(
        'base_weight_margin', default=0.1, min=0.01, max=1.0,
        help="""
How much fuller than the mean a host may be and still be preferred.

It is a share of the memory and processors that flavors may take of a host. A
host that runs instances of the base is preferred the less, the more it is
fuller than the mean of all hosts that fit, and not at all from this margin on.
Higher saves more memory; lower fills hosts more evenly. This option is for
nova-scheduler, as base_weight_multiplier."""),
]
