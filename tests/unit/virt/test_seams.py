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

import inspect

from nova.virt.libvirt import driver as libvirt_driver
import testtools

from nova_flexmem.virt import driver
from nova_flexmem.virt import seamlist
from nova_flexmem.virt import seams
from tests.unit.virt import nova_uses


class Stock:

    def __init__(self, virtapi, read_only=False):
        pass

    def spawn(self, context, instance, image, network_info=None, power_on=True,
              *, hint=None):
        pass

    @staticmethod
    def helper(path):
        pass


class SeamsTest(testtools.TestCase):

    def assert_problem(self, words, ours):
        found = seams.problems(ours, Stock, {})
        self.assertEqual(1, len(found), found)
        self.assertIn(words, found[0])

    def test_the_nova_that_is_here(self):
        self.assertEqual([], seams.problems())

    def test_public_methods_are_called_as_novas(self):
        ours = {name: method for name, method
                in vars(driver.FlexMemDriver).items()
                if inspect.isfunction(method) and (
                    name == '__init__' or not name.startswith('_'))}
        self.assertIn('spawn', ours)
        for name, method in ours.items():
            stock = getattr(libvirt_driver.LibvirtDriver, name)
            self.assertEqual(inspect.signature(stock),
                             inspect.signature(method), name)

    def test_methods_are_looked_at(self):
        """If super() were not found, a method that went would go unseen."""
        for name in ('_create_and_inject_local_root', '_get_guest_xml'):
            self.assertTrue(seams._calls_super(
                vars(driver.FlexMemDriver)[name], name), name)

    def test_that_fit(self):
        class Ours(Stock):
            def __init__(self, virtapi, *args, **kwargs):
                super().__init__(virtapi, *args, **kwargs)

            def spawn(self, context, instance, *args, network_info=None,
                      hint=None, **kwargs):
                super().spawn(context, instance, *args, **kwargs)

            @staticmethod
            def helper(path):
                pass

            def _own(self, whatever):
                super().spawn(whatever, None, None)

        self.assertEqual([], seams.problems(Ours, Stock, {}))

    def test_a_method_that_went(self):
        class Ours(Stock):
            def rescue(self, context, *args, **kwargs):
                super().rescue(context, *args, **kwargs)

        self.assert_problem('Stock has no rescue() any more', Ours)

    def test_a_parameter_that_went(self):
        class Ours(Stock):
            def spawn(self, context, instance, *args, allocations, **kwargs):
                pass

        self.assert_problem('spawn() has no parameter allocations', Ours)

    def test_parameters_in_another_order(self):
        class Ours(Stock):
            def spawn(self, instance, context, *args, **kwargs):
                pass

        self.assert_problem('spawn() has no parameter instance as number 1',
                            Ours)

    def test_a_new_parameter_that_would_not_be_taken(self):
        class Ours(Stock):
            def spawn(self, context, instance, image, network_info=None,
                      power_on=True):
                pass

        self.assert_problem('spawn() has a parameter hint', Ours)


class UsedTest(testtools.TestCase):
    """What is used of Nova's beside the methods that are overridden."""

    here = __name__

    def test_all_that_is_used_is_listed_and_nothing_else(self):
        listed = {}
        for place, entries in seamlist.USED.items():
            for entry in entries:
                name, _parenthesis, words = entry.partition('(')
                listed[f'{place}.{name}'] = words.rstrip(')').split(', ')
        found = nova_uses.find()
        self.assertEqual([], sorted(found.keys() - listed.keys()),
                         'add these to nova_flexmem/virt/seamlist.py')
        self.assertEqual([], sorted(listed.keys() - found.keys()),
                         'take these from nova_flexmem/virt/seamlist.py')
        for name, calls in found.items():
            keywords = {word.rstrip('=') for word in listed[name]}
            for _positional, given in calls:
                self.assertLessEqual(set(given), keywords, name)

    def test_the_finder_sees_all_kinds_of_uses(self):
        """If it saw less, the list would rot."""
        found = nova_uses.find()
        for name in ('nova.virt.images.fetch',
                     'nova.virt.libvirt.utils.copy_image',
                     'nova.virt.libvirt.imagebackend.Flat._get_driver_format',
                     'nova.scheduler.client.report.SchedulerReportClient'
                     '.get_provider_traits',
                     'nova.virt.libvirt.driver.LibvirtDriver'
                     '._get_guest_xml',
                     'nova.conf.CONF.libvirt.images_type'):
            self.assertIn(name, found)

    def problem(self, entry, place=None):
        found = seams.problems(Stock, Stock, {place or self.here: (entry,)})
        self.assertLessEqual(len(found), 1)
        return ''.join(found)

    def test_calls_that_fit(self):
        for entry in ('spawn(context, instance, image)', 'spawn',
                      'spawn(context, instance, image, network_info=, hint=)',
                      'helper(path)'):
            self.assertEqual('', self.problem(entry, f'{self.here}.Stock'))
        self.assertEqual('', self.problem('Stock(virtapi, read_only=)'))

    def test_calls_that_do_not(self):
        for entry, words in (
                ('spawn(instance, context, image)',
                 'no parameter instance as number 0'),
                ('spawn(context, instance)', 'needs a parameter image'),
                ('spawn(context, instance, image, flavor=)',
                 'no parameter flavor'),
                ('spam(context)', 'Stock.spam is gone'),
                ('spam', 'Stock.spam is gone')):
            self.assertIn(words, self.problem(entry, f'{self.here}.Stock'))

    def test_names_that_went(self):
        for entry, place, words in (
                ('x', 'nova.no.such', 'nova.no.such is gone'),
                ('x', 'nova.objects.NoSuch', 'nova.objects.NoSuch is gone'),
                ('no_such', 'nova.virt.images', 'images.no_such is gone'),
                ('no_such', 'nova.objects.Instance', 'no_such is gone'),
                ('libvirt.no_such', 'nova.conf.CONF',
                 'option libvirt.no_such is gone')):
            self.assertIn(words, self.problem(entry, place))

    def test_what_objects_get_when_they_are_made(self):
        for entry, place in (
                ('driver_format', 'nova.virt.libvirt.imagebackend.Flat'),
                ('flavor', 'nova.objects.Instance'),
                ('instances_path', 'nova.conf.CONF')):
            self.assertEqual('', self.problem(entry, place))
