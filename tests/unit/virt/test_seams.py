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
from nova_flexmem.virt import seams


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
        found = seams.problems(ours, Stock)
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

        self.assertEqual([], seams.problems(Ours, Stock))

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
