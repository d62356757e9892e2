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

import contextlib
import types

import fixtures
import testtools

from nova_flexmem.bench import fit
from nova_flexmem import exception


class Clock:
    """The time module, where time goes by as it is told."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Guest:
    """A guest that boots, or fails, after some seconds."""

    def __init__(self, name, clock, steps):
        self.name = name
        self._clock = clock
        self._steps = iter(steps)

    def start(self, _before):
        pass

    def wait_shell(self, _timeout_s):
        self._step()

    def wait_multi_user(self):
        pass

    def work(self):
        self._step()

    def destroy(self):
        pass

    def _step(self):
        step = next(self._steps)
        if isinstance(step, str):
            raise exception.DemoFailed(reason=f'guest {self.name}: {step}')
        self._clock.sleep(step)


class Ready:
    """Makes guests; those of a label have their (boot, work) in turn."""

    image = types.SimpleNamespace(boot=types.SimpleNamespace(files=()))

    def __init__(self, clock, guests):
        self._clock = clock
        self._guests = {label: iter(steps)
                        for label, steps in guests.items()}

    def guest(self, _kind, name):
        return Guest(name, self._clock,
                     next(self._guests[name.rpartition('-')[0]]))


class FitTest(testtools.TestCase):

    def run_fit(self, with_ksm=False, **guests):
        """Return how many guests of each way fit, and why no more."""
        clock = Clock()

        @contextlib.contextmanager
        def nothing(*_args, **_kwargs):
            yield types.SimpleNamespace(ran_out=lambda: False)

        @contextlib.contextmanager
        def prepare(*_args):
            yield Ready(clock, guests)

        self.steps = []
        with contextlib.ExitStack() as stack:
            for name, value in {
                    'fit.time': clock, 'fit.kinds.prepare': prepare,
                    'fit.environment.describe': lambda _ready: {},
                    'fit.cgroup.Cgroup': nothing, 'fit.ksm.always_on': nothing,
                    'fit.workloads.WORKLOADS': {'idle': Guest.work}}.items():
                stack.enter_context(fixtures.MonkeyPatch(
                    f'nova_flexmem.bench.{name}', value))
            found = fit.run(None, fit.Options(most=3, with_ksm=with_ksm),
                            None, self.steps.append)
        [figure] = found.figures
        return figure.samples, found.environment

    def test_all_fit(self):
        samples, why = self.run_fit(stock=[(10, 10)] * 3,
                                    flexmem=[(10, 10)] * 3)
        self.assertEqual({'stock': [3], 'flexmem': [3]}, samples)
        self.assertIn('no more than 3', why['why no more, stock'])

    def test_boot_and_workload_are_six_times_as_long_together(self):
        samples, why = self.run_fit(
            stock=[(10, 10), (60, 60), (60, 61)],
            flexmem=[(10, 10), (121, 0)])
        self.assertEqual({'stock': [2], 'flexmem': [1]}, samples)
        for kind in ('stock', 'flexmem'):
            self.assertEqual('too slow: it took 121 s',
                             why[f'why no more, {kind}'])

    def test_the_time_for_ksm_is_nobodys_delay(self):
        samples, why = self.run_fit(
            with_ksm=True, stock=[(1, 0)] * 3,
            flexmem=[(1, 0)] * 3,
            **{'stock+KSM': [(10, 10), (60, 60), (60, 61)]})
        self.assertEqual([2], samples['stock + KSM'])
        self.assertIn('too slow', why['why no more, stock + KSM'])

    def test_the_first_takes_as_long_as_it_takes(self):
        samples, _why = self.run_fit(stock=[(500, 500)] * 3,
                                     flexmem=[(500, 500)] * 3)
        self.assertEqual({'stock': [3], 'flexmem': [3]}, samples)

    def test_one_that_fails_ends_its_kind_alone(self):
        samples, why = self.run_fit(
            stock=[(200, 0), (200, 'no answer')], flexmem=[('it is ill',)])
        self.assertEqual({'stock': [1]}, samples)
        self.assertEqual('failed: guest stock-2: no answer',
                         why['why no more, stock'])
        self.assertEqual('failed: guest flexmem-1: it is ill',
                         why['why no more, flexmem'])
        self.assertIn('flexmem: guest flexmem-1: it is ill', self.steps)

    def test_nothing_to_lose(self):
        e = self.assertRaises(exception.BenchFailed, self.run_fit,
                              stock=[('it is ill',)])
        self.assertIn('guest stock-1: it is ill', str(e))
