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

"""What goes wrong with the cloud, in the tree of nova_flexmem.exception."""

from nova_flexmem import exception

_TAIL_LINES = 15


class CloudFailed(exception.FlexMemException):
    """The cloud can't be brought up, or is not there."""

    msg_fmt = '%(reason)s'


class ServiceFailed(CloudFailed):
    """A service of the cloud does not run, or could not be prepared."""

    msg_fmt = '%(service)s %(what)s; the end of %(log)s:'

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with open(kwargs['log'], encoding='utf-8', errors='replace') as f:
            self._tail = ''.join(f.readlines()[-_TAIL_LINES:])

    def __str__(self):
        return f'{super().__str__()}\n{self._tail}'
