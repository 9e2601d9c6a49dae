#!/usr/bin/env python3
"""core_secrets.py CORE: secrets and metrics of the real core between the made-up front, jail, netd and vmm of core_fake.py. TAP."""
import json, os, re, stat, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import (C_NODES, C_PAUSE, C_READY, C_RESUME, C_SHUTDOWN, C_RELAUNCH, OK, T_ACTION, T_COUNT, T_GROUP, T_NAME,  # noqa: E402
                       T_PERSISTENT, T_READY, T_SECRET, T_STATUS, T_TIMEOUT, T_USERDATA, T_VM, T_WAIT, Msg, World, frame, ok, refused, says)

C_LIST, C_PUT, C_PATCH, C_REMOVE, C_METRICS = range(48, 53)
(T_GPU, T_DATA, T_SIZE, T_PERM, T_UID, T_GID, T_MODIFIED, T_SET, T_BY_API, T_CODE, T_LOAD1, T_LOAD5, T_LOAD15, T_MEM, T_MEM_AVAIL, T_FILES,
 T_SOCKETS, T_TX, T_RX) = range(62, 81)
A_SECRET_PUT = 44
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')


def agent_tags():
    """The numbers of agent.h by its own text, so that this file cannot drift from it."""
    text = open(os.path.join(TOP, 'lib/wire/agent.h')).read()
    text = re.sub(r'/\*.*?\*/', '', text[text.index('enum agent_tag'):], flags=re.S)
    at, tags = 0, {}
    for name, _, value in re.findall(r'(A_T_\w+)(\s*=\s*(\d+))?', text):
        at = int(value) if value else at + 1
        tags[name] = at
    return tags


class Vmm(core_fake.Vmm):
    """Writes each secret it was given to a file named by its VM, one JSON line each. Group `deny` refuses them, `dumb` says nothing."""

    def on_stream(self, s):
        data = s.recv(70000, core_fake.socket.MSG_PEEK)
        if len(data) < 12 or core_fake.struct.unpack_from('<IH', data)[1] != A_SECRET_PUT:
            if data and core_fake.struct.unpack_from('<IH', data)[1] == core_fake.A_USERDATA:
                self.log(['userdata'])
            return super().on_stream(s)
        want = core_fake.struct.unpack_from('<I', data)[0] + 12
        data = b''
        while len(data) < want:
            data += s.recv(want - len(data))
        m, t = Msg(data), TAGS
        if self.kind == 'dumb':
            return
        if self.kind == 'deny':
            s.sendall(frame(core_fake.ERR, m.id, (core_fake.STATUS, 500), (core_fake.TEXT, 'no room')))
            return
        time.sleep(0.02)
        self.log([m.str(t['A_T_NAME']), m.get(t['A_T_DATA']).decode('latin-1'), m.num(t['A_T_PERM']), m.num(t['A_T_UID']), m.num(t['A_T_GID'])])
        s.sendall(frame(OK, m.id))

    def log(self, what):
        with open(os.path.join(os.environ['SECRETS_LOG'], self.name), 'a') as f:
            f.write(json.dumps(what) + '\n')

    def boot(self, m):
        self.name = dict(w.split('=', 1) for w in m.str(core_fake.VT_CMDLINE).split() if '=' in w)['MICA_HOST']
        super().boot(m)


core_fake.Vmm = Vmm
TAGS = agent_tags()


read = {}  # VM → bytes of its log that were looked at


def new_lines(vm):
    """Those that are whole: the file stands before its first line does, and grows meanwhile."""
    try:
        with open(os.path.join(os.environ['SECRETS_LOG'], vm), 'rb') as f:
            f.seek(read.get(vm, 0))
            return f.read().rpartition(b'\n')
    except FileNotFoundError:
        return b'', b'', b''


def was_given(vm):
    return bool(new_lines(vm)[0])


def given(vm):
    """What that guest was given since the last time it was asked."""
    lines, end, _ = new_lines(vm)
    read[vm] = read.get(vm, 0) + len(lines + end)
    return [json.loads(x) for x in lines.splitlines()]


def listed(w):
    return [(m.str(T_NAME), m.num(T_SIZE), m.num(T_PERM), m.num(T_UID), m.num(T_GID)) for m in w.items(C_LIST)]


def put(w, name, data, *fields):
    return w.ask(C_PUT, (T_NAME, name), (T_DATA, data), *fields)


def test_refusals(w):
    for name in ('', '.', '..', '.x', 'a/b', '../x', 'a b', 'x' * 65, 'ä', 'a\0b', '/etc/passwd'):
        ok(refused(put(w, name, b'v'), 400, 'name'), f'no name for a secret: {name[:10]!r}')
    ok(refused(w.ask(C_PUT, (T_NAME, 'a')), 400, 'data'), 'no data')
    ok(refused(put(w, 'a', b'x' * 32769), 413), 'too large')
    for field in ((T_PERM, 0o1000), (T_PERM, b'x'), (T_UID, 1 << 32), (T_UID, (1 << 32) - 1), (T_GID, 1 << 40)):
        ok(refused(put(w, 'a', b'v', field), 400), f'refused: {field}')
    ok(refused(w.ask(C_PATCH, (T_NAME, 'a'), (T_PERM, 0)), 404) and refused(w.ask(C_REMOVE, (T_NAME, 'a')), 404) and refused(w.ask(C_REMOVE, (T_NAME, '../lock')), 404) and
       refused(w.ask(C_REMOVE), 404), 'nothing there to change or remove')
    ok(listed(w) == [] and os.listdir(os.path.join(w.state, 'secrets')) == [], 'and nothing is left')
    for kind in (C_LIST, C_PUT, C_PATCH, C_REMOVE, C_METRICS):
        ok(refused(w.ask(kind, (T_NAME, 'a'), listener=0), 401), f'without a token: 401 on {kind}')


def test_store(w):
    m = put(w, 'api-key', b's3cret\0\xff', (T_PERM, 0o640), (T_UID, 1000), (T_GID, 1001))
    ok(m.type == OK and (m.str(T_NAME), m.num(T_SIZE), m.num(T_PERM), m.num(T_UID), m.num(T_GID)) == ('api-key', 8, 0o640, 1000, 1001) and
       abs(m.num(T_MODIFIED) / 1e9 - time.time()) < 5 and m.get(T_DATA) is None, 'put', says(m))
    ok(refused(put(w, 'api-key', b'x'), 409), 'twice: 409')
    folder = os.path.join(w.state, 'secrets')
    path = os.path.join(folder, 'api-key')
    ok(open(path, 'rb').read() == b's3cret\0\xff' and stat.S_IMODE(os.stat(path).st_mode) == 0o600 and stat.S_IMODE(os.stat(folder).st_mode) == 0o700, 'a file for core alone')
    m = w.ask(C_PATCH, (T_NAME, 'api-key'), (T_PERM, 0o400), (T_DATA, b''))
    ok(m.type == OK and listed(w) == [('api-key', 8, 0o400, 1000, 1001)] and open(path, 'rb').read() == b's3cret\0\xff', 'empty data keeps the bytes', listed(w))
    m = w.ask(C_PATCH, (T_NAME, 'api-key'), (T_DATA, b'new'))
    ok(m.type == OK and open(path, 'rb').read() == b'new' and listed(w) == [('api-key', 3, 0o400, 1000, 1001)], 'new bytes, the rest stays')
    ok(refused(w.ask(C_PATCH, (T_NAME, 'api-key'), (T_PERM, 0o1000)), 400) and listed(w) == [('api-key', 3, 0o400, 1000, 1001)], 'a refused change changes nothing')
    put(w, 'Zed', b'z')
    put(w, 'b', b'')
    ok([x[0] for x in listed(w)] == ['Zed', 'api-key', 'b'], 'listed by name')
    items = w.answer(w.post(C_LIST))
    ok(not any(m.get(T_DATA) for m in items), 'without their bytes')


def test_guests(w):
    m = w.create('ok')
    vm = m.str(T_VM)
    got = given(vm)
    ok(m.type == OK and sorted(x[0] for x in got) == ['Zed', 'api-key', 'b'] and ['api-key', 'new', 0o400, 1000, 1001] in got, 'in the guest before wait=agent is answered', got)
    none = w.create('ok', (T_SECRET + 0, 'api-key')).str(T_VM)
    ok([x[0] for x in given(none)] == ['api-key'], 'narrowed to one')
    empty = w.create('ok', (T_SET, 1)).str(T_VM)
    ok(given(empty) == [], 'narrowed to none')
    ok(refused(w.create('ok', (T_SECRET, 'api-key'), (T_SECRET, 'nope')), 400, "secrets"), 'an unknown name: 400')
    ok(refused(w.create('ok', (T_SECRET, '../x')), 400, 'secrets'), 'no name: 400')
    m = w.create('ok', (T_USERDATA, '#!/bin/sh\n'), wait='userdata')
    ok(given(m.str(T_VM))[-1:] == [['userdata']], 'userdata runs after them')
    put(w, 'late', b'1', (T_UID, 7))
    ok(w.wait_for(lambda: was_given(vm)) and given(vm) == [['late', '1', 0o600, 7, 0]], 'a new one reaches a running VM')
    w.ask(C_PATCH, (T_NAME, 'api-key'), (T_DATA, b'n2'))
    ok(w.wait_for(lambda: was_given(none)) and given(none) == [['api-key', 'n2', 0o400, 1000, 1001]], 'a change, too, and only what it may have')
    time.sleep(0.1)
    ok(given(empty) == [] and [x[0] for x in given(vm)] == ['api-key'], 'not where it may have none')
    w.ask(C_PAUSE, (T_VM, vm))
    put(w, 'p1', b'1')
    put(w, 'p2', b'2')
    time.sleep(0.1)
    ok(given(vm) == [], 'a paused VM is not asked')
    w.ask(C_RESUME, (T_VM, vm))
    time.sleep(0.3)
    ok([x[0] for x in given(vm)] == ['p1', 'p2'], 'it gets them when it goes on')
    for i in range(20):
        w.post(C_PATCH, (T_NAME, 'late'), (T_DATA, b'%d' % i))
    ok(w.wait_for(lambda: w.items(C_LIST)) and w.wait_for(lambda: (given(vm) or [[0, 0]])[-1][1] == '19', 3), 'after many changes the last one is there')
    w.read_lines()
    t = time.time()
    m = w.create('deny')
    ok(m.type == OK and time.time() - t < 5, 'a guest that refuses is ready all the same', says(m))
    w.read_lines()
    ok(any('deny-1' in x and 'no room' in x for x in w.lines) and not any('n2' in x or 's3cret' in x for x in w.lines), 'it is told, without their bytes')
    big = b'x' * 32768
    put(w, 'big', big)
    ok(w.wait_for(lambda: any(x[:2] == ['big', big.decode()] for x in given(vm))), 'the largest')
    for name in ('big', 'p1', 'p2', 'late', 'b'):
        ok(w.ask(C_REMOVE, (T_NAME, name)).type == OK, f'{name} removed')
    ok([x[0] for x in listed(w)] == ['Zed', 'api-key'], 'gone')
    for name in (vm, none, empty):
        given(name)
    return empty


def test_restart(w):
    vm = w.create('ok', (T_SECRET, 'api-key'), (T_PERSISTENT, 1)).str(T_VM)
    given(vm)
    open(os.path.join(w.state, 'secrets/bad'), 'w').write('x')
    w.kill9()
    w.start(GROUPS)
    ok([x[0] for x in listed(w)] == ['Zed', 'api-key'] and any('secrets/bad' in x for x in w.lines), 'kept over a kill -9, what is damaged is told', listed(w))
    w.wait_for(lambda: w.ask(C_READY, (T_VM, vm)).num(T_READY) == 1)
    put(w, 'other', b'o')
    w.ask(C_PATCH, (T_NAME, 'api-key'), (T_DATA, b'n3'))
    time.sleep(0.5)
    got = given(vm)
    ok(got and {x[0] for x in got} == {'api-key'} and got[-1][1] == 'n3', 'an adopted VM keeps its list', got)
    w.ask(C_SHUTDOWN, (T_VM, vm), (T_ACTION, 'shutdown'))
    ok(w.ask(C_RELAUNCH, (T_VM, vm), (T_WAIT, 'agent'), (T_TIMEOUT, 5000)).type == OK and [x[:2] for x in given(vm)] == [['api-key', 'n3']], 'and after a relaunch it has them again')


def test_metrics(w):
    """Of a core that was just restarted: it counts from there."""
    ok(w.create('ok').type == OK, 'one that goes well')
    w.create('ok', (T_SECRET, 'nope'))
    w.create('panic')
    w.create('nosuch')
    fields = w.answer(w.post(C_METRICS))
    items, m = fields[:-1], fields[-1]
    gpus = {x.str(T_GROUP): x.num(T_GPU) for x in items if x.num(T_GPU) is not None}
    vms = {(x.str(T_GROUP), x.num(T_BY_API), x.str(T_STATUS)): x.num(T_COUNT) for x in items if x.str(T_STATUS)}
    launches = {(x.str(T_GROUP), x.num(T_CODE)): x.num(T_COUNT) for x in items if x.num(T_CODE)}
    ok(gpus == {g: 0 for g, _ in GROUPS} and len(vms) == 6 * len(GROUPS), 'every group', gpus)
    running = sum(x.str(T_STATUS) == 'Running' for x in w.items(C_NODES, (T_GROUP, 'ok')))
    ok(running and vms[('ok', 1, 'Running')] == running and vms[('ok', 0, 'Running')] == 0, 'VMs by state', vms)
    ok(launches.get(('ok', 201), 0) >= 1 and launches.get(('ok', 400)) == 1 and launches.get(('panic', 500)) == 1 and not any(g == 'nosuch' for g, _ in launches),
       'launches by outcome', launches)
    total, have = m.num(T_MEM), m.num(T_MEM_AVAIL)
    ok(m.type == OK and total > have > 1 << 20 and all(m.num(t) is not None for t in (T_LOAD1, T_LOAD5, T_LOAD15, T_FILES, T_SOCKETS)), 'the host', says(m))
    ok(abs(m.num(T_LOAD1) / 100 - os.getloadavg()[0]) < 2 and total == os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 'its numbers', m.num(T_LOAD1))


GROUPS = (('ok', 0), ('deny', 0), ('panic', 0))


def main():
    os.environ['SECRETS_LOG'] = os.path.join(os.environ.get('TMPDIR', '/tmp'), f'mica-secrets-log-{os.getpid()}')
    os.mkdir(os.environ['SECRETS_LOG'])
    w = World()
    try:
        with core_fake.told(w):
            w.start(GROUPS)
            test_refusals(w)
            test_store(w)
            test_guests(w)
            test_restart(w)
            test_metrics(w)
            ok(w.term() == 0, 'stopped')
    finally:
        core_fake.shutil.rmtree(os.environ['SECRETS_LOG'], ignore_errors=True)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
