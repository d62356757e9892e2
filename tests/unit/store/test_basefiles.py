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

import hashlib
import json
import os

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from tests.unit.image import samples

_KEY = '0' * 32

_GOLDEN_MANIFEST = """\
{
  "boot_id": "",
  "built_at": "2026-01-02T03:04:05+00:00",
  "built_by": "1.0.0",
  "devices": [
    "nvdimm"
  ],
  "distro": "debian 12.0",
  "files": {
    "initramfs": {
      "sha256": "%(initramfs)s",
      "size_bytes": 9
    },
    "kernel": {
      "sha256": "%(kernel)s",
      "size_bytes": 6
    },
    "root.pmem": {
      "sha256": "%(root)s",
      "size_bytes": 4194304
    }
  },
  "format": 2,
  "image_format": "qcow2",
  "image_sha256": "%(image)s",
  "image_virtual_size_bytes": 67108864,
  "kernel_args": "console=ttyS0",
  "kernel_others": [],
  "kernel_release": "6.1.0-9-amd64",
  "key": "00000000000000000000000000000000",
  "product": "Debian GNU/Linux 12",
  "rootfs": "erofs",
  "rootfs_asked": "",
  "rootfs_size_bytes": 15,
  "scope": "",
  "sha256": "%(manifest)s",
  "uuid": "00000000-0000-0000-0000-000000000007"
}
""" % {
    'initramfs': '9752c38a9065f7646ffaac3621d1fa2f'
                 '7dbe726c7e12e511eac7fdb14d4e2a24',
    'kernel': '6923dd1bc0460082c5d55a831908c24a'
              '282860b7f1cd6c2b79cf1bc8857c639c',
    'root': 'd5b64644d922a42213bd55cdd544f347'
            '5e10c8b76fe95e6747ab20548d2b89f2',
    'manifest': '233340bf52d63d521b875683ec145e23'
                'c5fa3369b1ac68e1c9150ab2139b98fe',
    'image': '84e0c0eafaa95a34c293f278ac52e45c'
             'e537bab5e752a00e6959a13ae103b65a',
}


class BaseTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 _KEY)
        os.mkdir(self.path)
        samples.write_base(self.path, _KEY)

    def edit(self, name, change):
        """Pass a file's content through a function."""
        path = os.path.join(self.path, name)
        with open(path, 'rb') as f:
            content = change(f.read())
        with open(path, 'wb') as f:
            f.write(content)

    def edit_manifest(self, **fields):
        """Have fields say something else, as if they had from the start."""
        def change(content):
            changed = json.loads(content) | fields
            changed.pop('sha256', None)
            return json.dumps(changed).encode()

        self.edit(basefiles.MANIFEST, change)

    def assert_damaged(self, function, *causes):
        e = self.assertRaises(exception.BaseDamaged, function)
        for words in (*causes, f'base {_KEY} again'):
            self.assertIn(words, str(e))
        self.assertNotIn('\n', str(e))

    def load(self):
        return basefiles.Base(self.path)

    def test_whole(self):
        found = self.load()
        self.assertEqual(_KEY, found.key)
        self.assertEqual('6.1.0-9-amd64', found.manifest.kernel_release)
        self.assertEqual(os.path.join(self.path, 'root.pmem'),
                         found.file(basefiles.ROOT_PMEM))
        parts = []
        found.verify(parts.append)
        self.assertEqual(1.0, parts[-1])

    def test_golden_manifest(self):
        with open(os.path.join(self.path, basefiles.MANIFEST)) as f:
            self.assertEqual(_GOLDEN_MANIFEST, f.read())

    def test_manifest_of_a_version_without_scopes(self):
        def drop(content):
            fields = json.loads(content)
            del fields['scope'], fields['sha256']
            return json.dumps(fields).encode()

        self.edit(basefiles.MANIFEST, drop)
        self.assertEqual('', self.load().manifest.scope)

    def test_format_1_stays_of_use(self):
        def drop(content):
            fields = json.loads(content) | {'format': 1}
            del fields['rootfs_asked'], fields['boot_id'], fields['sha256']
            return json.dumps(fields).encode()

        self.edit(basefiles.MANIFEST, drop)
        base = self.load()
        base.verify()
        self.assertEqual(
            (1, '', ''), (base.manifest.format, base.manifest.rootfs_asked,
                          base.manifest.boot_id))

    def test_layout(self):
        with open(os.path.join(self.path, basefiles.ROOT_PMEM), 'rb') as f:
            self.assertEqual(hashlib.file_digest(f, 'sha256').hexdigest(),
                             self.load().layout)

    def test_a_flipped_bit_anywhere(self):
        for name, position in ((basefiles.KERNEL, 3), (basefiles.INITRAMFS, 0),
                               (basefiles.ROOT_PMEM, 5000),
                               (basefiles.ROOT_PMEM, (2 << 20) + 3),
                               (basefiles.ROOT_PMEM, -1)):
            def flip(content, position=position):
                changed = bytearray(content)
                changed[position] ^= 1
                return changed

            self.edit(name, flip)
            self.assert_damaged(self.load().verify, name,
                                'its content has changed')
            self.edit(name, flip)
        self.load().verify()

    def test_bad_sectors(self):
        path = os.path.join(self.path, basefiles.KERNEL)
        os.unlink(path)
        os.symlink('/proc/self/mem', path)  # gives EIO when it is read
        files = self.load().manifest.files
        self.edit_manifest(files={
            name: {'size_bytes': 0 if name == basefiles.KERNEL else
                   file.size_bytes, 'sha256': file.sha256}
            for name, file in files.items()})
        self.assert_damaged(self.load().verify, path, 'Input/output error')

    def test_superblock_that_is_whole_but_another_ones(self):
        self.edit_manifest(uuid='00000000-0000-0000-0000-000000000008')
        self.assert_damaged(self.load().verify, 'root.pmem', 'superblock')

    def test_wrong_size(self):
        for size in (4194303, 4194305, 0):
            os.truncate(os.path.join(self.path, basefiles.ROOT_PMEM), size)
            self.assert_damaged(self.load().states, 'root.pmem', 'bytes, not')
            self.assert_damaged(self.load().verify, 'root.pmem')

    def test_file_missing(self):
        os.unlink(os.path.join(self.path, basefiles.KERNEL))
        self.assert_damaged(self.load().verify, 'kernel', 'No such file')

    def test_torn_manifest(self):
        with open(os.path.join(self.path, basefiles.MANIFEST), 'rb') as f:
            whole = f.read()
        for content in (b'', whole[:1], whole[:len(whole) // 2], whole[:-3],
                        b'\xff\xfe', b'[]', b'null', b'{"files": []}',
                        b'\0' * len(whole), b'[' * 100000):
            self.edit(basefiles.MANIFEST, lambda _old, new=content: new)
            self.assert_damaged(self.load, 'manifest.json',
                                'not a usable manifest')

    def test_manifest_with_fields_of_another_kind(self):
        files = {name: {'size_bytes': 4194304, 'sha256': ''}
                 for name in basefiles.FILES}
        for fields in ({'uuid': 'x'}, {'uuid': 7}, {'uuid': None},
                       {'kernel_args': None}, {'files': 7},
                       {'files': files | {'kernel': {'size_bytes': '1',
                                                     'sha256': ''}}},
                       {'files': files | {'kernel': {'size_bytes': -1,
                                                     'sha256': ''}}},
                       {'files': files | {'root.pmem': {'size_bytes': 1,
                                                        'sha256': ''}}}):
            self.edit_manifest(**fields)
            self.assert_damaged(self.load, 'not a usable manifest')

    def test_manifest_with_a_flipped_bit(self):
        path = os.path.join(self.path, basefiles.MANIFEST)
        for position in range(os.path.getsize(path)):
            def flip(content, position=position):
                changed = bytearray(content)
                changed[position] ^= 1
                return changed

            self.edit(basefiles.MANIFEST, flip)
            self.assert_damaged(self.load, 'manifest.json')
            self.edit(basefiles.MANIFEST, flip)
        self.load()

    def test_manifest_missing(self):
        os.unlink(os.path.join(self.path, basefiles.MANIFEST))
        self.assert_damaged(self.load, 'manifest.json', 'No such file')

    def test_manifest_with_fields_of_another_version(self):
        self.edit_manifest(new_field=1)
        self.assert_damaged(self.load, 'new_field')

    def test_manifest_of_another_base(self):
        self.edit_manifest(key='1' * 32)
        self.assert_damaged(self.load, '1' * 32)

    def test_manifest_of_another_format(self):
        for number in (0, 3, 99):
            self.edit_manifest(format=number)
            self.assert_damaged(self.load, f'format {number}',
                                'formats 1 to 2')
