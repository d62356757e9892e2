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

"""The section "FlexMem" of a service's Guru Meditation Report.

oslo.reports prints the report when the service gets SIGUSR2. The section must
not raise, because that would lose the whole report, and must not wait for a
lock.
"""

import os

from oslo_reports import guru_meditation_report
from oslo_reports.models import with_default_views
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.store import basestore
from nova_flexmem.store import room

TITLE = 'FlexMem'


def register(conf, get_findings):
    """Add the section to the report of this process.

    :param conf: a ConfigOpts with the [flexmem] options
    :param get_findings: called without arguments; returns the results of the
        last preflight, a list of preflight.Finding
    """
    guru_meditation_report.TextGuruMeditation.register_section(
        TITLE, Section(conf, get_findings))


class Section:
    """Generates the section when oslo.reports calls it; see register()."""

    def __init__(self, conf, get_findings):
        self._conf = conf
        self._get_findings = get_findings

    def __call__(self):
        return with_default_views.ModelWithDefaultViews({
            'store': self._store(), 'preflight': self._preflight()})

    def _store(self):
        path = self._conf.flexmem.store_path
        facts = {'path': path,
                 'limit': _limit(self._conf.flexmem.max_store_size_gib)}
        try:
            store = basestore.Store(path)
            return facts | {
                'size': _mib(store.size_bytes()),
                'bases': {key: _base(store, key) for key in store.keys()}}
        except (exception.FlexMemException, OSError) as e:
            return facts | {'error': str(e)}

    def _preflight(self):
        findings = self._get_findings()
        return {finding.name: f'{"ok" if finding.ok else "FAILED"}:'
                              f' {finding.message}'
                for finding in findings} or 'not done yet'


def _base(store, key):
    try:
        manifest = store.require(key).manifest
        users = store.recorded_users(key)
        facts = {
            'system': manifest.product, 'rootfs': manifest.rootfs,
            'size': _mib(room.allocated_bytes(
                os.path.join(store.folder('bases'), key))),
            'names': ' '.join(store.names_of(key)) or 'none',
            'users': ' '.join(users) or 'none'}
        if not users:
            facts['unused for'] = f'{store.unused_s()[key]:.0f} s'
    except (exception.FlexMemException, OSError) as e:
        return {'error': str(e)}
    return facts


def _mib(size_bytes):
    return f'{size_bytes / units.Mi:.0f} MiB'


def _limit(size_gib):
    return f'{size_gib} GiB' if size_gib else 'none'
