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

import errno
import os

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.store import diskerrors


class ReportingTest(testtools.TestCase):

    def said(self, *error):
        def fail():
            with diskerrors.reporting('/store'):
                raise OSError(*error)

        return str(self.assertRaises(exception.StoreUnusable, fail))

    def test_names_file_cause_and_way_out(self):
        for number, way_out in (
                (errno.ENOSPC, 'nova-flexmem image prune'),
                (errno.EDQUOT, 'nova-flexmem image prune'),
                (errno.EIO, 'another disk'),
                (errno.EPERM, 'a folder that this user may write to'),
                (errno.EROFS, 'a folder that this user may write to')):
            cause = os.strerror(number)
            self.assertThat(self.said(number, cause, '/store/file'),
                            testtools.matchers.MatchesRegex(
                                f'/store/file: {cause}; .*{way_out}'))

    def test_what_says_little(self):
        self.assertEqual('/store: odd', self.said('odd'))
        self.assertEqual('/store: Is a directory',
                         self.said(errno.EISDIR, 'Is a directory'))
        for name in (3, 'name', b'name'):  # of a descriptor, or below one
            self.assertEqual(
                '/store: Is a directory',
                self.said(errno.EISDIR, 'Is a directory', name))


class DiscardTest(testtools.TestCase):

    def test_what_can_not_be_looked_at(self):
        folder = self.useFixture(fixtures.TempDir()).path

        def fail(*_args):
            raise OSError(errno.EIO, 'Input/output error')

        with fixtures.MonkeyPatch('os.fstat', fail):
            files.discard(folder)
        files.discard(folder)
        self.assertFalse(os.path.exists(folder))
        files.discard(folder)


class TryOutTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'trial')

    def test_well(self):
        diskerrors.try_out(self.path, 1 << 20)
        self.assertEqual(1 << 20, os.path.getsize(self.path))

    def test_not_well(self):
        def fail(*_args):
            raise OSError(errno.EIO, 'Input/output error')

        for call in ('os.posix_fallocate', 'os.fsync'):
            with fixtures.MonkeyPatch(call, fail):
                self.assertRaises(OSError, diskerrors.try_out, self.path, 512)
            os.unlink(self.path)
