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

"""Archives of bases: whole, damaged, and made by somebody hostile."""

import json
import os
import resource

import fixtures
import testtools
import zstandard

from nova_flexmem import exception
from nova_flexmem.publish import archive
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples

GIB = 1 << 30

SHA256 = '5' * 64


def make_base(folder, content=b'root filesystem', **facts):
    """Write a base whose key follows from its content; return it."""
    made = os.path.join(folder, 'made')
    os.mkdir(made)
    manifest = samples.write_base(made, '0' * 32, content,
                                  image_sha256=SHA256, **facts)
    key = basestore.key_of(manifest.files[basefiles.ROOT_PMEM].sha256, SHA256,
                           manifest.scope)
    os.unlink(os.path.join(made, basefiles.MANIFEST))
    samples.write_manifest(made, key, **{
        'image_sha256': SHA256, 'rootfs_size_bytes': len(content)} | facts)
    path = os.path.join(folder, key)
    os.rename(made, path)
    return basefiles.Base(path)


class ArchiveTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.base = make_base(self.folder, os.urandom(100_000))
        self.path = os.path.join(self.folder, 'archive')
        archive.pack(self.base, self.path)
        self.text = archive.read_manifest(self.base)

    def taken(self, text=None, key=None, limit=32 * GIB):
        """Write a manifest where a base is taken to; return the Base."""
        folder = os.path.join(self.useFixture(fixtures.TempDir()).path,
                              key or self.base.key)
        os.mkdir(folder)
        self.target = folder
        return archive.write_manifest(folder, text or self.text, limit)

    def contents(self):
        return b''.join(open(self.base.file(name), 'rb').read()
                        for name in basefiles.FILES)

    def replace(self, data, **kwargs):
        """Have an archive of other data."""
        with open(self.path, 'wb') as f:
            f.write(zstandard.ZstdCompressor(**kwargs).compress(data))

    def assert_damaged(self, words):
        base = self.taken()
        e = self.assertRaises(exception.BaseDamaged, archive.unpack, self.path,
                              base)
        self.assertIn(words, str(e))
        # never more than the manifest says, and nothing else
        self.assertLessEqual(
            {*os.listdir(self.target)},
            {basefiles.MANIFEST, *basefiles.FILES})
        for name in {*os.listdir(self.target)} & {*basefiles.FILES}:
            self.assertLessEqual(
                os.path.getsize(os.path.join(self.target, name)),
                base.manifest.files[name].size_bytes)

    def test_whole(self):
        base = self.taken()
        archive.unpack(self.path, base)
        for name in (basefiles.MANIFEST, *basefiles.FILES):
            with open(base.file(name), 'rb') as a, \
                    open(self.base.file(name), 'rb') as b:
                self.assertEqual(a.read(), b.read())
        self.assertLess(os.path.getsize(self.path),
                        archive.size_bytes(self.base))

    def test_what_cannot_be_compressed_is_not_too_large(self):
        self.replace(os.urandom(archive.size_bytes(self.base)))
        self.assertLess(os.path.getsize(self.path),
                        archive.max_packed_bytes(self.base))

    def test_cut_short(self):
        size = os.path.getsize(self.path)
        for left in (0, 1, 4, size // 2, size - 1):
            archive_size = os.open(self.path, os.O_WRONLY)
            os.ftruncate(archive_size, left)
            os.close(archive_size)
            self.assert_damaged('')

    def test_cut_short_before_it_was_compressed(self):
        self.replace(self.contents()[:-1])
        self.assert_damaged('ends 1 bytes too soon')
        self.replace(b'')
        self.assert_damaged('too soon')

    def test_too_long(self):
        self.replace(self.contents() + b'x')
        self.assert_damaged('more than the files')

    def test_another_frame_behind_it(self):
        with open(self.path, 'ab') as f:
            f.write(zstandard.ZstdCompressor().compress(b'more'))
        self.assert_damaged('more than the files')

    def test_a_changed_byte(self):
        for position in (0, -1, 4096, len(self.contents()) // 2):
            data = bytearray(self.contents())
            data[position] ^= 1
            self.replace(bytes(data))
            self.assert_damaged('')

    def test_a_bomb(self):
        """A few KiB that are 1 GiB: no more than the base is written."""
        compressor = zstandard.ZstdCompressor()
        with open(self.path, 'wb') as f, compressor.stream_writer(
                f, closefd=False) as out:
            for _number in range(128):
                out.write(bytes(8 << 20))
        self.assertLess(os.path.getsize(self.path), 1 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assert_damaged('more than the files')
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assertLess(after - before, 256 << 10)  # KiB

    def test_a_window_that_would_take_all_memory(self):
        with open(self.path, 'wb') as f, zstandard.ZstdCompressor(
                compression_params=zstandard.ZstdCompressionParameters(
                    window_log=30)).stream_writer(f, closefd=False) as out:
            out.write(self.contents())
        self.assert_damaged('')

    def test_not_zstd(self):
        with open(self.path, 'wb') as f:
            f.write(self.contents())
        self.assert_damaged('')

    def manifest(self, **changes):
        """Return the text of a manifest with other fields, digest and all."""
        fields = json.loads(self.text)
        del fields['sha256']
        for name, value in changes.items():
            fields[name] = value(fields[name]) if callable(value) else value
        fields['sha256'] = basefiles._digest(fields)
        return json.dumps(fields)

    def test_manifests_that_are_refused(self):
        def files(**changes):
            return lambda old: old | changes

        for text, words in (
                ('', 'manifest'), ('{}', 'manifest'),
                ('[' * 60000, 'manifest'),
                (self.text[:-10], 'manifest'),
                (self.text.replace('debian', 'devuan'), 'has changed'),
                (self.text + ' ' * 60000, 'characters'),
                (self.manifest(format=3), 'format 3'),
                (self.manifest(format=1), 'does not follow'),
                (self.manifest(key='9' * 32), 'it is of base'),
                (self.manifest(image_sha256='6' * 64), 'does not follow'),
                (self.manifest(scope='another'), 'does not follow'),
                (self.manifest(files={}), 'manifest'),
                (self.manifest(files=files(initramfs={
                    'size_bytes': 1 << 50, 'sha256': '0' * 64})), 'limit'),
                (self.manifest(files=files(kernel={
                    'size_bytes': -1, 'sha256': '0' * 64})), 'manifest')):
            e = self.assertRaises(
                (exception.BaseDamaged, exception.PublishFailed), self.taken,
                text or '\n')
            self.assertIn(words, str(e))

    def test_another_layout_under_the_key(self):
        text = self.manifest(files=lambda old: old | {'root.pmem': old[
            'root.pmem'] | {'sha256': '1' * 64}})
        self.assertRaises(exception.BaseDamaged, self.taken, text)

    def test_a_limit_of_this_host(self):
        big = self.manifest(files=lambda old: old | {'root.pmem': old[
            'root.pmem'] | {'size_bytes': 4 * GIB}})
        e = self.assertRaises(exception.PublishFailed, self.taken, big,
                              limit=3 * GIB)
        self.assertIn('max_base_size_gib', str(e))
        self.taken(big)  # its content will tell

    def test_a_manifest_that_glance_cannot_keep(self):
        base = make_base(self.useFixture(fixtures.TempDir()).path,
                         kernel_args='x' * 60_000)
        e = self.assertRaises(exception.PublishFailed, archive.read_manifest,
                              base)
        self.assertIn('60', str(e))
