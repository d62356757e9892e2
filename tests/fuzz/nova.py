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

"""Targets: what tenants tell Nova, and the domains of their instances."""

import contextlib
import dataclasses
import types

from lxml import etree
from nova import exception as nova_exception
from nova.objects import image_meta

from nova_flexmem import exception
from nova_flexmem.guest import cmdline
from nova_flexmem.guest import domain
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy
from tests.fuzz import form

_BOOT = domain.Boot(
    root_pmem='/store/bases/0/root.pmem', size_bytes=8 << 20,
    kernel='/store/bases/0/kernel', initramfs='/store/bases/0/initramfs',
    kernel_args='quiet', base_uuid='00000000-0000-0000-0000-000000000007',
    layout='0' * 32, rootfs='erofs')


class _Images:

    def __init__(self, properties):
        self._snapshot = {'status': 'active', 'properties': properties}

    def get(self, _context, image_id):
        if image_id == 'snapshot':
            return self._snapshot
        assert len(image_id) == 36 and image_id.count('-') == 4, image_id
        raise nova_exception.ImageNotFound(image_id=image_id)


def image_properties(data):
    """The properties of an image: a part each."""
    properties = {name: form.text(value).removesuffix('\n')
                  for name, value in form.parts(data).items() if name}
    for image_policy in ('narrow', 'allow', 'ignore'):
        with contextlib.suppress(exception.PolicyConflict):
            asked = policy.asked({}, properties, default_policy='disabled',
                                 default_writes='disk',
                                 image_policy=image_policy)
            assert asked.policy in policy.POLICIES
            assert asked.writes in policy.WRITES
            assert image_policy == 'allow' or asked.policy == 'disabled'
    instance = types.SimpleNamespace(
        vm_state='building', project_id='tenant',
        system_metadata={f'image_{name}': value
                         for name, value in properties.items()})
    meta = image_meta.ImageMeta.from_dict({'id': 'snapshot'})
    with contextlib.suppress(exception.ImageRefused):
        layered.link(types.SimpleNamespace(project_id='tenant'),
                     _Images(properties), instance, meta)


def direct_paths(data):
    """Direct paths, one a line, and the image's kernel command line."""
    texts = form.parts(data)
    paths = form.text(texts['']).splitlines()
    boot = dataclasses.replace(
        _BOOT, kernel_args=form.text(texts.get('args', b'')), base_uuid='7')
    try:
        line = cmdline.build(boot, 'disk', paths, 0, '')
    except ValueError:
        return
    assert line.isprintable() and len(line.encode()) <= cmdline.MAX_BYTES
    bases = [word for word in line.split() if word.startswith('flexmem.base')]
    assert bases[-1] == 'flexmem.base=7', line


def domain_xml(data):
    """A stock instance's domain."""
    try:
        xml = domain.transform(form.text(data), _BOOT)
    except exception.DomainRefused:
        return
    assert etree.fromstring(xml.encode()).tag == 'domain'
