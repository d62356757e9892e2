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

"""How much memory instances of an image save, by what bench density measured.
"""

import dataclasses

from nova_flexmem.bench import results
from nova_flexmem import exception

#: With KVM there is no translated code.
_FIGURE = ("guest RAM and QEMU's own, no translated code, per further VM"
           ' (slope)')


@dataclasses.dataclass(frozen=True)
class Model:
    """What a host saves.

    :ivar instance_mib: what a FlexMem instance takes less than a stock one
    :ivar base_mib: what a base takes that any instance uses, once
    """

    instance_mib: float
    base_mib: float

    def saved_mib(self, instances, bases):
        """Return what hosts save.

        :param instances: their number
        :param bases: the number of bases in use, on each host
        """
        return self.instance_mib * instances - self.base_mib * bases


def read(path):
    """Return the Model that results of bench density give.

    :param path: the file of results, or its folder
    :raises: BenchFailed
    """
    found = results.read(path)
    if found.bench != 'density':
        raise exception.BenchFailed(
            reason=f'{path}: results of bench {found.bench}; give those of'
            ' bench density')
    slopes = [figure for figure in found.figures if figure.name == _FIGURE]
    bases = [(row['guests'], row['base_mapped'])
             for row in found.series.get('memory', [])
             if row['kind'] == 'flexmem' and row['ksm'] == 'off']
    if not bases or not slopes or None in (slopes[0].median('stock'),
                                           slopes[0].median('flexmem')):
        raise exception.BenchFailed(
            reason=f'{path}: no memory of further guests; run bench density'
            ' with several --counts')
    return Model(slopes[0].median('stock') - slopes[0].median('flexmem'),
                 max(bases)[1] / (1 << 20))
