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

"""Changes to libvirt XML that leave everything around them as it was."""

from lxml import etree

from nova_flexmem import exception

#: libvirt's units of memory sizes (virScaleInteger).
_UNITS = {'b': 1, 'bytes': 1, 'KB': 10**3, 'k': 2**10, 'KiB': 2**10,
          'MB': 10**6, 'M': 2**20, 'MiB': 2**20, 'GB': 10**9, 'G': 2**30,
          'GiB': 2**30, 'TB': 10**12, 'T': 2**40, 'TiB': 2**40}


def parse(xml):
    """Return the root element of a libvirt domain.

    :param xml: libvirt domain XML, text
    :raises: DomainRefused if it is not the XML of a domain
    """
    parser = etree.XMLParser(encoding='utf-8', resolve_entities=False,
                             no_network=True)
    try:
        root = etree.fromstring(xml.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as e:
        raise exception.DomainRefused(domain='(unknown)',
                                      reason=f'not an XML document: {e}')
    if root.tag != 'domain':
        raise exception.DomainRefused(
            domain='(unknown)', reason=f'<{root.tag}> is not a libvirt domain')
    return root


def serialize(root):
    """Return a document as text, with the comments around its root."""
    before = reversed(list(root.itersiblings(preceding=True)))
    return '\n'.join(etree.tostring(node, encoding='unicode')
                     for node in [*before, root, *root.itersiblings()])


def size_kib(element):
    """Return the size in an element such as <memory>, in KiB, rounded up.

    :raises: ValueError if libvirt would not read it
    """
    unit = element.get('unit', 'KiB')
    if unit not in _UNITS:
        raise ValueError(f'<{element.tag}> is in unit {unit}; use KiB')
    return -(-int(element.text or '') * _UNITS[unit] // 1024)


def insert(parent, index, element):
    """Insert an element at an index of its parent, indented like the rest."""
    depth = sum(1 for _ in parent.iterancestors())
    if parent.getroottree().getroot().text:  # the document is indented
        etree.indent(element, level=depth + 1)
        if not len(parent):
            parent.text = '\n' + '  ' * (depth + 1)
            element.tail = '\n' + '  ' * depth
    if index:
        before = parent[index - 1]
        element.tail, before.tail = before.tail, parent.text
    elif len(parent):
        element.tail = parent.text
    parent.insert(index, element)


def append(parent, element):
    """Add an element as the last one of its parent."""
    insert(parent, len(parent), element)


def insert_after(root, names, element):
    """Insert an element below root, after the first of names that exists.

    :param names: names of elements below root; if none exists, the element
        becomes the first
    """
    before = next((child for name in names
                   if (child := root.find(name)) is not None), None)
    index = 0 if before is None else root.index(before) + 1
    insert(root, index, element)


def remove(element):
    """Remove an element and the space that indented it."""
    parent = element.getparent()
    if element.getnext() is None:
        before = element.getprevious()
        if before is not None:
            before.tail = element.tail
        else:
            parent.text = None
    parent.remove(element)
