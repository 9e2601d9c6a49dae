#!/usr/bin/env python3
"""core_commits.py CORE [SEED]: commits and forks in the real core between the made-up front, jail, netd and vmm of core_fake.py: what is refused, what
a commit holds, how a fork becomes another machine, and core killed at random moments of creations, commits, forks and deletions. TAP."""
import os, random, shutil, stat, struct, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import (C_CREATE, C_DELETE, C_DESCRIBE, C_LOGS, C_RELAUNCH, C_SHUTDOWN, ERR, OK, STATUS, T_CPUS, T_CREATED, T_CTEXT, T_DROP, T_GROUP,  # noqa: E402
                       T_IP, T_NAME, T_PERSISTENT, T_RAM, T_REPLACE_ALL, T_SECRET, T_SET_DROP, T_TAG, T_TIMEOUT, T_VM, T_WAIT, World, field, frame, ok,
                       refused, says)
from core_images import NAMES, disks, fields  # noqa: E402

C_COMMIT, C_COMMIT_LIST, C_FORK, C_COMMIT_DELETE = range(176, 180)
(T_COMMIT, T_COMMITTED, T_LABEL, T_KEY, T_MODE, T_SOURCE, T_SOURCE_STATUS, T_UP, T_FIXUP, T_FIXUPS_SET) = range(304, 314)
T_VALUE = 161
T_SECRETS_SET = 66
A_FIXUP, AT_HOSTNAME, AT_MACHINE_ID, AT_KEYS = 58, 22, 160, 161
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI' + 'A' * 43 + ' me'
DATA = 20 << 20  # more than core would rather copy
GRAIN = 4096


class Vmm(core_fake.Vmm):
    """Tells on its console what it was given and asked. Group `ok` writes its name into a grain of its disk at every boot, `nofix` cannot be fixed."""

    def boot(self, m):
        words = dict(w.split('=', 1) for w in m.str(core_fake.VT_CMDLINE).split() if '=' in w)
        f = {t: struct.unpack('<Q', v)[0] for t, v in fields(disks(m)[0]).items() if len(v) == 8}
        fd = lambda tag: m.fds[f[NAMES[tag]]] if NAMES[tag] in f else None
        top, base, map_ = fd('V_T_FD'), fd('V_T_BASE_FD'), fd('V_T_MAP_FD')
        self.notes = [f'name {words["MICA_HOST"]} id {words.get("systemd.machine_id", "none")}']
        at = self.mark(words['MICA_HOST'])
        os.pwrite(top, words['MICA_HOST'].encode().ljust(GRAIN, b'.'), at * GRAIN)
        if base is not None:
            bit = 4096 + at // 8
            os.pwrite(map_, bytes([os.pread(map_, 1, bit)[0] | 1 << at % 8]), bit)
            try:
                os.pwrite(base, b'x', 0)
                self.notes.append('base is writable')
            except OSError:
                self.notes.append('over a base')
        super().boot(m)
        self.note()

    @staticmethod
    def mark(name):
        return 100 + int(name.rsplit('-', 1)[1]) % 100

    def note(self):
        os.write(self.console, ''.join(x + '\n' for x in self.notes).encode())
        self.notes = []

    def on_stream(self, s):
        import socket
        data = s.recv(70000, socket.MSG_PEEK)
        m = core_fake.Msg(data) if data else None
        if not m or m.type != A_FIXUP:
            super().on_stream(s)
            return
        s.recv(70000)
        self.notes = [f'fixup name={m.str(AT_HOSTNAME)} id={m.str(AT_MACHINE_ID)} keys={m.num(AT_KEYS)}']
        self.note()
        if self.kind == 'slowfix':
            time.sleep(0.5)
        if self.kind in ('nofix', 'nofixtoo'):
            s.sendall(frame(ERR, m.id, (STATUS, 500), (2, 'no keys today')))
        else:
            s.sendall(frame(OK, m.id))


core_fake.Vmm = Vmm

CONFIG = '''config:
  host_groups:
  - { name: ok, count: 0, vcpu: 2, ram_mb: 128, storage_size: 64M, network: { bridge: bok, gateway: 10.77.0.1/24 } }
  - { name: nofix, count: 0, vcpu: 2, ram_mb: 64, storage_size: 64M, network: { mode: none } }
  - { name: slowfix, count: 0, vcpu: 2, ram_mb: 64, storage_size: 64M, network: { mode: none } }
  - { name: my-own, count: 0, vcpu: 1, ram_mb: 64, storage_size: 64M, network: { mode: none } }
  api: { port: %d }
'''


class CommitWorld(World):
    def __init__(self, data=DATA):
        super().__init__()
        with open(self.image, 'wb') as f:
            f.write(os.urandom(data))
            f.truncate(max(1 << 20, data * 2))

    def start(self, *args, **how):
        return super().start(config=CONFIG % self.port)


def console(w, vm):
    m = w.ask(C_LOGS, (T_VM, vm))
    if not m.fds: # it did not boot yet
        return ''
    text = os.pread(m.fds[0], 65536, 0).decode()
    os.close(m.fds[0])
    return text


def label(key, value):
    return T_LABEL, field(T_NAME, key) + field(T_VALUE, value)


def stopped(w, group='ok', *more):
    vm = w.create(group, (T_PERSISTENT, 1), *more).str(T_VM)
    w.ask(C_SHUTDOWN, (T_VM, vm))
    return vm


def commit(w, vm, *more):
    return w.ask(C_COMMIT, (T_VM, vm), *more)


def fork(w, ident, *more, wait='agent'):
    return w.ask(C_FORK, (T_COMMIT, ident), *([(T_WAIT, wait), (T_TIMEOUT, 8000)] if wait else []), *more)


def listed(w, *filters):
    return {m.str(T_COMMIT): m for m in w.items(C_COMMIT_LIST, *filters)}


def store(w):
    return sorted(os.listdir(os.path.join(w.state, 'commits')))


def disk_of(w, ident):
    return os.path.join(w.state, 'commits', ident, 'disk.img')


def delete(w, vm):
    return w.ask(C_DELETE, (T_VM, vm))


def test_commit(w):
    ok(listed(w) == {} and store(w) == [], 'no commits')
    m = w.create('ok', (T_PERSISTENT, 1), (T_TAG, 'job=1'), (T_TAG, 'name=mother'))
    vm = m.str(T_VM)
    ok(refused(commit(w, vm), 409, 'is not stopped'), 'of a VM that runs')
    eph = w.create('ok').str(T_VM)
    ok(refused(commit(w, eph), 409, 'not persistent'), 'of an ephemeral VM')
    ok(refused(commit(w, 'ok-99'), 404), 'of no VM')
    w.ask(C_SHUTDOWN, (T_VM, vm))
    for what, more in (('a tag', [(T_TAG, '')]), ('a label without key', [label('', 'x')]), ('a label with = in its key', [label('a=b', 'x')]), ('a doubled label',
                       [label('a', '1'), label('a', '2')]), ('a broken label', [(T_LABEL, b'xxx')]), ('65 labels', [label(f'k{i}', '') for i in range(65)]),
                       ('65 tags', [(T_TAG, f't{i}') for i in range(65)]), ('a cache key of two lines', [(T_KEY, 'a\nb')]), ('a long one', [(T_KEY, 'x' * 257)])):
        m = commit(w, vm, *more)
        ok(refused(m, 400), f'{what}', says(m))
    ok(store(w) == [], 'nothing is left of refusals')
    m = commit(w, vm, (T_TAG, 'golden'), label('app', 'web'), label('empty', ''), (T_KEY, 'k1'))
    ident = m.str(T_COMMIT)
    ok(m.type == OK and ident.startswith('cmt-okx1-') and len(ident) == 9 + 16 and m.str(T_VM) == vm and m.all(T_TAG) == ['golden'] and m.str(T_KEY) == 'k1',
       'a commit', says(m))
    st = os.stat(disk_of(w, ident))
    ok(store(w) == [ident] and st.st_mode & 0o222 == 0 and st.st_size == 64 << 20 and st.st_blocks * 512 < 2 * DATA, 'stands in the store, read-only and sparse', store(w))
    with open(disk_of(w, ident), 'rb') as a, open(os.path.join(w.state, 'vm', vm, 'disk.img'), 'rb') as b:
        ok(a.read() == b.read(), 'holds what the disk holds')
    ok(w.ask(C_DESCRIBE, (T_VM, vm)).str(T_COMMITTED) == ident, 'the VM tells')
    m = commit(w, vm, label('empty', ''), (T_KEY, 'k1'), label('app', 'web'), (T_TAG, 'golden'))
    ok(m.type == OK and m.str(T_COMMIT) == ident, 'asked again it is the same', says(m))
    for what, more in (('no words', []), ('another tag', [(T_TAG, 'x'), label('app', 'web'), label('empty', ''), (T_KEY, 'k1')]),
                       ('another key', [(T_TAG, 'golden'), label('app', 'web'), label('empty', ''), (T_KEY, 'k2')])):
        ok(refused(commit(w, vm, *more), 409, 'never changes'), f'with {what}: refused')
    other = stopped(w)
    m = commit(w, other, (T_KEY, 'k1'))
    ok(refused(m, 409, f"cache key 'k1' belongs to commit '{ident}'"), 'a cache key has one commit', says(m))
    delete(w, other)
    delete(w, eph)
    return vm, ident


def test_list(w, vm, ident):
    second = stopped(w, 'my-own')
    other = commit(w, second, (T_TAG, 'silver')).str(T_COMMIT)
    ok(other.startswith('cmt-myxownx1-'), 'an id without more than its one dash', other)
    ok(list(listed(w)) == [other, ident], 'newest first')
    m = listed(w)[ident]
    ok(m.str(T_GROUP) == 'ok' and m.num(T_CREATED) > 0 and m.get(T_LABEL) is not None, 'with all that is known')
    for want, filters in (([ident], [(T_TAG, 'golden')]), ([], [(T_TAG, 'gold')]), ([ident], [(T_KEY, 'k1')]), ([other], [(T_SOURCE, second)]), ([other, ident], [(T_MODE, 'disk')]),
                          ([], [(T_MODE, 'memory')]), ([], [(T_TAG, 'golden'), (T_SOURCE, second)]), ([], [(T_TAG, 'x' * 3000)])):
        ok(list(listed(w, *filters)) == want, f'filter {filters[0][0]} {str(filters[0][1])[:20]}')
    for bad in ('x', 'cmt-okx1-0123456789abcdef', '', '..', '../vm', 'cmt-' + 'x' * 3000):
        ok(refused(w.ask(C_COMMIT_DELETE, (T_COMMIT, bad)), 404) and refused(fork(w, bad), 404), f'no commit {bad[:30]!r}')
    ok(refused(w.ask(C_COMMIT_DELETE, (T_COMMIT, other)), 409, f"'{second}' is what this was committed from"), 'while its source is there it stays')
    delete(w, second)
    m = w.ask(C_COMMIT_DELETE, (T_COMMIT, other))
    ok(m.type == OK and m.str(T_COMMIT) == other and list(listed(w)) == [ident], 'then it goes', says(m))
    ok(w.wait_for(lambda: store(w) == [ident]), 'and its files', store(w))


def test_fork(w, vm, ident):
    for what, status, more in (('more RAM than the group', 400, [(T_RAM, 256 << 20)]), ('more processors', 400, [(T_CPUS, 3)]), ('a fix-up nobody knows', 400, [(T_FIXUP, 'clock')]),
                               ('a secret that is not there', 400, [(T_SECRET, 'nope')]), ('a network rule that is none', 400, [(T_SET_DROP, 1), (T_DROP, 'not a rule/0')]),
                               ('a bad tag', 400, [(T_TAG, 'a\nb')]), ('a name that is taken', 409, [(T_TAG, 'name=mother')])):
        m = fork(w, ident, *more)
        ok(refused(m, status), f'refused: {what}', says(m))
    before = w.folders()
    m = fork(w, ident, (T_TAG, 'own'))
    a = m.str(T_VM)
    ok(m.type == OK and m.str(T_COMMIT) == ident and m.str(T_SOURCE) == vm and m.str(T_SOURCE_STATUS) == 'Stopped' and m.num(T_UP) == 1 and m.num(T_PERSISTENT) == 1,
       'a fork', says(m))
    ok(m.all(T_TAG) == ['job=1', 'own'] and m.str(T_IP) != w.ask(C_DESCRIBE, (T_VM, vm)).str(T_IP) + '/24', 'has tags of both, an address of its own, and no other VM\'s name')
    text = console(w, a)
    ident_a = text.split(' id ')[1].split()[0]
    ok(f'name {a} id ' in text and f'fixup name={a} id={ident_a} keys=1' in text and len(ident_a) == 32 and ident_a[12] == '4',
       'it became another machine before it was ready', text)
    b = fork(w, ident).str(T_VM)
    ok(f'id={ident_a}' not in console(w, b), 'and the next one yet another')
    folder = os.path.join(w.state, 'vm', a)
    with open(disk_of(w, ident), 'rb') as f:
        head, marks = f.read(GRAIN), {n: (f.seek(Vmm.mark(n) * GRAIN), f.read(GRAIN))[1] for n in (vm, a, b)}
    ok(marks[vm].startswith(vm.encode()) and not marks[a].startswith(a.encode()) and not marks[b].startswith(b.encode()), 'what forks write does not reach the commit')
    if os.path.exists(folder + '/disk.map'):
        ok('over a base' in text and os.stat(folder + '/disk.img').st_blocks * 512 < 1 << 20 and os.stat(folder + '/disk.img').st_size == 64 << 20, 'its disk copied nothing', text)
    else:
        ok(open(folder + '/disk.img', 'rb').read(GRAIN) == head, 'its disk shares the commit')
    m = w.ask(C_DESCRIBE, (T_VM, a))
    ok(m.str(T_COMMIT) == ident and m.str(T_COMMITTED) is None, 'describe tells its commit')
    m = fork(w, ident, (T_REPLACE_ALL, 1), (T_TAG, 'x'), (T_PERSISTENT, 0), (T_FIXUPS_SET, 1), (T_CPUS, 1), (T_RAM, 64 << 20), (T_SECRETS_SET, 1))
    c = m.str(T_VM)
    ok(m.type == OK and m.all(T_TAG) == ['x'] and m.num(T_PERSISTENT) == 0 and m.num(T_CPUS) == 1 and m.num(T_RAM) == 64 << 20, 'with everything chosen', says(m))
    ok('fixup' not in console(w, c) and f'name {vm} id none' in console(w, c), 'without fix-ups it keeps its source\'s name and id', console(w, c))
    m = fork(w, ident, (T_FIXUPS_SET, 1), (T_FIXUP, 'machine-id'))
    d = m.str(T_VM)
    ok('fixup name=None' in console(w, d) and 'keys=None' in console(w, d), 'some of them', console(w, d))
    m = fork(w, ident, wait=None)
    e = m.str(T_VM)
    ok(m.type == OK and m.num(T_UP) == 0 and w.wait_for(lambda: 'fixup' in console(w, e)), 'not waited for', says(m))
    ok(w.ask(C_SHUTDOWN, (T_VM, c)).type == OK and w.wait_for(lambda: c not in w.folders()), 'an ephemeral fork goes with its end')
    w.ask(C_SHUTDOWN, (T_VM, a))
    m = w.ask(C_RELAUNCH, (T_VM, a), (T_WAIT, 'agent'), (T_TIMEOUT, 8000))
    ok(m.type == OK and 'fixup' not in console(w, a) and f'name {a} id {ident_a}' in console(w, a), 'the second boot is an ordinary one, of the same machine', says(m) + console(w, a))
    m = w.ask(C_COMMIT_DELETE, (T_COMMIT, ident))
    ok(refused(m, 409), 'a commit with forks stays', says(m))
    for n in (d, e):
        delete(w, n)
    ok(w.wait_for(lambda: w.folders() == sorted(before + [a, b])), 'deleted forks leave nothing', w.folders())
    return a, b


def test_generations(w, vm, a, b):
    """A fork is committed: base, map and top become one disk again; the mother may go, and runs on."""
    w.ask(C_SHUTDOWN, (T_VM, a))
    m = commit(w, a)
    second = m.str(T_COMMIT)
    ok(m.type == OK, 'a fork is committed', says(m))
    with open(disk_of(w, second), 'rb') as f, open(disk_of(w, w.ask(C_DESCRIBE, (T_VM, a)).str(T_COMMIT)), 'rb') as g:
        f.seek(Vmm.mark(a) * GRAIN)
        ok(f.read(GRAIN).startswith(a.encode()), 'what it wrote is in it')
        same = True
        for at in range(0, (64 << 20) // GRAIN):
            if at != Vmm.mark(a):
                f.seek(at * GRAIN)
                g.seek(at * GRAIN)
                same &= f.read(GRAIN) == g.read(GRAIN)
        ok(same, 'and all the rest of the first commit')
    m = fork(w, second)
    child = m.str(T_VM)
    ok(m.type == OK and m.str(T_SOURCE) == a, 'a grandchild', says(m))
    m = w.ask(C_RELAUNCH, (T_VM, vm), (T_WAIT, 'agent'), (T_TIMEOUT, 8000))
    ok(m.type == OK, 'the mother runs on', says(m))
    w.ask(C_SHUTDOWN, (T_VM, vm))
    m = commit(w, vm, (T_TAG, 'golden'), label('app', 'web'), label('empty', ''), (T_KEY, 'k1'))
    ok(refused(m, 409, 'has run since'), 'and is not what was committed any more', says(m))
    ok(delete(w, vm).type == OK and delete(w, a).type == OK, 'mothers may go')
    m = fork(w, second)
    ok(m.type == OK and m.get(T_SOURCE_STATUS) is None, 'forks come from commits whose source went', says(m))
    delete(w, m.str(T_VM))
    return child, second


def test_failing(w):
    vm = stopped(w, 'nofix')
    ident = commit(w, vm).str(T_COMMIT)
    m = fork(w, ident)
    ok(refused(m, 500, 'no keys today'), 'fix-ups that fail: told', says(m))
    ok(w.folders() == sorted(w.names()) and len([n for n in w.names() if n.startswith('nofix')]) == 1, 'and nothing is left', w.folders())
    m = fork(w, ident, wait=None)
    ok(m.type == OK and w.wait_for(lambda: m.str(T_VM) not in w.folders()), 'not waited for: it goes as well', says(m))
    m = fork(w, ident, (T_FIXUPS_SET, 1))
    ok(m.type == OK, 'without fix-ups it comes up', says(m))
    delete(w, m.str(T_VM))
    delete(w, vm)
    ok(w.ask(C_COMMIT_DELETE, (T_COMMIT, ident)).type == OK, 'cleaned up')


def test_same_key(w):
    vms = [stopped(w) for _ in range(3)]
    asked = [w.post(C_COMMIT, (T_VM, vm), (T_KEY, 'race')) for vm in vms]
    twice = w.post(C_COMMIT, (T_VM, vms[0]), (T_KEY, 'race'))
    got = [w.answer(i)[-1] for i in asked + [twice]]
    good = [m for m in got if m.type == OK]
    ok(len({m.str(T_COMMIT) for m in good}) == 1 and all(refused(m, 409) for m in got if m.type != OK) and len(good) == 2, 'one key, many at once: one commit', [says(m) for m in got])
    asked = w.post(C_COMMIT, (T_VM, vms[1]), (T_KEY, 'other'))
    gone = w.post(C_DELETE, (T_VM, vms[1]))
    m, g = w.answer(asked)[-1], w.answer(gone)[-1]
    ok(g.type == OK and (m.type == OK or refused(m, 404)), 'a source that is deleted meanwhile', says(m))
    ok(w.wait_for(lambda: not any(x.startswith('.') for x in store(w))), 'leaves no half of a commit', store(w))
    for vm in vms[::2]:
        delete(w, vm)
    for ident, m in listed(w).items():
        if m.str(T_VM) in vms:
            w.ask(C_COMMIT_DELETE, (T_COMMIT, ident))


def test_restart(w, child, second):
    before = {i: (m.fields) for i, m in listed(w).items()}
    half, bad = '.cmt-okx9-0123456789abcdef', 'cmt-okx9-0123456789abcdef'
    for name in (half, bad):
        os.mkdir(os.path.join(w.state, 'commits', name))
        open(os.path.join(w.state, 'commits', name, 'disk.img'), 'w').write('half')
    w.kill9()
    w.start()
    w.read_lines()
    ok({i: m.fields for i, m in listed(w).items()} == before, 'commits are read again')
    ok(half not in store(w) and bad in store(w) and any(bad in x and 'left alone' in x for x in w.lines), 'what was begun goes, what is damaged is told of and stays', w.lines)
    shutil.rmtree(os.path.join(w.state, 'commits', bad))
    ok(w.status_of(child) == 'Running', 'a fork lives on')
    w.ask(C_SHUTDOWN, (T_VM, child))
    m = w.ask(C_RELAUNCH, (T_VM, child), (T_WAIT, 'agent'), (T_TIMEOUT, 8000))
    ok(m.type == OK and 'fixup' not in console(w, child), 'and is relaunched over its commit', says(m))
    vm = stopped(w, 'slowfix')
    ident = commit(w, vm).str(T_COMMIT)
    m = fork(w, ident, wait=None)
    name = m.str(T_VM)
    w.wait_for(lambda: os.path.exists(os.path.join(w.state, 'vm', name, 'console.log')) and 'fixup' in console(w, name))
    w.kill9()
    w.start()
    ok(w.wait_for(lambda: console(w, name).count('fixup') == 2 and w.ask(C_DESCRIBE, (T_VM, name)).num(T_UP) == 1), 'a first boot that core did not see the end of is ended by the next', console(w, name))
    for n in (name, vm):
        delete(w, n)
    w.ask(C_COMMIT_DELETE, (T_COMMIT, ident))


def files(w):
    return sorted(os.path.relpath(os.path.join(at, n), w.state) for top in ('vm', 'commits') for at, _, names in os.walk(os.path.join(w.state, top)) for n in names)


def kill_when(w, there, seconds=3):
    """kill -9 of core as soon as that is so (or at the end of the time: then the step is over already)."""
    end = time.time() + seconds
    while time.time() < end and not there():
        pass
    w.core.kill()
    w.core.wait()


def wrong_files(w):
    """What stands in the state folder and belongs to nothing, or is missing, once core has cleared up."""
    w.wait_for(lambda: set(w.folders()) <= set(w.names()) and not any(x.startswith('.') for x in store(w)), 5)
    names, now = set(w.names()), set(listed(w))
    bad = sorted(set(w.folders()) ^ names) + sorted(set(store(w)) ^ now)
    for n in names & set(w.folders()):
        have = os.listdir(os.path.join(w.state, 'vm', n))
        if 'record' not in have or 'disk.img' not in have or '.record.new' in have:
            bad.append(f'{n}: {have}')
    for c in now & set(store(w)):
        if sorted(os.listdir(os.path.join(w.state, 'commits', c))) != ['disk.img', 'meta', 'record'] or os.stat(disk_of(w, c)).st_mode & 0o222:
            bad.append(c)
    return bad


def test_steps():
    """core is killed when a step of creation, commit, fork or deletion is seen on the disk, each in turn: what was acknowledged is there, the rest is
    whole or gone."""
    w = CommitWorld()
    try:
        w.start()
        mother = stopped(w)
        ident = commit(w, mother).str(T_COMMIT)
        vms, commits = os.path.join(w.state, 'vm'), os.path.join(w.state, 'commits')
        has = lambda top, *names: lambda: any(os.path.lexists(os.path.join(top, x, *names)) for x in os.listdir(top) if x not in (mother, ident))
        fresh = lambda old, name: lambda: any(os.path.lexists(os.path.join(commits, x, name)) for x in os.listdir(commits) if x not in old)
        gone = lambda *path: lambda: not os.path.lexists(os.path.join(*path))
        create = lambda: w.post(C_CREATE, (T_GROUP, 'ok'), (T_PERSISTENT, 1), (core_fake.T_SSH, KEY), (core_fake.T_USERDATA, 'echo x'))
        ends = [('create', create, has(vms, n)) for n in ('', 'disk.img', 'userdata', 'ssh_keys', 'record', 'ctl.sock', 'console.log')]
        ends += [('commit', None, has(commits, n)) for n in ('', 'disk.img', 'record', 'meta')]
        ends += [('fork', lambda: w.post(C_FORK, (T_COMMIT, ident)), has(vms, n)) for n in ('', 'disk.img', 'disk.map', 'record', 'ctl.sock', 'console.log')]
        for i, (what, post, there) in enumerate(ends):
            source = None
            if what == 'commit':
                source = stopped(w)
                there = fresh(set(store(w)), ('', 'disk.img', 'record', 'meta')[i - 7])
                post = lambda: w.post(C_COMMIT, (T_VM, source))
            ident_of = post()
            kill_when(w, there)
            answered = None
            try:
                answered = w.answer(ident_of, 1)[-1]
            except (EOFError, OSError, TimeoutError):
                pass
            w.close()
            w.start()
            bad = wrong_files(w)
            if answered and answered.type == OK:
                name = answered.str(T_COMMIT) if what == 'commit' else answered.str(T_VM)
                if name not in (listed(w) if what == 'commit' else w.names()):
                    bad.append(f'{name} is lost')
            ok(not bad and mother in w.names() and ident in listed(w), f'killed in {what}, step {i}', bad)
            for n in w.names():
                if n != mother:
                    delete(w, n)
            for c in listed(w):
                if c != ident:
                    w.ask(C_COMMIT_DELETE, (T_COMMIT, c))
        for name in ('record', 'disk.img', ''):
            n = stopped(w)
            w.post(C_DELETE, (T_VM, n))
            kill_when(w, gone(vms, n, name))
            w.close()
            w.start()
            bad = wrong_files(w)
            ok(not bad and n not in w.names(), f'killed in a deletion, without {name or "its folder"}', bad)
        for dotted in (False, True):
            n = stopped(w)
            c = commit(w, n).str(T_COMMIT)
            delete(w, n)
            w.post(C_COMMIT_DELETE, (T_COMMIT, c))
            kill_when(w, (lambda: not any(c in x for x in store(w))) if dotted else gone(commits, c))
            w.close()
            w.start()
            bad = wrong_files(w)
            ok(not bad and c not in listed(w), 'killed in the deletion of a commit', bad)
        delete(w, mother)
        w.ask(C_COMMIT_DELETE, (T_COMMIT, ident))
        ok(w.wait_for(lambda: files(w) == []), 'and in the end no file', files(w))
        w.term()
    finally:
        w.done()


def test_kill9(seed):
    """Each round posts creations, commits, forks and deletions, and kills core at a random moment of them. What was acknowledged is there
    afterwards, what was not is whole or not there, and no file is left of what is not."""
    rnd = random.Random(seed)
    print(f'# seed {seed}')
    w = CommitWorld(1 << 20)
    lost, left, broken = [], [], []
    try:
        w.start()
        for _ in range(12):
            posted = []
            have, commits = w.names(), listed(w)
            still = [n for n in have if w.status_of(n) == 'Stopped']
            for i in range(3):
                posted.append((w.post(C_CREATE, (T_GROUP, 'ok'), (T_PERSISTENT, int(i < 2)), (core_fake.T_SSH, KEY)), 'create', None))
            for n in still[:2]:
                posted.append((w.post(C_COMMIT, (T_VM, n)), 'commit', n))
            for c in list(commits)[:2]:
                posted.append((w.post(C_FORK, (T_COMMIT, c), (T_PERSISTENT, rnd.randrange(2))), 'fork', c))
            for n in rnd.sample(have, min(2, len(have))):
                posted.append((w.post(C_DELETE, (T_VM, n)), 'delete', n))
            for c in list(commits)[2:4]:
                posted.append((w.post(C_COMMIT_DELETE, (T_COMMIT, c)), 'commit delete', c))
            time.sleep(rnd.uniform(0, 0.08))
            w.core.kill()
            w.core.wait()
            made, kept, gone, vanished, doubtful = set(have), set(commits), set(), set(), {n for _, k, n in posted if k.endswith('delete')}
            for i, kind, n in posted:
                try:
                    m = w.answer(i, 1)[-1]
                except (EOFError, OSError, TimeoutError):
                    continue
                if m.type != OK:
                    if kind.endswith('delete'):
                        doubtful.discard(n)
                elif kind in ('create', 'fork'):
                    made.add(m.str(T_VM))
                elif kind == 'commit':
                    kept.add(m.str(T_COMMIT))
                elif kind == 'delete':
                    gone.add(n)
                else:
                    vanished.add(n)
            w.close()
            w.start()
            names, now = set(w.names()), set(listed(w))
            ended = {n for n in made if n not in names and n not in doubtful}
            lost += [f'VM {n}' for n in ended] + [f'commit {c}' for c in kept - now - doubtful] + [f'{n} came back' for n in (gone & names) | (vanished & now)]
            w.wait_for(lambda: set(w.folders()) <= set(w.names()) and not any(x.startswith('.') for x in store(w)))
            names, now = set(w.names()), set(listed(w))
            left += sorted(set(w.folders()) ^ names) + sorted(set(store(w)) ^ now)
            for c in now:
                if sorted(os.listdir(os.path.join(w.state, 'commits', c))) != ['disk.img', 'meta', 'record'] or os.stat(disk_of(w, c)).st_mode & 0o222:
                    broken.append(c)
            for n in [m.str(T_VM) for m in w.items(core_fake.C_NODES) if m.num(T_PERSISTENT)][:4]: # an ephemeral one would go with it
                w.ask(C_SHUTDOWN, (T_VM, n))
        ok(not lost, 'kill -9: nothing acknowledged is lost', lost)
        ok(not left, 'kill -9: nothing is left behind', left)
        ok(not broken, 'kill -9: commits are whole', broken)
        for n in w.names():
            delete(w, n)
        for c in listed(w):
            w.ask(C_COMMIT_DELETE, (T_COMMIT, c))
        ok(w.wait_for(lambda: files(w) == []), 'and in the end no file', files(w))
        ok(w.term() == 0, 'ends well')
    finally:
        w.done()


def main():
    core_fake.CORE = os.path.abspath(sys.argv[1])
    w = CommitWorld()
    with core_fake.told(w):
        w.start()
        vm, ident = test_commit(w)
        test_list(w, vm, ident)
        a, b = test_fork(w, vm, ident)
        child, second = test_generations(w, vm, a, b)
        test_failing(w)
        test_same_key(w)
        test_restart(w, child, second)
        ok(w.term() == 0, 'ends well')
    test_steps()
    test_kill9(int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30))
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
