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

import functools
import importlib
import os
import unittest

import testtools

import nova
from tests.nova import differs
from tests.nova import exchange

#: What is run.
SUITES = ('nova.tests.unit.virt.libvirt', 'nova.tests.functional.libvirt')

_KNOWN = differs.STOCK | ({} if exchange.STOCK else differs.BY_DESIGN)
_STUCK = {} if exchange.STOCK else differs.STUCK


def load_tests(loader, tests, pattern):
    """Return Nova's tests, under their own ids, and those of this module."""
    top = os.path.dirname(os.path.dirname(nova.__file__))
    suites = []
    for name in SUITES:
        folder = os.path.dirname(importlib.import_module(name).__file__)
        # another than the loader given, which keeps its own top folder
        suites.append(unittest.TestLoader().discover(
            folder, top_level_dir=top))
    nova_tests = unittest.TestSuite(suites)
    ids = set()
    for test in testtools.iterate_tests(nova_tests):
        ids.add(test.id())
        if test.id() in _KNOWN:
            _expect_failure(test, _KNOWN[test.id()])
        elif test.id() in _STUCK:
            setattr(test, test._testMethodName, functools.partial(
                test.skipTest, _STUCK[test.id()]))
    ListTest.gone = sorted((_KNOWN | _STUCK).keys() - ids)
    return unittest.TestSuite([tests, nova_tests])


def _expect_failure(test, reason):
    """Have a test skipped where it fails, and failed where it passes."""
    method = getattr(test, test._testMethodName)

    def must_fail(*args, **kwargs):
        try:
            method(*args, **kwargs)
        except unittest.SkipTest:
            raise
        except Exception:
            test.skipTest(reason)
        test.fail('It passes: remove it from tests/nova/differs.py')
    setattr(test, test._testMethodName, must_fail)


class ListTest(testtools.TestCase):

    gone: list[str] = []

    def test_each_listed_test_exists(self):
        self.assertEqual([], self.gone)

    def test_each_has_a_reason(self):
        for test_id, reason in (differs.BY_DESIGN | differs.STOCK
                                | differs.STUCK).items():
            self.assertTrue(reason, test_id)
