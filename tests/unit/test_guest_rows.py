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

"""The table of the documentation is that of the rows of tests/guests."""

import os
import subprocess

import testtools

from tests.guests import groups
from tests.guests import page
from tests.guests import rows

_PAGE = os.path.join(os.path.dirname(__file__),
                     '../../doc/source/software.rst')


class GuestRowsTest(testtools.TestCase):

    def test_page(self):
        """To write it again: python -m tests.guests --page"""
        with open(_PAGE, encoding='utf-8') as f:
            text = f.read()
        for table in page.tables():
            self.assertIn(table, text)

    def test_rows(self):
        seen = set()
        for name, group in groups.GROUPS.items():
            for row in group.rows:
                self.assertNotIn((name, row.name), seen)
                seen.add((name, row.name))
                self.assertIn(row.result, page.RESULTS)
                # who reads that something differs is told what to do
                if row.result != rows.WORKS:
                    self.assertTrue(row.note, row.name)
        self.assertGreaterEqual(len(seen), 40)

    def test_scripts_are_shell(self):
        for group in groups.GROUPS.values():
            for row in group.rows:
                if not callable(row.check):
                    subprocess.run(['sh', '-n'], input=row.check, check=True,
                                   text=True)
