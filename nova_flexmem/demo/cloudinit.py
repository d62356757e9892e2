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
import time

RESULT = '/run/cloud-init/result.json'

#: Seconds after the login prompt within which it started the control shell:
#: its stage that does comes before users may log in (systemd-user-sessions).
_STARTED_BY_S = 60
_LOGIN = ' login: '

#: Why there is no control shell.
NOT_THERE = ('cloud-init in the guest has not started it; is cloud-init'
             ' installed and enabled in the image, and does it read config'
             ' drives?')

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


class Turn:
    """Tells whether cloud-init had its turn in a boot that has begun.

    :param console: returns the text of the guest's console, of all boots
    """

    def __init__(self, console):
        self._console = console
        self._logins = console().count(_LOGIN)
        self._over_s = None

    def is_over(self):
        """Return whether what it starts must have been started."""
        if self._over_s is None:
            if self._console().count(_LOGIN) > self._logins:
                self._over_s = time.monotonic() + _STARTED_BY_S
            return False
        return time.monotonic() > self._over_s


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
