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

"""A host that publishes and takes bases, in tests."""

import os
import types

import fixtures
from oslo_config import cfg

from nova import exception as nova_exception

from nova_flexmem.build import bootfiles
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.store import basestore
from nova_flexmem.store import locks
from nova_flexmem.virt import published
from tests.unit.publish import test_archive

SERVICE = 'service-project'

#: What Glance has of the image.
IMAGE = {'os_hash_value': 'a' * 128}


class Host:
    """A host with a base store, and its part in published bases."""

    def __init__(self, test, name, connect, **options):
        conf = cfg.ConfigOpts()
        conf([], project='nova-flexmem', default_config_files=[],
             default_config_dirs=[])
        flexmem_conf.register_opts(conf)
        folder = test.useFixture(fixtures.TempDir(rootdir='/var/tmp')).path
        options['store_path'] = os.path.join(folder, 'store')
        for option, value in options.items():
            conf.set_override(option, value, group='flexmem')
        self.store = basestore.Store(options['store_path'])
        self.builds = 0
        self.group = conf.flexmem
        self.published = published.Published(lambda: self.store, self.group,
                                             connect)
        test.patch(published, 'CONF', types.SimpleNamespace(host=name))
        self.published._claims = None
        self._name = name
        self._test = test

    def build(self, scope='', **facts):
        """Stand in for a build, which takes a guest and a minute.

        :param facts: fields of the manifest that are to be other ones
        """
        self.builds += 1
        folder = self._test.useFixture(fixtures.TempDir()).path
        made = test_archive.make_base(
            folder, os.urandom(200_000), scope=scope,
            **{'boot_id': bootfiles.boot_id()} | facts)
        with self.store.lock(locks.BUILD, made.key), \
                self.store.build_folder(made.key) as build_folder:
            path = os.path.join(build_folder, made.key)
            os.rename(made.path, path)
            self.store.publish(path, made.key)
        return self.store.require(made.key)

    def obtain(self, need, image=None, owner=None, build=None):
        """Return the key of the base of an image.

        :param image: what Glance has of it; None: it is gone
        """
        def get_image():
            if image is None:
                raise nova_exception.ImageNotFound(image_id=need.image_id)
            return image

        self._test.patch(published, 'CONF',
                         types.SimpleNamespace(host=self._name))
        key = self.published.obtain(need, owner, get_image,
                                    build or (lambda: self.build(need.scope)))
        self.published.wait_uploads()
        return key
