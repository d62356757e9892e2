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

"""All that a hostile guest does to its FlexMem device, by name."""

from tests.drills.hostile import kernel
from tests.drills.hostile import machine

#: Each raises OSError if it is refused. One that takes the device away returns
#: how many bytes it changed in the guest's view; the others return None.
MEANS = {function.__name__: function
         for function in (*kernel.MEANS, *machine.MEANS)}
