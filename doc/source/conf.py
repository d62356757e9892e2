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

"""Sphinx configuration of the documentation."""

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'cliff.sphinxext',
]

highlight_language = 'text'

project = 'nova-flexmem'
copyright = 'nova-flexmem developers'
exclude_patterns = []

html_theme = 'openstackdocs'
html_static_path = ['_static']
html_css_files = ['tables.css']
# The tree may have no remote, and no tag, to take these from
openstackdocs_auto_name = False
openstackdocs_auto_version = False
version = ''
release = ''

autoprogram_cliff_app_dist_name = 'nova-flexmem'
