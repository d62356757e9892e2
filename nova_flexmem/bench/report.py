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

"""A benchmark's report: one page of HTML with its pictures beside it."""

import os
import tempfile

from nova_flexmem.bench import results as results_module
from nova_flexmem.bench import table
from nova_flexmem import exception

_NAME = 'report.html'


def prepare(folder):
    """See that a report can be written to a folder, and make it.

    :raises: BenchFailed if matplotlib or Jinja2 is not installed,
        or the folder cannot be written
    """
    try:
        import jinja2  # noqa: F401

        from nova_flexmem.bench import plots  # noqa: F401
    except ImportError as e:
        raise exception.BenchFailed(
            reason=f'{folder}: no report, since a Python package is not'
            f' installed ({e}); install nova-flexmem[demo]')
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise exception.BenchFailed(
            reason=f'{folder}: no report can be written there'
            f' ({e.strerror}); give --report another folder')


def write(results, folder):
    """Write the results, the pictures and the page; returns its path.

    :param folder: as prepare() has seen to it
    """
    import jinja2

    from nova_flexmem.bench import plots
    results_module.write(results, folder)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('nova_flexmem.bench'), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True)
    page = environment.get_template(f'{_NAME}.j2').render(
        results=results, columns=table.columns(results),
        rows=table.rows(results), pictures=plots.draw(results, folder),
        results_name=results_module.NAME)
    path = os.path.join(folder, _NAME)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(page)
    return path
