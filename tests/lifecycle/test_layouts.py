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

"""Servers that start on another layout of their image.

It has the mkfs of Debian 13: the host was upgraded, or it is another one.
tests/upgrade compares all files of such a server, and other pairs of layouts.
"""

import dataclasses
import os
import shutil
import tempfile

from nova_flexmem.build import rootfs
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import superblock
from tests.lifecycle import harness
from tests.upgrade import layouts
from tests.upgrade import releases

_SAID = 'this delta was last used on base layout'
_TIMEOUT_S = 300


class OtherLayoutTest(harness.NovaTestCase):

    own_store = True

    def setUp(self):
        super().setUp()
        self.flags(shelved_offload_time=0)
        try:
            self.other_release = releases.Release('trixie')
        except releases.Unreachable as e:
            self.skipTest(str(e))

    def test_all_ways(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        snapshot = self.snapshot(server)
        other = self.exchange(self.base_key(server))

        self.act(server, 'reboot', {'type': 'HARD'})
        self.assert_on(other, server, 2, 'reboot')
        # its delta now belongs to this layout
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 3, **harness.FLEXMEM)
        self.assertEqual([], self.events(server, 'reboot'))
        self.assertNotIn(_SAID, self.console(server))

        from_snapshot = self.boot(snapshot)
        self.assert_on(other, from_snapshot, 2, 'create')
        self.act(from_snapshot, 'shelve', until='SHELVED_OFFLOADED')
        self.act(from_snapshot, 'unshelve')
        self.hear(from_snapshot, 3, **harness.FLEXMEM)
        self.assertEqual([], self.events(from_snapshot, 'unshelve'))

        self.act(server, 'shelve', until='SHELVED_OFFLOADED')
        third = self.exchange(other, releases.HERE)
        self.act(server, 'unshelve')
        self.assert_on(third, server, 4, 'unshelve')
        self.assertEqual(1, len(self.builds))
        self.delete(server, from_snapshot)

    def exchange(self, key, suite='trixie'):
        """Replace a base by another layout of the same image.

        :param suite: of the mkfs that makes it
        :returns: its key
        """
        base = self.store.require(key)
        release = releases.Release(suite)
        folder = tempfile.mkdtemp(dir=self.folder)
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        tree = os.path.join(folder, 'tree')
        _extract(base, tree)
        made = layouts.make(
            os.path.join(folder, basefiles.ROOT_PMEM), release, tree)
        self.assertNotEqual(base.layout, made.sha256)
        shutil.rmtree(tree)
        for name in (basefiles.KERNEL, basefiles.INITRAMFS):
            shutil.copy(base.file(name), folder)
        new = basestore.key_of(made.sha256, base.manifest.image_sha256)
        dataclasses.replace(
            base.manifest, key=new, uuid=made.uuid,
            rootfs_size_bytes=rootfs.load('erofs').size_bytes(
                made.path, superblock.DATA_OFFSET_BYTES),
            files=base.manifest.files | {
                basefiles.ROOT_PMEM: basefiles.File.of(made.path)}
        ).write(os.path.join(folder, basefiles.MANIFEST))
        names = self.store.names_of(key)
        self.store.publish(folder, new)
        for name in names:
            self.store.set_name(name, new)
        shutil.rmtree(base.path)  # also while it is in use
        return new

    def assert_on(self, key, server, boot, action):
        """Check that a server starts on another layout, and tells of it."""
        self.hear(server, boot, **harness.FLEXMEM)
        self.assertEqual(key, self.base_key(server))
        self.assertIn(_SAID, self.console(server))
        self.assertEqual(['flexmem_other_layout'],
                         self.events(server, action))

    def events(self, server, action):
        """Return the events of the last action of a name that we wrote."""
        [newest, *_others] = [
            each for each in self.api.get_instance_actions(server['id'])
            if each['action'] == action]
        details = self.api.get_instance_action_details(
            server['id'], newest['request_id'])
        return [event['event'] for event in details['events']
                if event['event'].startswith('flexmem')]


def _extract(base, folder):
    """Unpack the files of a base."""
    filesystem = f'{folder}.erofs'
    with open(base.file(basefiles.ROOT_PMEM), 'rb') as reading, \
            open(filesystem, 'xb') as writing:
        reading.seek(superblock.DATA_OFFSET_BYTES)
        shutil.copyfileobj(reading, writing)
    process.run('fsck.erofs', f'--extract={folder}', filesystem,
                timeout_s=_TIMEOUT_S)
    os.unlink(filesystem)
    # fsck.erofs 1.5 leaves them out
    os.setxattr(os.path.join(folder, 'srv/witness/given/kept'),
                'user.witness', b'image')
