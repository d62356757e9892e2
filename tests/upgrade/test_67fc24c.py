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

"""A store, an instance and a snapshot of commit 67fc24c under this version.

67fc24c itself builds the base and writes the record and the properties; the
instance starts with its /init. What this version makes of them is then tried
with the real store and real guests. Of a cloud only Glance is stood for.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import types
import uuid

from oslo_config import cfg
import testtools

from nova.virt import images

from nova_flexmem.build import bootfiles
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.guest import cmdline
from nova_flexmem.guest import domain
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.virt import bases
from nova_flexmem.virt import bring
from nova_flexmem.virt import layered
from nova_flexmem.virt import record
from tests.functional import harness
from tests.upgrade import image
from tests.upgrade import layouts
from tests.upgrade import microguest
from tests.upgrade import model
from tests.upgrade import old
from tests.upgrade import releases
from tests.upgrade import test_layouts

_IMAGE_ID = 'b1f8d5b6-6f0c-4a55-9d4e-55f0e0f9a3c1'
#: What its nova-compute calls the base of the image.
_NAME = f'{_IMAGE_ID}.auto'
_SNAPSHOT_ID = '0d6a9e52-3f0e-4d2c-8a54-7e0b8a0c5f77'

#: What 67fc24c writes down of an instance on a base, and of its snapshot.
_RECORD = '''
import json, sys
from nova_flexmem.base import store
from nova_flexmem.virt import bases, layered, record
base = store.Store(sys.argv[1]).require(sys.argv[2])
written = record.Record(
    base_key=base.key, root_sha256=bases.root_sha256(base),
    image_id=sys.argv[3], image_sha256=base.manifest.image_sha256,
    device='nvdimm', writes='disk', direct_paths=[],
    rootfs=base.manifest.rootfs)
written.write(sys.argv[4])
print(json.dumps(layered.properties(written)))
'''

_READ = '''
import json, sys
from nova_flexmem.virt import record
print(json.dumps(vars(record.read(sys.argv[1]))))
'''

_EDITED_LATER = 250


class OldReleaseTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, so that files belong to root')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-upgrade-', dir='/var/tmp'))
        try:
            cls.old = old.Installed(cls._new_folder('67fc24c'))
        except old.NotThere as e:
            cls.skipTest(cls, f'this clone has not all of its history: {e}')
        cls.tree = model.Tree(index=True)
        cls.image = os.path.join(cls.folder, 'image')
        cls.root = image.create(cls.image, cls.tree)
        cls.store_path = cls._new_folder('store')
        store = harness.store_at(cls.store_path)
        code, said = cls.old.run('--store', cls.store_path, 'image', 'build',
                                 cls.image, '--name', _NAME)
        assert code == 0, said
        cls.key, = store.keys()
        cls.instance_folder = cls._new_folder('instance')
        cls.properties = json.loads(cls.old.python(
            _RECORD, cls.store_path, cls.key, _IMAGE_ID,
            cls.instance_folder).splitlines()[-1])
        cls.delta = os.path.join(cls.instance_folder, 'disk')
        microguest.new_delta(cls.delta)
        cls._edit(store)

    @classmethod
    def _edit(cls, store):
        """Let the instance run as it does under 67fc24c."""
        base = store.require(cls.key)
        cls.tree.edit()
        seen = microguest.Guest(
            cls._new_folder('start'), base.file(basefiles.ROOT_PMEM),
            base.file(basefiles.KERNEL), base.file(basefiles.INITRAMFS),
            f'flexmem.base={base.manifest.uuid} flexmem.rootfs=erofs'
            ' flexmem.writes=disk').run(cls.delta, cls.tree.script())
        assert not model.wrong(cls.tree.shows(), seen[-1])

    @classmethod
    def _new_folder(cls, name):
        path = os.path.join(cls.folder, name)
        os.makedirs(path)
        return path

    def setUp(self):
        super().setUp()
        self.own = self._new_folder(self.id().rpartition('.')[2])
        self.addCleanup(shutil.rmtree, self.own)
        # each test has its own copy of the host
        self.host = os.path.join(self.own, 'host')
        process.run('cp', '-a', '--reflink=auto', self.store_path, self.host,
                    timeout_s=600)
        self.tree = self.tree.copy()
        self.tree.index = False
        self.instance = types.SimpleNamespace(
            uuid=str(uuid.uuid4()), project_id='project', trusted_certs=None,
            system_metadata={layered.SYSTEM_KEY: _IMAGE_ID}, vm_state='active')
        self.patch(images, 'fetch', self._fetch)
        self.patch(bring, 'hosts_with', lambda _context, _image_id: [])
        self.bases = self._bases(self.host)

    def _bases(self, path):
        conf = cfg.ConfigOpts()
        conf([], project='nova', default_config_files=[])
        flexmem_conf.register_opts(conf)
        conf.set_override('store_path', path, group='flexmem')
        return bases.Bases(conf.flexmem, self)

    def get(self, _context, image_id):
        """Say what Glance says of an image."""
        snapshot = self.properties if image_id == _SNAPSHOT_ID else {}
        return {'disk_format': 'raw', 'status': 'active',
                'properties': snapshot}

    def _fetch(self, _context, _image_id, path, _certs):
        shutil.copyfile(self.image, path)

    def wrong(self, base, edited=_EDITED_LATER, delta=None,
              boot_folder=None):
        """Start the instance on a base, with this version's boot files.

        :param delta: path of its delta; None: a copy as 67fc24c left it
        :param boot_folder: folder of other boot files
        :returns: the paths that show what they must not
        """
        store = self.bases.store
        boot = domain.Boot.of(base, boot_folder or bootfiles.folder(
            store, base))
        line = cmdline.build(boot, 'disk', (), None, '')
        expected = [self.tree.shows()]
        if edited:
            self.tree.edit(edited)
            expected.append(self.tree.shows())
        folder = tempfile.mkdtemp(dir=self.own)
        guest = microguest.Guest(folder, boot.root_pmem, boot.kernel,
                                 boot.initramfs, line)
        seen = guest.run(delta or self._copy_of_delta(),
                         self.tree.script() if edited else '')
        self.seen, self.console = seen[-1], guest.console
        return sorted({path for pair in zip(expected, seen)
                       for path in model.wrong(*pair)})

    def assert_starts(self, base):
        """Check that the instance starts on a base of another layout."""
        test_layouts.assert_only_told_links(self, self.wrong(base, 0), self)

    def _copy_of_delta(self):
        delta = os.path.join(self.own, 'delta')
        shutil.copyfile(self.delta, delta)
        return delta

    def base(self, from_host=None):
        """Return the base that the instance starts on."""
        return self.bases.of_record(None, self.instance, self.record,
                                    from_host)

    @property
    def record(self):
        return record.read(self.instance_folder)

    def test_store(self):
        """Its bases are listed, found whole, and of use for new instances."""
        store = self.bases.store
        self.assertEqual([self.key], store.keys())
        store.verify(self.key)
        manifest = store.require(self.key).manifest
        self.assertEqual(1, manifest.format)
        self.assertEqual(self.key, store.key_named(_NAME))
        self.assertEqual(self.key, store.built_from(
            manifest.image_sha256, 'auto').key)
        self.bases.use(self.bases.of_image(None, self.instance, _IMAGE_ID),
                       self.instance)
        self.assertEqual([self.instance.uuid], store.users(self.key))

    def test_instance(self):
        """It starts on its own base, with this version's /init."""
        base = self.base()
        self.assertEqual((self.key, self.record.root_sha256),
                         (base.key, base.layout))
        self.assertNotEqual(base.path, bootfiles.folder(self.bases.store,
                                                        base))
        self.assertEqual([], self.wrong(base))

    def test_snapshot(self):
        """It starts on a base that names its layout, made for it.

        The base of its image is enough, as Glance may have lost the image.
        """
        self.patch(images, 'fetch', None)
        link = layered.link(
            types.SimpleNamespace(project_id='project'), self, self.instance,
            types.SimpleNamespace(
                id=_SNAPSHOT_ID, obj_attr_is_set=lambda _name: True,
                properties={'traits_required': [layered.TRAIT]}))
        self.assertIsNone(link.wanted.layout)
        base = self.bases.of_snapshot(None, self.instance, link.wanted)
        self.assertEqual(2, base.manifest.format)
        self.assertNotEqual(self.record.root_sha256, base.layout)
        self.bases.store.verify(base.key)
        self.assertEqual(base.key, self.bases.store.key_named(_NAME))
        self.assert_starts(base)

    def test_other_layout_under_its_key(self):
        """A base of a host of another release is not taken for its own.

        Keys and uuids of format 1 follow from the image, so that they are the
        same there. Neither is it taken where the host that the instance comes
        from is to give the right one.
        """
        self._replace_base()
        home = os.path.join(self.own, 'home')
        process.run('cp', '-a', self.store_path, home, timeout_s=600)

        def copy(source, target, **_kwargs):
            shutil.copyfile(source.replace(self.host, home), target)

        self.patch(bring.libvirt_utils, 'copy_image', copy)
        for from_host in None, 'home':
            base = self.base(from_host)
            self.assertTrue(
                base.layout == self.record.root_sha256 or
                base.manifest.format == 2 and base.manifest.uuid
                != self.bases.store.require(self.key).manifest.uuid,
                (from_host, base.manifest))
            self.assert_starts(base)

    def _replace_base(self):
        """Have a base as 67fc24c builds it on another release of Debian."""
        try:
            release = releases.Release('trixie')
        except releases.Unreachable as e:
            self.skipTest(str(e))
        folder = os.path.join(self.host, 'bases', self.key)
        manifest = basefiles.Base(folder).manifest
        path = os.path.join(folder, basefiles.ROOT_PMEM)
        os.unlink(path)
        made = layouts.make_format_1(path, release, self.root,
                                     manifest.uuid)
        self.assertNotEqual(made.sha256,
                            manifest.files[basefiles.ROOT_PMEM].sha256)
        files = manifest.files | {
            basefiles.ROOT_PMEM: basefiles.File.of(path)}
        os.unlink(os.path.join(folder, basefiles.MANIFEST))
        dataclasses.replace(manifest, files=files).write(
            os.path.join(folder, basefiles.MANIFEST))

    def test_damaged_base(self):
        """Where its base is damaged, it starts on another layout."""
        path = basestore.Store(self.host).require(self.key).file(
            basefiles.ROOT_PMEM)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.seek(8 << 20)
            byte = f.read(1)
            f.seek(8 << 20)
            f.write(bytes([byte[0] ^ 1]))
        base = self.base()
        self.assertEqual(2, base.manifest.format)
        self.assert_starts(base)

    def test_downgrade(self):
        """67fc24c refuses a base of this version, and harms nothing."""
        base = self.bases.of_image(None, self.instance, _IMAGE_ID,
                                   minimum_format=2)
        for command in 'show', 'verify':
            code, said = self.old.run('--store', self.host, 'image', command,
                                      base.key)
            self.assertEqual(1, code, said)
            self.assertIn('not a usable manifest', said)
        store = self.bases.store
        for key in base.key, self.key:
            store.use(key, self.instance.uuid)
        code, said = self.old.run('--store', self.host, 'image', 'remove',
                                  base.key)
        self.assertEqual(1, code, said)
        code, said = self.old.run('--store', self.host, 'image', 'prune',
                                  '--older-than', '0')
        self.assertEqual(0, code, said)
        store.verify(base.key)
        # and what it made itself stays of use to it
        code, said = self.old.run('--store', self.host, 'image', 'verify',
                                  self.key)
        self.assertEqual(0, code, said)

    def test_downgrade_of_an_instance(self):
        """On its own base it starts under 67fc24c again."""
        base = self.base()
        delta = self._copy_of_delta()
        self.assertEqual([], self.wrong(base, delta=delta))
        self.assertEqual(vars(record.read(self.instance_folder)), json.loads(
            self.old.python(_READ, self.instance_folder).splitlines()[-1]))
        self.tree.index = True  # as 67fc24c mounts it
        self.assertEqual([], self.wrong(base, delta=delta,
                                        boot_folder=base.path))
