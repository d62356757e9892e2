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

"""What lean guests do without."""

import dataclasses

import testtools

from nova_flexmem.guest import domain
from nova_flexmem.guest import lean
from nova_flexmem.guest import xmledit
from tests.unit.guest import test_domain
from tests.unit.guest import test_golden


class ParseTest(testtools.TestCase):

    def test_in_one_order(self):
        self.assertEqual(('tracing', 'video'), lean.parse('video,tracing'))
        self.assertEqual(lean.PARTS, lean.parse(','.join(lean.PARTS)))

    def test_what_is_no_part(self):
        for text in ('', 'all', 'tracing,', 'tracing, video', 'Tracing'):
            e = self.assertRaises(ValueError, lean.parse, text)
            self.assertIn('tracing, kaslr, video, nesting', str(e))


class LeanTest(testtools.TestCase):

    def _transform(self, without, change=(), release='6.1.0-50-amd64'):
        xml = test_domain.STOCK
        if change:
            self.assertIn(change[0], xml)
            xml = xml.replace(*change)
        return domain.transform(
            xml, dataclasses.replace(test_golden.BOOT,
                                     kernel_release=release),
            without=without)

    def _line(self, without, release='6.1.0-50-amd64'):
        arguments = test_domain._arguments(self._transform(
            without, release=release))
        return arguments[arguments.index('-append') + 1].split()

    def _root(self, without, *change):
        return xmledit.parse(self._transform(without, change))

    def test_tracing(self):
        word = 'initcall_blacklist=tracer_init_tracefs'
        for release, is_there in (
                ('6.1.0-50-cloud-amd64', True), ('5.14.0-611.el9', True),
                ('6.5.0-1-amd64', True), ('', True), ('6.6.0', False),
                ('6.12.117+deb12-amd64', False), ('7.0.1', False)):
            self.assertEqual(is_there,
                             word in self._line(['tracing'], release), release)
        self.assertNotIn(word, self._line(['kaslr', 'video', 'nesting']))

    def test_kaslr(self):
        self.assertIn('nokaslr', self._line(['kaslr']))
        self.assertNotIn('nokaslr', self._line(['tracing', 'video']))

    def test_video(self):
        devices = (
            '<devices>', '<devices><graphics type="vnc"/><video><model'
            ' type="virtio"/></video><video><model type="qxl"/></video>')
        root = self._root(['video'], *devices)
        self.assertEqual(['none'], root.xpath('devices/video/model/@type'))
        self.assertEqual(1, len(root.xpath('devices/video')))
        self.assertEqual(['vnc'], root.xpath('devices/graphics/@type'))
        root = self._root([], *devices)
        self.assertEqual(['virtio', 'qxl'],
                         root.xpath('devices/video/model/@type'))
        # libvirt adds none by itself then
        self.assertEqual([], self._root(['video']).xpath('devices/video'))

    def test_nesting(self):
        for cpu in ('<cpu mode="host-model"/>', '<cpu mode="host-passthrough">'
                    '<feature name="vmx" policy="require"/></cpu>',
                    '<cpu><model>EPYC</model><numa><cell id="0" cpus="0"'
                    ' memory="524288"/></numa></cpu>'):
            root = self._root(['nesting'], '<os>', f'{cpu}<os>')
            self.assertEqual(
                {'vmx': 'disable', 'svm': 'disable'},
                {feature.get('name'): feature.get('policy')
                 for feature in root.findall('cpu/feature')})
            self.assertEqual('numa', root.find('cpu')[-1].tag)

    def test_nesting_of_a_processor_without_a_model(self):
        for cpu in ('', '<cpu><topology sockets="1" cores="1" threads="1"/>'
                    '</cpu>'):
            root = self._root(['nesting'], '<os>', f'{cpu}<os>')
            self.assertEqual([], root.findall('cpu/feature'))

    def test_nothing_by_default(self):
        self.assertEqual(
            domain.transform(test_domain.STOCK, test_golden.BOOT),
            self._transform([], release=''))
