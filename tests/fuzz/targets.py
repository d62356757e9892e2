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

"""The targets: functions that take any bytes.

A target returns, or raises what is a finding: an exception that the parser
does not document, or an AssertionError about what it returned.
"""

import importlib

#: {target: its module below tests.fuzz}
MODULES = {
    'inspection': 'answers', 'measure': 'answers', 'merged': 'answers',
    'command_line': 'boot', 'kernel_image': 'boot', 'kernel_tree': 'boot',
    'menu': 'boot', 'module': 'boot', 'modules': 'boot', 'mounts': 'boot',
    'clusters': 'disks', 'disk': 'disks', 'instance_record': 'disks',
    'manifest': 'disks', 'root_filesystem': 'disks',
    'direct_paths': 'nova', 'domain_xml': 'nova', 'image_properties': 'nova',
    'upper_layer': 'overlay'}


def load(name):
    """Return the target of a name."""
    module = importlib.import_module(f'tests.fuzz.{MODULES[name]}')
    return getattr(module, name)
