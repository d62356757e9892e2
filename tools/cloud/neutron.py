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

"""As much of Neutron as Nova asks for, in memory.

Networks, ports and the like are kept as they are given, without any meaning
but one: a port that is bound to a host becomes a tap device there. Their
names go to the file that $CLOUD_TAPS names, for whoever cleans up.
"""

import json
import os
import uuid

import webob
import webob.dec
import webob.exc

from tools.cloud import layout

_SINGULAR = {'networks': 'network', 'subnets': 'subnet', 'ports': 'port',
             'security-groups': 'security_group'}

_DEFAULTS = {
    'network': {'admin_state_up': True, 'status': 'ACTIVE', 'mtu': 1500,
                'shared': False, 'router:external': False, 'subnets': [],
                'port_security_enabled': False},
    'subnet': {'enable_dhcp': False, 'gateway_ip': None, 'dns_nameservers': [],
               'host_routes': [], 'ip_version': 4},
    'port': {'admin_state_up': True, 'status': 'DOWN', 'fixed_ips': [],
             'device_id': '', 'device_owner': '', 'security_groups': [],
             'binding:vnic_type': 'normal', 'binding:host_id': '',
             'binding:vif_type': 'unbound', 'binding:vif_details': {},
             'binding:profile': {}, 'allowed_address_pairs': [],
             'port_security_enabled': False, 'resource_request': None},
    'security_group': {'security_group_rules': []},
}


class Neutron:
    """The WSGI application."""

    def __init__(self):
        self._kept = {collection: {} for collection in _SINGULAR}

    @webob.dec.wsgify
    def __call__(self, request):
        path = request.path_info.removesuffix('.json').strip('/').split('/')
        if path == ['']:
            return _answer({'versions': [{
                'id': 'v2.0', 'status': 'CURRENT', 'links': [
                    {'rel': 'self',
                     'href': layout.url('neutron', '/v2.0/')}]}]})
        collection, *rest = path[1:]
        if collection == 'extensions':
            return _answer({'extensions': [
                {'alias': alias, 'name': alias} for alias in
                ('binding', 'security-group')]})
        if collection == 'quotas':
            return _answer({'quota': {}})
        if collection not in self._kept:
            return _answer({collection.replace('-', '_'): []})
        act = getattr(self, f'_{request.method.lower()}')
        return act(request, collection, *rest)

    def _get(self, request, collection, key=None):
        kept = self._kept[collection]
        if key is None:
            return _answer({collection.replace('-', '_'): [
                each for each in kept.values()
                if _matches(each, request.GET)]})
        return _answer({_SINGULAR[collection]: self._find(collection, key)})

    def _post(self, request, collection):
        name = _SINGULAR[collection]
        given = request.json_body[name]
        project = given.get('project_id') or given.get('tenant_id', '')
        new = {'id': str(uuid.uuid4()), 'name': '', 'description': '',
               **_DEFAULTS[name]} | given | {
                   'tenant_id': project, 'project_id': project}
        if collection == 'ports':
            new.setdefault('mac_address', 'fa:16:3e:' + ':'.join(
                f'{byte:02x}' for byte in uuid.uuid4().bytes[:3]))
        self._kept[collection][new['id']] = _bound(new)
        return _answer({name: new}, 201)

    def _put(self, request, collection, key):
        name = _SINGULAR[collection]
        resource = self._find(collection, key)
        resource.update(request.json_body[name])
        return _answer({name: _bound(resource)})

    def _delete(self, _request, collection, key):
        del self._kept[collection][self._find(collection, key)['id']]
        return webob.Response(status=204)

    def _find(self, collection, key):
        try:
            return self._kept[collection][key]
        except KeyError:
            raise webob.exc.HTTPNotFound(json_body={'NeutronError': {
                'type': f'{_SINGULAR[collection].title()}NotFound',
                'message': f'{key} could not be found', 'detail': ''}})


def _bound(thing):
    """Update what follows from a port's host."""
    if 'binding:host_id' in thing:
        bound = bool(thing['binding:host_id'])
        thing['binding:vif_type'] = 'tap' if bound else 'unbound'
        thing['status'] = 'ACTIVE' if bound else 'DOWN'
        if bound:
            with open(os.environ['CLOUD_TAPS'], 'a', encoding='ascii') as f:
                # as Nova calls them
                f.write(f'tap{thing["id"]}'[:14] + '\n')
    return thing


def _matches(thing, filters):
    """Return whether a thing has one of the values of each filter."""
    return all(str(thing[name]) in filters.getall(name)
               for name in filters if name in thing)


def _answer(body, status=200):
    return webob.Response(json.dumps(body), status=status,
                          content_type='application/json', charset='UTF-8')


application = Neutron()
