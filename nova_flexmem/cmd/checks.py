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

"""The checks of "nova-flexmem-status upgrade check"."""

import importlib
import os
import shutil

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from pbr import version

from nova_flexmem import accel
from nova_flexmem.cmd import storage
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem.host import apparmor
from nova_flexmem.host import hugepages
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import preflight
from nova_flexmem import sandbox
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

_DRIVER = 'flexmem.FlexMemDriver'

#: Major versions of Nova that the driver is known to work with.
_KNOWN_NOVA = ('34',)

#: A guest that hands back whole huge pages leaves none with holes.
_HUGE_PAGE_ORDER = 9

_SUCCESS, _WARNING, _FAILURE = upgradecheck.Code


class Checks(upgradecheck.UpgradeCommands):
    """The checks of "nova-flexmem-status upgrade check".

    :param conf: a ConfigOpts with the options of status.new_conf()
    """

    def __init__(self, conf):
        self._conf = conf

    def _check_nova(self):
        try:
            importlib.import_module('nova')
        except ImportError as e:
            return _result([(_FAILURE, f'Nova cannot be imported ({e});'
                             ' install this package into the Python'
                             ' environment that nova-compute runs in')])
        release = version.VersionInfo('nova').release_string()
        notes = []
        if release.split('.')[0] not in _KNOWN_NOVA:
            notes.append((_WARNING, f'Nova {release} was not tried with this'
                         f' version; known to work: {", ".join(_KNOWN_NOVA)}'))
        try:
            seams = importlib.import_module('nova_flexmem.virt.seams')
            notes += [(_FAILURE, f'Nova {release}: {problem}; use another'
                      ' version of Nova or of nova-flexmem')
                      for problem in seams.problems()]
        except (ImportError, AttributeError) as e:
            notes.append((_FAILURE, f'the driver does not fit Nova {release}'
                         f' ({e}); use another version of either'))
        return _result(notes, f'Nova {release}')

    def _check_configuration(self):
        conf = self._conf
        if 'compute_driver' not in conf:
            return _result([(_FAILURE, 'not checked, as Nova cannot be'
                             ' imported')])
        notes = _of_lines(conf)
        notes += storage.notes(conf)
        if conf.libvirt.virt_type not in ('kvm', 'qemu'):
            notes.append((_FAILURE, '[libvirt] virt_type is'
                         f' {conf.libvirt.virt_type}, and FlexMem needs QEMU;'
                          ' set it to kvm'))
        if conf.libvirt.inject_partition != -2:
            notes.append((_WARNING, 'files cannot be injected into FlexMem'
                         ' instances; set [libvirt] inject_partition to -2'))
        if (conf.flexmem.free_page_reporting and
                conf.libvirt.mem_stats_period_seconds <= 0):
            notes.append((_WARNING, 'instances get no balloon, by which they'
                         ' would hand free pages back; set [libvirt]'
                          ' mem_stats_period_seconds above 0, or [flexmem]'
                          ' free_page_reporting to false'))
        return _result(notes)

    def _check_host(self):
        path = self._conf.flexmem.store_path
        root = os.geteuid() == 0
        there = os.path.exists(path)
        if root and there and os.stat(path).st_uid != 0:
            return _result([(_WARNING, f'not checked: {path} is not of root,'
                             ' whose files would be in the way there; run'
                             ' this as the user that nova-compute runs as')])
        try:
            findings = preflight.check(
                self._conf, self._conf.libvirt.virt_type
                if 'libvirt' in self._conf else None, storage.of(self._conf))
        finally:
            if root and not there:
                # nova-compute, which is to make it, is rarely root
                shutil.rmtree(path, ignore_errors=True)
        notes = [(_FAILURE, finding.message) for finding in findings
                 if not finding.ok]
        if accel.kvm_forbidden():
            notes.append((_WARNING, 'bases are built without KVM, many times'
                         ' slower, as this user may not open /dev/kvm; add it'
                          ' to the group that may, mostly kvm'))
        return _result(notes,
                       '; '.join(finding.message for finding in findings))

    def _check_huge_pages(self):
        order = flexmem_conf.reporting_order(self._conf)
        if (order in (None, _HUGE_PAGE_ORDER)
                or not hugepages.max_filled_pages()):
            return _result([], 'memory that instances hand back stays free')
        return _result([(_WARNING, 'khugepaged takes back most of the memory'
                         ' that instances hand back in pieces, within hours;'
                         f' write 0 to {hugepages.FOLDER}/'
                         f'{hugepages.MAX_FILLED} at each start of the host')])

    def _check_apparmor(self):
        conf = self._conf
        uri = 'libvirt' in conf and conf.libvirt.connection_uri
        try:
            if not apparmor.confines(uri or 'qemu:///system'):
                return _result([], 'AppArmor does not confine QEMU')
        except exception.HostUnfit as e:
            return _result([(_WARNING, f'not checked: {e.kwargs["reason"]}')])
        notes = []
        for check, code in ((apparmor.check_instances, _FAILURE),
                            (apparmor.check_rescue, _WARNING)):
            try:
                check(conf.flexmem.store_path)
            except exception.HostUnfit as e:
                notes.append((code, e.kwargs['reason']))
            except exception.ProgramFailed as e:
                notes.append((_WARNING, f'not checked: {e}'))
        return _result(notes, 'AppArmor lets QEMU map bases')

    def _check_sandbox(self):
        problem = sandbox.problem()
        return _result([(_WARNING, problem)] if problem else [],
                       'Landlock limits what reads images')

    def _check_ksm(self):
        group = self._conf.flexmem
        if group.ksm == 'off':
            return _result([], 'KSM is left alone')
        notes = []
        if group.share_scope == 'project':
            notes.append((_WARNING, 'share_scope = project keeps the bases of'
                         ' projects apart, and ksm = after_boot merges what is'
                          ' equal in their memory all the same; set [flexmem]'
                          ' ksm to off'))
        try:
            ksm_switch.Switch().check_off()
            self._try_helper()
        except exception.KsmUnusable as e:
            notes.append((_WARNING, f'nothing will be merged after boot: {e}'))
        return _result(notes, 'KSM can be switched')

    def _try_helper(self):
        conf = self._conf
        root_helper = 'sudo'
        if ('rootwrap_config' in conf and
                not conf.workarounds.disable_rootwrap):
            root_helper += f' nova-rootwrap {conf.rootwrap_config}'
        # oslo.privsep imports eventlet, which warns of itself on every start
        importlib.import_module('nova_flexmem.host.privileged').try_out(
            conf.config_file, conf.config_dir, root_helper)

    def _check_base_store(self):
        path = self._conf.flexmem.store_path
        if not os.path.exists(path):
            return _result([], f'{path} is not there yet')
        try:
            store = basestore.Store(path, read_only=True)
            keys = store.keys()
        except exception.StoreUnusable as e:
            return _result([(_FAILURE, str(e))])
        notes = []
        for key in keys:
            folder = os.path.join(store.folder('bases'), key)
            try:
                basefiles.Base(folder).states()
            except exception.BaseDamaged as e:
                notes.append((_FAILURE, str(e)))
        return _result(notes, f'{len(keys)} bases in {path}')

    _upgrade_checks = (('Nova', _check_nova),
                       ('Configuration', _check_configuration),
                       ('Host', _check_host),
                       ('Huge pages', _check_huge_pages),
                       ('AppArmor', _check_apparmor),
                       ('Sandbox', _check_sandbox),
                       ('KSM', _check_ksm),
                       ('Base store', _check_base_store))


def _result(notes, otherwise=None):
    """Return the Result of a check.

    :param notes: pairs of a code and a text
    :param otherwise: the text if there are none
    """
    if not notes:
        return upgradecheck.Result(_SUCCESS, otherwise)
    return upgradecheck.Result(max(code for code, _text in notes),
                               '; '.join(text for _code, text in notes))


def _of_lines(conf):
    """Return notes on the lines of nova.conf that switch the driver on."""
    hooked = any(_source_driver(conf, group) == 'flexmem'
                 for group in conf.config_source)
    if hooked and conf.compute_driver == _DRIVER:
        return []
    lines = (f'add to nova.conf "config_source = flexmem" and'
             f' "compute_driver = {_DRIVER}" in [DEFAULT], and "driver ='
             ' flexmem" in [flexmem]')
    if conf.compute_driver == _DRIVER:
        return [(_FAILURE, f'nova-compute cannot find {_DRIVER}; {lines}')]
    return [(_WARNING, f'nova-compute does not use FlexMem; {lines}')]


def _source_driver(conf, group):
    try:
        return conf[group].driver
    except (cfg.NoSuchOptError, cfg.ConfigFileValueError):
        return None  # oslo.config has said so
