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

"""nova-flexmem: the command."""

import logging
import sys

from cliff import app
from oslo_config import cfg
from pbr import version

from nova_flexmem.cmd import commands
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception

_HELP_CONFIG = 'configuration file, for example nova.conf; may be repeated'


class FlexMemApp(app.App):
    """Shares one host copy of an image between the guests that boot it."""

    def __init__(self):
        super().__init__(
            description='Shares one host copy of an image between the guests'
            ' that boot it.',
            version=version.VersionInfo('nova-flexmem').release_string(),
            command_manager=commands.Commands('nova_flexmem.cli'),
            deferred_help=True)

    def build_option_parser(self, description, version, argparse_kwargs=None):
        parser = super().build_option_parser(description, version,
                                             argparse_kwargs)
        parser.add_argument('--config-file', action='append', default=[],
                            metavar='FILE', help=_HELP_CONFIG)
        parser.add_argument(
            '--store', metavar='FOLDER',
            help='base store; default: [flexmem] store_path')
        return parser

    def configure_logging(self):
        super().configure_logging()
        if self.options.verbose_level < 2:
            # What libraries report of their own work is of no use here:
            # fonts that matplotlib found, connections that were made.
            logging.getLogger().setLevel(logging.WARNING)
            logging.getLogger('nova_flexmem').setLevel(logging.INFO)
            # matplotlib warns while it looks for fonts; our own message has
            # what oslo_utils logs of a refused image.
            for name in ('matplotlib', 'oslo_utils'):
                logging.getLogger(name).setLevel(logging.ERROR)
            # of Keystone's as well
            for name in ('keystoneauth', 'stevedore'):
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def initialize_app(self, argv):
        self.conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(self.conf)
        files = [f'--config-file={f}' for f in self.options.config_file]
        try:
            self.conf(files, project='nova', default_config_files=[])
        except cfg.Error as e:
            raise exception.ConfigUnusable(reason=str(e))
        if self.options.store:
            self.conf.set_override('store_path', self.options.store,
                                   group='flexmem')


def main(argv=None):
    """Run the command; return its exit status."""
    return FlexMemApp().run(sys.argv[1:] if argv is None else argv)


if __name__ == '__main__':
    sys.exit(main())
