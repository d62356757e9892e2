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

import os
import uuid

import fixtures
import testtools

from nova_flexmem.build import renew
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import superblock
from tests.unit.image import samples

_KEY = 'a' * 32
_SUPERBLOCK = superblock.DATA_OFFSET_BYTES + 1024


class RenewTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(
            os.path.join(self.useFixture(fixtures.TempDir()).path, 'store'))

    def publish(self, key=_KEY, **facts):
        """Publish a base as format 1 has it; returns it."""
        samples.publish(self.store, key, **{
            'format': 1, 'content': _erofs(b'the files')} | facts)
        return self.store.require(key)

    def test_only_its_uuids_change(self):
        old = self.publish(scope='project')
        key = renew.renew(self.store, old)
        self.store.verify(key)
        self.assertTrue(self.store.is_whole(old.key))
        new = self.store.require(key)
        self.assertEqual(basestore.key_of(
            new.layout, old.manifest.image_sha256, 'project'), key)
        self.assertEqual((2, old.manifest.image_sha256, 'project'), (
            new.manifest.format, new.manifest.image_sha256,
            new.manifest.scope))
        for name in (basefiles.KERNEL, basefiles.INITRAMFS):
            self.assertEqual(old.manifest.files[name],
                             new.manifest.files[name])
        before, after = _content(old), _content(new)
        uuids = before[_SUPERBLOCK + 48:_SUPERBLOCK + 64]
        self.assertEqual(
            uuid.UUID(new.manifest.uuid).bytes,
            after[_SUPERBLOCK + 48:_SUPERBLOCK + 64])
        self.assertNotEqual(uuids, after[_SUPERBLOCK + 48:_SUPERBLOCK + 64])
        self.assertEqual(before[_SUPERBLOCK + 64:], after[_SUPERBLOCK + 64:])

    def test_again(self):
        old = self.publish()
        self.assertEqual(renew.renew(self.store, old),
                         renew.renew(self.store, old))
        self.assertEqual(2, len(self.store.keys()))

    def test_content_decides(self):
        keys = {renew.renew(self.store, self.publish(
            letter * 32, content=_erofs(content), image_sha256='5' * 64))
            for letter, content in (('a', b'one'), ('b', b'two'),
                                    ('c', b'two'))}
        self.assertEqual(2, len(keys))

    def test_damaged(self):
        old = self.publish()
        path = old.file(basefiles.ROOT_PMEM)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.seek(-1, os.SEEK_END)
            f.write(b'x')
        self.assertRaises(exception.BaseDamaged, renew.renew, self.store, old)
        self.assertEqual([_KEY], self.store.keys())
        self.assertEqual([], os.listdir(self.store.folder('builds')))

    def test_store_is_full(self):
        old = self.publish()
        limit_bytes = int(1.5 * self.store.size_bytes())
        self.assertRaises(exception.StoreUnusable, renew.renew, self.store,
                          old, limit_bytes)
        self.assertEqual([_KEY], self.store.keys())
        self.assertEqual([], os.listdir(self.store.folder('builds')))

    def test_what_cannot_be_renewed(self):
        self.assertTrue(renew.can_renew(self.publish()))
        for key, facts in (('b', {'format': 2}), ('c', {'rootfs': 'ext4'})):
            self.assertFalse(renew.can_renew(self.publish(key * 32, **facts)))


def _erofs(content):
    """Return the superblock of an EROFS of 2 blocks, and content."""
    block = bytearray(4096)
    block[1024:1028] = bytes.fromhex('e2e1f5e0')
    block[1024 + 12] = 12
    block[1024 + 36] = 2
    block[1024 + 48:1024 + 64] = b'uuid of an image'
    return bytes(block) + content.ljust(4096, b'\0')


def _content(base):
    with open(base.file(basefiles.ROOT_PMEM), 'rb') as f:
        return f.read()
