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

"""What the driver builds on in Nova, and whether the Nova here has it."""

import inspect

from nova.virt.libvirt import driver as libvirt_driver

from nova_flexmem.virt import driver

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY,
               inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def problems(ours=driver.FlexMemDriver, stock=libvirt_driver.LibvirtDriver):
    """Return what does not fit of the methods that a driver overrides.

    :param ours: the class of the driver
    :param stock: the class that it overrides methods of
    :returns: a list of texts; empty if all is well
    """
    found = []
    for name, method in vars(ours).items():
        function = inspect.unwrap(getattr(method, '__func__', method))
        if not inspect.isfunction(function):
            continue
        if not hasattr(stock, name):
            if _calls_super(function, name):
                found.append(f'{stock.__name__} has no {name}() any more')
            continue  # else one of its own
        problem = _misfit(inspect.signature(getattr(ours, name)),
                          inspect.signature(getattr(stock, name)))
        if problem:
            found.append(f'{stock.__name__}.{name}() {problem}')
    return found


def _calls_super(function, name):
    names = function.__code__.co_names
    return 'super' in names and name in names


def _misfit(ours, stock):
    """Return why a call that suits one signature may not suit the other."""
    taken, given = ours.parameters, stock.parameters
    order = [name for name, p in given.items() if p.kind in _POSITIONAL]
    for index, (name, parameter) in enumerate(taken.items()):
        if parameter.kind in _POSITIONAL:
            if order[index:index + 1] != [name]:
                return f'has no parameter {name} as number {index}'
        elif (parameter.kind == inspect.Parameter.KEYWORD_ONLY and
                name not in given):
            return f'has no parameter {name}'
    kinds = {parameter.kind for parameter in taken.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name, parameter in given.items():
            if name not in taken and parameter.kind not in _VARIABLE:
                return f'has a parameter {name} that is not known'
    return None
