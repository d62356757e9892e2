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

"""Every way to another layout, on every kernel, with every version of mkfs.

It takes half an hour, and so is no part of "make test".
"""

import itertools
import shutil

from tests.upgrade import figures
from tests.upgrade import model
from tests.upgrade import old
from tests.upgrade import releases
from tests.upgrade import test_layouts

#: How the delta reaches the layout, by what the ways do to it.
_IN_PLACE = 'base rebuilt, host upgraded'
_COPIED = 'migrate, evacuate (power cut)'
_CONVERTED = 'unshelve, snapshot'


class MatrixTest(test_layouts.LayoutTestCase):

    suites = test_layouts.SUITES

    def pairs(self):
        """Return the suites of all pairs of layouts that differ."""
        names = {}  # the first suite of each layout
        for suite in self.suites:
            names.setdefault(self.layouts[suite].sha256, suite)
        return [*itertools.permutations(names.values(), 2)]

    def check(self, what, instance, made_on, started_on, layout, **how):
        """Start an instance, and note the figure.

        :returns: the paths that show what they must not
        """
        wrong = instance.start(layout, **how)
        figures.note(what, instance.kernel_release,
                     self.releases[made_on].mkfs_version,
                     self.releases[started_on].mkfs_version,
                     len(instance.tree.shows()), len(wrong))
        return wrong

    def _instance(self, kernel, suite, index):
        instance = self.instance(kernel, index)
        wrong = self.check(
            'first start', instance, suite, suite,
            (self.format_1 if index else self.layouts)[suite],
            edited=model.EDITED, init=old.init() if index else None, cut=True)
        self.assertEqual([], wrong)
        instance.tree.index = False
        return instance

    def _ways(self, kernel):
        for suite, pairs in itertools.groupby(self.pairs(),
                                              lambda pair: pair[0]):
            instance = self._instance(kernel, suite, index=False)
            for _suite, other in pairs:
                for number, way in enumerate((_COPIED, _CONVERTED,
                                              _IN_PLACE)):
                    moved = instance.copy(
                        f'{instance.delta}.{other}.{number}',
                        by_qcow2=way == _CONVERTED)
                    self.assertEqual([], self.check(
                        way, moved, suite, other, self.layouts[other],
                        edited=test_layouts.EDITED_LATER))
                    if way == _IN_PLACE:
                        self.assertEqual([], self.check(
                            'back again', moved, other, suite,
                            self.layouts[suite]))
                    shutil.rmtree(moved.folder)
            shutil.rmtree(instance.folder)

    def _of_67fc24c(self, kernel):
        for suite, other in self.pairs():
            instance = self._instance(kernel, suite, index=True)
            found = self.check(
                'without the mend: 67fc24c', instance.copy(
                    f'{instance.delta}.fault'), suite, other,
                self.format_1[other], init=old.init(), may_fail=True)
            self.assertNotEqual([], found)
            self.assertEqual([], self.check(
                'instance of 67fc24c on its base', instance.copy(
                    f'{instance.delta}.own'), suite, suite,
                self.format_1[suite], edited=test_layouts.EDITED_LATER))
            snapshot = instance.copy(f'{instance.delta}.other')
            found = self.check(
                'snapshot of 67fc24c on a new base', snapshot, suite, other,
                self.layouts[other])
            test_layouts.assert_only_told_links(self, found, snapshot)
            shutil.rmtree(instance.folder)

    def test_ways_6_1(self):
        self._ways(releases.HERE)

    def test_ways_6_12(self):
        self._ways('trixie')

    def test_of_67fc24c_6_1(self):
        self._of_67fc24c(releases.HERE)

    def test_of_67fc24c_6_12(self):
        self._of_67fc24c('trixie')
