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

"""What cloud-init in a guest reports of a boot.

The file is written at the end of each boot; cloud-init's documentation
describes it under "Reported status".
"""

import json

RESULT = '/run/cloud-init/result.json'

#: Shows the file. cloud-init may end after multi-user.target; where it was
#: disabled, as it found no config drive, it ends never.
SHOW_RESULT = f'''
for second in $(seq 300); do
    if [ -s {RESULT} ] || [ -e /run/cloud-init/disabled ]; then break; fi
    sleep 1
done
cat {RESULT}'''

#: The beginning of what cloud-init calls the config drive.
_DATASOURCE = 'DataSourceConfigDrive'


def fault(text):
    """Return why a boot is not as the config drive asks for, or None.

    :param text: of the file RESULT in the guest
    """
    try:
        result = json.loads(text)['v1']
        datasource, errors = str(result['datasource']), result['errors']
    except (ValueError, KeyError, TypeError):
        return f'{RESULT} is not understood: {text[:200]}'
    if not datasource.startswith(_DATASOURCE):
        return f'it took its data from {datasource}'
    if errors:
        return f'it had errors: {"; ".join(map(str, errors))}'
    return None
