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

"""Long work on the host, in a process of its own.

Building a base reads and hashes for a minute or more; in a thread of
nova-compute that would hold up its heartbeats. The worker takes a task as JSON
on standard input and answers with JSON on standard output, and ends with the
process that asked. It knows nothing of Nova.

A worker that reads what tenants wrote can use the store, the system's programs
and no other file, where the host's kernel has Landlock.
"""

import dataclasses
import json
import os
import sys
import tempfile
import typing

from oslo_config import cfg

import nova_flexmem
from nova_flexmem.build import bootfiles
from nova_flexmem.build import builder
from nova_flexmem.build import renew
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem.host import ceph
from nova_flexmem.host import preflight
from nova_flexmem import process
from nova_flexmem.publish import archive
from nova_flexmem import sandbox
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

#: The task's own helper programs have limits; these would be theirs too.
_NO_LIMITS = process.Limits(address_space_bytes=None, file_size_bytes=None,
                            cpu_s=None)

#: Seconds that a task may take beyond the time limit of a build.
_MARGIN_S = 300


def call(task, group, **arguments):
    """Have a task done by a worker.

    :param task: a name in TASKS
    :param group: the [flexmem] options
    :param arguments: the task's own, of JSON's types
    :returns: the task's result, of JSON's types
    :raises: what the task raised; ProgramFailed if the worker ends or answers
        otherwise
    """
    options = {option.name: group[option.name] for option in flexmem_conf.OPTS}
    request = json.dumps({'task': task, 'options': options,
                          'arguments': arguments})
    with tempfile.TemporaryDirectory(
            prefix='flexmem-', ignore_cleanup_errors=True) as folder:
        answer = process.run(
            sys.executable, '-I', '-m', __name__, stdin=request,
            timeout_s=group.build_timeout_s + _MARGIN_S, limits=_NO_LIMITS,
            env={'TMPDIR': folder})
    try:
        answer = json.loads(answer)
        if 'raised' not in answer:
            return answer['result']
        raised = getattr(exception, answer['raised'])(**answer['kwargs'])
        if not isinstance(raised, exception.FlexMemException):
            raise TypeError(answer['raised'])
    except (ValueError, TypeError, LookupError, AttributeError) as e:
        raise exception.ProgramFailed(
            program=f'the worker for {task}', reason=f'its answer is not'
            f' understood ({e!r}); restart nova-compute if nova-flexmem was'
            ' upgraded')
    raise raised


def _build(conf, image, image_format, scope, rootfs, name, minimum_format):
    store = basestore.Store(conf.flexmem.store_path)
    builder.clean(store)
    base, new = builder.build(
        store, image, builder.Options.from_conf(
            conf, scope=scope, rootfs=rootfs, take_over=True,
            minimum_format=minimum_format))
    if base.manifest.image_format != image_format:
        raise exception.ImageRefused(
            image=image, reason=f'its disk_format is {image_format}, but it is'
            f' {base.manifest.image_format}; upload it with the right one')
    store.set_name(name, base.key)
    return {'key': base.key, 'new': new}


def _renew(conf, key, name):
    store = basestore.Store(conf.flexmem.store_path)
    options = builder.Options.from_conf(conf)
    new = renew.renew(store, store.require(key), options.max_store_size_bytes)
    store.set_name(name, new)
    return new


def _verify(conf, folder):
    basefiles.Base(folder).verify()


def _pack(conf, key, path):
    store = basestore.Store(conf.flexmem.store_path)
    with store.reporting():
        archive.pack(store.ensure_verified(key), path)
    return os.path.getsize(path)


def _unpack(conf, path, folder):
    with basestore.Store(conf.flexmem.store_path).reporting():
        archive.unpack(path, basefiles.Base(folder))


def _check(conf, key):
    store = basestore.Store(conf.flexmem.store_path)
    return bootfiles.folder(store, bootfiles.ensure(store, key))


def _preflight(conf, virt_type=None, storage=None):
    return [dataclasses.asdict(finding)
            for finding in preflight.check(
                conf, virt_type, storage and ceph.Ceph(**storage))]


#: What a worker can do, by name.
TASKS: dict[str, typing.Callable] = {
    'build': _build, 'check': _check, 'pack': _pack,
    'preflight': _preflight, 'renew': _renew, 'unpack': _unpack,
    'verify': _verify}

#: The task that looks at the host, and at nothing of tenants.
_OF_THE_HOST = 'preflight'


def confine(store_path):
    """Limit this process to a store, if the host's kernel can.

    :returns: whether it is limited
    :raises: OSError
    """
    # root's libguestfs has its sockets there, whatever it is told
    sockets = ('/tmp',) if os.geteuid() == 0 else ()
    return sandbox.enter(
        # of this isolated interpreter: no folder that it was started in; the
        # package may be elsewhere, and loads its drivers later
        read=(sys.prefix, sys.base_prefix, *sys.path,
              os.path.dirname(nova_flexmem.__file__)),
        # the appliance's may be a link
        write=(store_path, os.path.join(store_path, 'appliance'),
               tempfile.gettempdir(), *sockets))


def main():
    request = json.load(sys.stdin)
    conf = cfg.ConfigOpts()
    conf([], project='nova-flexmem', default_config_files=[],
         default_config_dirs=[])
    flexmem_conf.register_opts(conf)
    for name, value in request['options'].items():
        conf.set_override(name, value, group='flexmem')
    if request['task'] != _OF_THE_HOST:
        confine(conf.flexmem.store_path)
    try:
        answer = {'result': TASKS[request['task']](conf,
                                                   **request['arguments'])}
    except exception.FlexMemException as e:
        answer = {'raised': type(e).__name__, 'kwargs': e.kwargs}
    json.dump(answer, sys.stdout)


if __name__ == '__main__':
    main()
