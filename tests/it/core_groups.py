#!/usr/bin/env python3
"""core_groups.py CORE: host groups made, changed and deleted by the API, in the real core between the made-up front, jail, netd and vmm of
core_fake.py. TAP."""
import os, stat, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import (C_DELETE, C_GROUPS, C_NODES, C_RELAUNCH, C_SHUTDOWN, C_TAGS, ERR, OK, STATUS, T_COUNT, T_CPUS, T_CTEXT, T_GROUP, T_IMAGE,  # noqa: E402
                       T_IP, T_NAME, T_NET_MODE, T_PERSISTENT, T_RAM, T_STATUS, T_TAG_NAME, T_USERDATA, T_VM, TEXT, World, field, frame, ok, recv,
                       refused, says, send)

C_CREATE_GROUP, C_CHANGE_GROUP, C_DELETE_GROUP = 80, 81, 82
T_ENTRY, T_VALUE, T_PLAIN, T_LIST, T_MAP, T_SOURCE, T_KEEPS, T_NOTE, T_BRIDGE, T_GATEWAY = range(160, 170)
T_SIZE = 64


class Netd(core_fake.Netd):
    """Keeps what stands; bridge `broken` cannot be made, `slow` takes its time."""
    up = {}
    asked = []

    def run(self):
        while True:
            try:
                m = recv(self.sock)
                if not m:
                    return
                name = m.str(16)
                if m.type in (16, 17):
                    Netd.asked.append((m.type, name))
                if m.type == 16 and name == 'broken':
                    send(self.sock, frame(ERR, m.id, (STATUS, 409), (TEXT, 'interface broken is not ours')))
                    continue
                if m.type == 16 and name == 'slow':
                    time.sleep(0.5)
                if m.type == 16:
                    Netd.up[name] = m.str(17)
                if m.type == 17:
                    Netd.up.pop(name, None)
                if m.type == 18:
                    r, w = os.pipe()
                    send(self.sock, frame(OK, m.id), [r])
                    os.close(r)
                    os.close(w)
                else:
                    send(self.sock, frame(OK, m.id))
            except OSError:
                return


core_fake.Netd = Netd


def entry(key, v):
    """One key as front sends it."""
    if isinstance(v, dict):
        value = field(T_MAP, b''.join(entry(k, x) for k, x in v.items()))
    elif isinstance(v, list):
        value = field(T_LIST, b''.join(field(T_VALUE, x) for x in v))
    elif isinstance(v, (str, bytes)):
        value = field(T_VALUE, v)
    else:
        text = '' if v is None else str(v).lower() if isinstance(v, bool) else str(v)
        value = field(T_VALUE, text) + field(T_PLAIN, 1)
    return field(T_ENTRY, field(T_NAME, key) + value)


def keys(v):
    return [(T_ENTRY, entry(k, x)[8:]) for k, x in v.items()]


def make(w, **v):
    return w.ask(C_CREATE_GROUP, *keys(v))


def change(w, group, **v):
    return w.ask(C_CHANGE_GROUP, (T_GROUP, group), *keys(v))


def delete(w, name):
    return w.ask(C_DELETE_GROUP, (T_GROUP, name))


def groups(w):
    return {m.str(T_NAME): m for m in w.items(C_GROUPS)}


def files(w):
    return sorted(os.listdir(os.path.join(w.state, 'groups')))


NET = {'bridge': 'bdyn', 'gateway': '10.88.0.1/24'}
SMALL = {'ram_mb': 64, 'vcpu': 1, 'storage_size': '4M'}


def test_refusals(w):
    """The same sentences as of the file, without a place."""
    bad = [
        ({}, 'a host group needs a name'),
        ({'name': 'A_b'}, "group name 'A_b': use a-z"),
        ({'name': '../x'}, "group name '../x'"),
        ({'name': 'commits'}, 'is a word of the API'),
        ({'name': 'g', 'vcpus': 1}, "unknown key 'vcpus', did you mean 'vcpu'?"),
        ({'name': 'g', 'vcpu': 9}, "group 'g': vcpu is 9"),
        ({'name': 'g', 'vcpu': 'two'}, "'vcpu' must be a whole number"),
        ({'name': 'g', 'vcpu': 1.5}, "'vcpu' must be a whole number"),
        ({'name': 'g', 'vcpu': ['1']}, "'vcpu' must be a single value, not a list"),
        ({'name': 'g', 'ram_gb': 1, 'ram_mb': 5}, "group 'g': only one of ram_gb"),
        ({'name': 'g', 'ram_mb': 1}, 'too few'),
        ({'name': 'g', 'persistent': 'maybe'}, "'persistent' must be true or false"),
        ({'name': 'g', 'storage_size': '4K'}, "storage_size is 0 MiB, the image 'min' alone has"),
        ({'name': 'g', 'dns_servers': ['x']}, 'is not an IPv4 address'),
        ({'name': 'g', 'network': {'gatway': 'x'}}, "unknown key 'gatway', did you mean 'gateway'?"),
        ({'name': 'g', 'network': {'mode': 'x'}}, "unknown network mode 'x'"),
        ({'name': 'g', 'network': {'gateway': '10.0.0.0/24'}}, 'first or last address'),
        ({'name': 'g', 'network': {**NET, 'range': 'abc'}}, 'must be first-last'),
        ({'name': 'g', 'count': 2000}, 'count 2000 is too many'),
        ({'name': 'g', 'count': 5, 'network': {'gateway': '10.0.0.1/30', 'bridge': 'b30'}}, '5 VMs, but the network has 1'),
        ({'name': 'g', 'userdata_file': '/etc/shadow'}, 'send the script as userdata'),
        ({'name': 'g', 'image': '/etc/shadow'}, "image '/etc/shadow' is not open in the daemon"),
        ({'name': 'g', 'kernel_file': '/etc/shadow'}, "kernel_file '/etc/shadow' is not open"),
        ({'name': 'g', 'initrd_file': '/etc/shadow'}, "initrd_file '/etc/shadow' is not open"),
        ({'name': 'g', 'userdata': b'\xff\xfe'}, 'holds bytes that are no text'),
        ({'name': 'g', 'userdata': 'a\0b'}, 'holds bytes that are no text'),
    ]
    for spec, word in bad:
        m = make(w, **spec)
        ok(refused(m, 400, word) and ':1' not in m.str(TEXT), f'refused: {word}', says(m))
    m = w.ask(C_CREATE_GROUP, *keys({'name': 'g'}), *keys({'name': 'g'}))
    ok(refused(m, 400, "'name' is given twice"), 'a key twice', says(m))
    m = w.ask(C_CREATE_GROUP, (T_ENTRY, b'rubbish!'), *keys({'name': 'vm'}))
    ok(m.type == ERR, 'a broken field', says(m))
    deep = {'a': {'a': {'a': {'a': {'a': 'x'}}}}}
    ok(refused(make(w, name='g', network=deep), 400, 'too deep'), 'too deep')
    ok(refused(make(w, name='vm', **SMALL), 409, "there is a host group 'vm' already"), 'a name of the file')
    m = make(w, name='g', network={'gateway': '10.77.0.129/25', 'bridge': 'bx'})
    ok(refused(m, 409, "network 10.77.0.129/25 of group 'g' overlaps 10.77.0.1/24 of group 'vm' (line"), 'a network of the file', says(m))
    ok(refused(make(w, name='g', network={'gateway': '10.99.0.1/24', 'bridge': 'bvm'}), 409, "bridge 'bvm' of group 'g' is used by group 'vm'"), 'a bridge of the file')
    ok(refused(delete(w, 'vm'), 409, 'is declared in ') and refused(change(w, 'vm', vcpu=1), 409, 'is declared in '), "the file's group stays as it is")
    ok(refused(delete(w, 'nope'), 404) and refused(change(w, 'nope', vcpu=1), 404) and refused(w.ask(C_DELETE_GROUP), 404) and
       refused(delete(w, '../lock'), 404), 'nothing of that name')
    for kind in (C_CREATE_GROUP, C_CHANGE_GROUP, C_DELETE_GROUP):
        ok(refused(w.ask(kind, *keys({'name': 'g'}), listener=0), 401), f'without a token: 401 on {kind}')
    ok(sorted(groups(w)) == ['ok', 'vm'] and files(w) == [], 'and nothing is left', files(w))


def test_life(w):
    m = make(w, name='dyn', network=NET, persistent=True, userdata='#!/bin/sh\necho "hi"\n', dns_servers=['9.9.9.9'], **SMALL)
    ok(m.type == OK and m.str(T_NAME) == 'dyn' and m.str(T_SOURCE) == 'api' and m.num(T_KEEPS) == 0 and m.num(T_RAM) == 64 << 20 and
       m.num(T_CPUS) == 1 and m.str(T_IMAGE) == 'min' and m.str(T_NET_MODE) == 'bridge' and m.str(T_GATEWAY) == '10.88.0.1/24', 'made', says(m))
    ok(Netd.up.get('bdyn') == '10.88.0.1/24', 'its bridge stands', Netd.up)
    path = os.path.join(w.state, 'groups', 'dyn.yaml')
    ok(stat.S_IMODE(os.stat(path).st_mode) == 0o600 and open(path).read().startswith('mica-group: 1\n'), 'a file for core alone')
    ok(refused(make(w, name='dyn', **SMALL), 409, "there is a host group 'dyn' already"), 'twice: 409')
    m = make(w, name='other', network={'bridge': 'bo', 'gateway': '10.88.0.65/26'})
    ok(refused(m, 409, "overlaps 10.88.0.1/24 of group 'dyn': give it"), "a network of the API's", says(m))
    m = w.create('dyn', (T_PERSISTENT, 1))
    ok(m.type == OK and m.str(T_VM) == 'dyn-1' and m.str(T_IP) == '10.88.0.2/24', 'a VM of it', says(m))
    ok(w.ask(C_TAGS, (T_VM, 'dyn-1'), (T_TAG_NAME, 'later-7')).type == OK and
       refused(make(w, name='later', network={'mode': 'none'}, **SMALL), 409, "the name of VM 'dyn-1', 'later-7', looks like"), "a friendly name in the way")
    ok(refused(delete(w, 'dyn'), 409, "still has VMs, 'dyn-1' is one"), 'not deleted while it has VMs')
    m = make(w, name='none', network={'mode': 'none'}, **SMALL)
    ok(m.type == OK and m.str(T_GATEWAY) is None and w.create('none').str(T_IP) == '127.0.0.1/8', 'without a network', says(m))
    m = make(w, name='shared', **SMALL)
    ok(m.type == OK and Netd.up.get('brvm0') == '192.168.137.1/24', 'with the default network', says(m))
    before = len(Netd.asked)
    m = make(w, name='shared2', **SMALL)
    ok(m.type == OK and Netd.asked[before:] == [] and w.create('shared2').str(T_IP) == '192.168.137.2/24', 'two share the default network', says(m))
    ok(delete(w, 'shared').type == OK and 'brvm0' in Netd.up, 'the bridge stays for the other')
    ok(w.create('shared2').str(T_IP) == '192.168.137.3/24' and w.status_of('none-1') == 'Running' and w.status_of('dyn-1') == 'Running',
       'those behind it in the list are as they were')
    for vm in ('shared2-1', 'shared2-2'):
        w.ask(C_DELETE, (T_GROUP, 'shared2'), (T_VM, vm))
    ok(delete(w, 'shared2').type == OK and w.wait_for(lambda: 'brvm0' not in Netd.up), 'and goes with it')
    m = make(w, name='broken', network={'bridge': 'broken', 'gateway': '10.89.0.1/24'}, **SMALL)
    ok(refused(m, 409, 'its network could not be: interface broken is not ours'), 'netd refuses the bridge', says(m))
    ok('broken' not in groups(w) and 'broken.yaml' not in files(w), 'then there is no group')
    a = w.post(C_CREATE_GROUP, *keys({'name': 'slow', 'network': {'bridge': 'slow', 'gateway': '10.90.0.1/24'}, **SMALL}))
    ok('slow' not in groups(w) and refused(w.create('slow', wait=None), 404) and refused(delete(w, 'slow'), 409, 'being made') and
       refused(make(w, name='slow'), 409, 'already'), 'while its bridge is made it is not there yet')
    ok(w.answer(a)[-1].type == OK and 'slow' in groups(w) and delete(w, 'slow').type == OK, 'then it is')
    ok(make(w, name='img', image=w.ext4, network={'mode': 'none'}, ram_mb=64, storage_size='8M').str(T_IMAGE) == w.ext4, "an image that the file's groups use")
    m = w.create('img')
    ok(m.type == OK and open(os.path.join(w.state, 'vm/img-1/disk.img'), 'rb').read(2048) == open(w.ext4, 'rb').read(2048), 'is what a VM of it gets', says(m))


def test_isolated(w):
    """Rules of an isolated group: checked as the file's, changed while it has no VMs; limits of cards always."""
    iso = {'mode': 'isolated', 'range': '10.93.0.0/24'}
    ok(refused(make(w, name='iso', network={**iso, 'allow': ['nonsense/99']}, **SMALL), 400, 'allow'), 'a bad rule: 400')
    m = make(w, name='iso', network={**iso, 'allow': ['10.0.0.0/8'], 'drop': ['0.0.0.0/0']}, **SMALL)
    ok(m.type == OK and m.str(T_NET_MODE) == 'isolated' and m.str(T_GATEWAY) == '10.93.0.0/24' and m.str(T_BRIDGE) is None, 'an isolated group', says(m))
    ok(refused(make(w, name='iso2', network={'mode': 'isolated', 'range': '10.93.0.128/25'}, **SMALL), 409, 'overlaps'), 'its range is taken')
    ok(change(w, 'iso', network={'allow': ['10.1.0.0/16'], 'bytes_per_s': '10M'}).type == OK, 'other rules and limits')
    ok(refused(change(w, 'iso', network={'range': '10.94.0.0/24'}), 409, 'cannot get another network'), 'not another range')
    ok(delete(w, 'iso').type == OK, 'deleted')


def test_change(w):
    m = change(w, 'dyn', vcpu=2, ram_bytes=128 << 20, userdata=None)
    ok(m.type == OK and m.num(T_CPUS) == 2 and m.num(T_RAM) == 128 << 20, 'larger', says(m))
    text = open(os.path.join(w.state, 'groups', 'dyn.yaml')).read()
    ok('ram_mb' not in text and 'userdata' not in text and '9.9.9.9' in text, 'keys are replaced and removed, the rest stays', text)
    m = w.create('dyn', (T_CPUS, 2), (T_PERSISTENT, 1))
    ok(m.type == OK and m.str(T_VM) == 'dyn-2', 'a VM with all of it', says(m))
    ok(refused(change(w, 'dyn', vcpu=1), 409, "VM 'dyn-2' has 2 vCPUs, host group 'dyn' would allow 1"), 'smaller than a VM')
    ok(refused(change(w, 'dyn', ram_mb=64), 409, "VM 'dyn-2' has 128 MiB of RAM"), 'less RAM than a VM')
    ok(refused(change(w, 'dyn', network={'gateway': '10.91.0.1/24'}), 409, 'cannot get another network'), 'another network')
    ok(refused(change(w, 'dyn', network={'mode': 'none'}), 409, 'cannot get another network'), 'no network')
    ok(refused(change(w, 'dyn', network={'parent': 'eth9'}), 409, 'has VMs, so network.parent cannot change'), 'other keys of it while there are VMs')
    ok(refused(change(w, 'dyn', name='x'), 400, 'name of a host group cannot be changed'), 'another name')
    ok(refused(change(w, 'dyn', nonsense=1), 400, "unknown key 'nonsense'") and refused(change(w, 'dyn', image='/etc/shadow'), 400), 'the same checks')
    ok(groups(w)['dyn'].num(T_CPUS) == 2 and groups(w)['dyn'].num(T_RAM) == 128 << 20, 'what was refused changed nothing')
    m = change(w, 'dyn', network={'range': '10.88.0.50-10.88.0.60'})
    ok(m.type == OK and w.create('dyn').str(T_IP) == '10.88.0.50/24', 'another range', says(m))
    m = change(w, 'dyn', count=2)
    ok(m.type == OK and w.wait_for(lambda: w.names().count('dyn-4') and w.status_of('dyn-5') == 'Running'), 'VMs that it keeps', (says(m), w.names()))
    ok(refused(w.ask(C_DELETE, (T_GROUP, 'dyn'), (T_VM, 'dyn-5')), 403) and refused(delete(w, 'dyn'), 409, "still has VMs"), 'are protected')
    ok(change(w, 'dyn', count=0).type == OK and w.ask(C_DELETE, (T_GROUP, 'dyn'), (T_VM, 'dyn-5')).type == OK, 'and let go again')


def test_restart(w):
    w.kill9()
    line = w.start(config=w.config)
    g = groups(w)
    ok(line and sorted(g) == ['dyn', 'img', 'none', 'ok', 'vm'] and g['vm'].str(T_SOURCE) == 'yaml', 'all there after kill -9', (w.lines, sorted(g)))
    ok(g['dyn'].num(T_CPUS) == 2 and g['dyn'].num(T_RAM) == 128 << 20 and g['dyn'].str(T_GATEWAY) == '10.88.0.1/24' and g['dyn'].num(T_COUNT) == 4, 'as it was')
    ok(w.status_of('dyn-1') == 'Running' and w.status_of('none-1') == 'Running' and w.create('dyn').type == OK, 'VMs are adopted, and more can be made')
    ok(w.term() == 0, 'stopped')
    with open(os.path.join(w.state, 'groups', 'cut.yaml'), 'w') as f:
        f.write('mica-group: 1\ngroup:\n  name: cu')
    with open(os.path.join(w.state, 'groups', 'new.yaml'), 'w') as f:
        f.write('mica-group: 2\ngroup:\n  name: new\n')
    with open(os.path.join(w.state, 'groups', 'path.yaml'), 'w') as f:
        f.write('mica-group: 1\ngroup:\n  name: path\n  image: /etc/passwd\n')
    open(os.path.join(w.state, 'groups', '.dyn.yaml.new'), 'w').write('half')
    w.start(config=w.config.replace('  api:', core_fake.GROUP % ('dyn', 0, 'dyn', 9) + '  api:'))
    g = groups(w)
    w.read_lines()
    ok(g['dyn'].str(T_SOURCE) == 'yaml' and any("NOTE host group 'dyn', made by the API, is left out: there is a host group 'dyn' already" in x for x in w.lines), 'the file wins, and says so', w.lines)
    for name, why in (('cut', 'another name stands inside'), ('new', 'another version of mica'), ('path', 'groups/path.yaml:4: image')):
        ok(any(f"'{name}', made by the API, is left out: " in x and why in x for x in w.lines), f'left out and told: {name}', w.lines)
    ok(files(w) == ['cut.yaml', 'dyn.yaml', 'img.yaml', 'new.yaml', 'none.yaml', 'path.yaml'], 'nothing is lost but what was half written', files(w))
    ok(refused(make(w, name='new', network={'mode': 'none'}, **SMALL), 409, 'left out at start') and delete(w, 'new').type == OK and
       make(w, name='new', network={'mode': 'none'}, **SMALL).type == OK, 'one that was left out is deleted before it is made anew')
    ok(refused(delete(w, 'dyn'), 409, 'declared in'), "the file's is not deleted")
    w.term()
    line = w.start(config=w.config)
    ok(groups(w)['dyn'].str(T_SOURCE) == 'api' and groups(w)['dyn'].num(T_CPUS) == 2, 'it is back when the file has it no more', w.lines)
    ok(w.status_of('dyn-1') == 'Stopped' and w.ask(C_RELAUNCH, (T_VM, 'dyn-2')).type == OK, 'with its VMs', w.names())
    for vm in [x for x in w.names() if x.startswith('dyn-')]:
        w.ask(C_DELETE, (T_GROUP, 'dyn'), (T_VM, vm))
    ok(delete(w, 'dyn').type == OK and 'dyn.yaml' not in files(w) and 'bdyn' not in Netd.up, 'deleted with its file and bridge', (files(w), Netd.up))
    w.kill9()
    w.start(config=w.config)
    ok('dyn' not in groups(w), 'and stays away')


def test_full(w):
    """The disk refuses: nothing half made."""
    folder = os.path.join(w.state, 'groups')
    os.rename(folder, folder + '.away')
    m = make(w, name='zz', network={'mode': 'none'}, userdata='x' * 50000, **SMALL)
    ok(m.type == OK, 'an open folder that moved is still the folder', says(m))
    os.rename(folder + '.away', folder)
    ok('zz.yaml' in files(w), 'so it is there')
    w.kill9()
    w.start(config=w.config)
    ok('zz' in groups(w), 'and is read again with its long script')
    n = 0
    while n < 200 and make(w, name=f'many{n}', network={'mode': 'none'}, **SMALL).type == OK:
        n += 1
    m = make(w, name='more', network={'mode': 'none'}, **SMALL)
    ok(refused(m, 507, 'this daemon has 128 host groups already') and len(groups(w)) == 128, 'bounded', (n, says(m)))


def test_empty(w):
    """A daemon without groups of a file."""
    w.term()
    for name in files(w):
        os.unlink(os.path.join(w.state, 'groups', name))
    line = w.start(config=f'config:\n  host_groups: []\n  api:\n    port: {w.port}\n', netd=False)
    m = make(w, name='solo', **SMALL)
    ok(line and m.type == OK and 'no network for VMs' in m.str(T_NOTE), 'a daemon with groups of the API alone, without netd', says(m))
    ok(w.create('solo').str(T_IP) == '127.0.0.1/8', 'a VM of it')
    m = make(w, name='z', storage='zfs', **{**SMALL, 'count': 0})
    ok(m.type == OK and m.all(T_NOTE) and m.all(T_NOTE)[0].startswith("group 'z': storage 'zfs' is kept as 'image'"), 'notes come with the answer', m.all(T_NOTE))


def main():
    w = World()
    w.ext4 = os.path.join(w.root, 'ext4')
    sb = bytearray(1 << 20)
    sb[1024 + 0x38:1024 + 0x3a] = b'\x53\xef'
    sb[1024 + 4] = 8
    open(w.ext4, 'wb').write(sb)
    w.config = core_fake.CONFIG % (''.join(core_fake.GROUP % (g, 0, g, i) for i, g in enumerate(('vm', 'ok'))) + f'    image: {w.ext4}\n', w.port)
    with core_fake.told(w):
        w.start(config=w.config)
        test_refusals(w)
        test_life(w)
        test_isolated(w)
        test_change(w)
        test_restart(w)
        test_full(w)
        test_empty(w)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
