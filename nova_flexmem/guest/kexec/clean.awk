# Drops arguments that a FlexMem guest gets in another way.
#
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

# Reads one a line, prints one line. The variable "dropped" is a pattern of
# names. See clean() in nova_flexmem/image/bootloader.py.

BEGIN { pattern = "^(" dropped ")(=.*)?$" }

$0 == "" || $0 ~ pattern || /flexmem\./ || /[$"]/ || /[^ -~]/ { next }

/ / { $0 = "\"" $0 "\"" }

{ line = line (line == "" ? "" : " ") $0 }

END { print line }
