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

import functools
import importlib
import inspect
import re

import nova.conf
from nova import objects
from nova import safe_utils
from nova.virt.libvirt import driver as libvirt_driver

from nova_flexmem.virt import driver
from nova_flexmem.virt import seamlist

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY,
               inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def problems(ours=driver.FlexMemDriver, stock=libvirt_driver.LibvirtDriver,
             used=seamlist.USED):
    """Return what does not fit: overridden methods, and all that is used.

    :param ours: the class of the driver
    :param stock: the class that it overrides methods of
    :param used: as seamlist.USED
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
    objects.register_all()
    for place, entries in used.items():
        found += filter(None, (_missing(place, entry) for entry in entries))
    return list(dict.fromkeys(found))


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


def _missing(place, entry):
    """Return what is wrong with an entry of the list, or None.

    :param place: a module or class, dotted
    :param entry: see seamlist.USED
    """
    name, call, words = entry.rstrip(')').partition('(')
    try:
        owner = _owner(place)
    except (ImportError, AttributeError):
        return f'{place} is gone'
    if owner is nova.conf.CONF:
        return None if _has_option(name) else f'the option {name} is gone'
    if not _has(owner, name):
        return f'{place}.{name} is gone'
    problem = call and _call_problem(owner, name, words.split(', ') if words
                                     else [])
    return f'{place}.{name}() {problem}' if problem else None


def _owner(place):
    """Return a module, or a class or object in one."""
    parts = place.split('.')
    for count in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module('.'.join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[count:], owner)
    raise ImportError(place)


def _has_option(name):
    group, _dot, option = name.rpartition('.')
    return option in (nova.conf.CONF[group] if group else nova.conf.CONF)


def _has(owner, name):
    if hasattr(owner, name) or name in getattr(owner, 'fields', ()):
        return True
    # of an instance of the class, made when it is
    classes = inspect.getmro(owner) if inspect.isclass(owner) else ()
    return any(re.search(rf'\bself\.{name}(: .+)? = ', inspect.getsource(one))
               for one in classes if one.__module__.startswith('nova.'))


def _call_problem(owner, name, words):
    """Return why a call does not suit what is called, or None.

    :param words: names of the positional arguments, then keywords with "="
    """
    called = getattr(owner, name)
    given = dict(inspect.signature(called).parameters)
    if {parameter.kind for parameter in given.values()} == set(_VARIABLE):
        # of a decorator that does not say what it decorates
        called = safe_utils.get_wrapped_function(called)
        given = dict(inspect.signature(called).parameters)
    if inspect.isclass(owner) and inspect.isfunction(
            inspect.getattr_static(owner, name)):
        given.pop(next(iter(given)))  # self
    order = [one for one, p in given.items() if p.kind in _POSITIONAL]
    kinds = {parameter.kind for parameter in given.values()}
    passed: list[str] = []
    for index, word in enumerate(words):
        passed.append(word.removesuffix('='))
        if word.endswith('='):
            if (passed[-1] not in given and
                    inspect.Parameter.VAR_KEYWORD not in kinds):
                return f'has no parameter {passed[-1]}'
        elif order[index:index + 1] != [word]:
            return f'has no parameter {word} as number {index}'
    for one, parameter in given.items():
        if (parameter.default is inspect.Parameter.empty and
                parameter.kind not in _VARIABLE and one not in passed):
            return f'needs a parameter {one}'
    return None
