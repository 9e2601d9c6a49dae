#!/usr/bin/env python3
"""core_tokens.py CORE: named tokens of the real core between the made-up front, jail, netd and vmm of core_fake.py. TAP."""
import hashlib, os, re, stat, struct, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import ERR, OK, STATUS, T_ADD, T_AUTH, T_CREATED, T_GROUP, T_NAME, T_TAG_NAME, T_TIMEOUT, T_VM, T_WAIT, World, field, ok, refused, says  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
T_ALLOW, T_DROP, T_SET_ALLOW, T_SET_DROP, T_RESET = 34, 35, 36, 37, 224
(T_FOR, T_SCOPE, T_TOKEN, T_LIFE, T_EXPIRES, T_USED, T_EXPIRED) = range(112, 119)
T_QUOTA, T_COUNT, T_RAM, T_CPUS, T_SIZE = 352, 23, 24, 25, 64
QUOTAS = ['max_vms', 'max_vcpus', 'max_ram', 'max_disk']
READ, VM, EXEC, FILES, NET, ADMIN, ANY = 1, 2, 4, 8, 16, 32, 64
SCOPES = ['read', 'vm', 'exec', 'files', 'net', 'admin']
GROUPS = (('ok', 0), ('mute', 0), ('slow', 0), ('user', 0))


def requests():
    """{name: number} of what front may ask, by the text of core.h."""
    text = open(os.path.join(TOP, 'lib/wire/core.h')).read()
    text = re.sub(r'/\*.*?\*/', '', text[text.index('enum core_type'):text.index('enum core_tag')], flags=re.S)
    return {name: int(n) for name, n in re.findall(r'(C_\w+) = (\d+)', text) if int(n) >= 32}


C = requests()
# What each needs; whatever else stands in core.h needs admin.
NEEDS = dict(C_INFO='read', C_AUTH=None, C_GROUPS='read', C_NODES='read', C_CREATE='vm', C_DELETE='vm', C_DESCRIBE='read', C_LOGS='read', C_SHUTDOWN='vm',
             C_CONNECT=None, C_PAUSE='vm', C_RESUME='vm', C_RELAUNCH='vm', C_TAGS='read', C_READY='read', C_METRICS='read', C_NET='net',
             C_POLICY='read', C_GROUP_POLICY='read', C_PUB_CONNECT=None, C_EXPLAIN='net', C_NET_LOG='net', C_IMAGE_LIST='read', C_IMAGE_GET='read', C_IMAGE_EXPORT='files',
             C_COMMIT='vm', C_COMMIT_LIST='read', C_FORK='vm', C_COMMIT_DELETE='vm', C_DISK_LIST='read', C_DISK_DF='read', C_DISK_GROW='vm',
             C_DISK_EXPORT='files', C_DISK_SPARSIFY='vm')


class Tokens(World):
    """asks over the listener that needs a token; .digest is whose."""
    digest = None

    def start(self, groups=GROUPS, **how):
        line = super().start(groups, **how)
        self.pending[0] = [] # C_CUT
        try:
            self.root_digest = digest(open(os.path.join(self.state, 'auth/token')).read().strip())
        except FileNotFoundError:
            self.root_digest = None
        self.digest = self.root_digest
        return line

    def post(self, kind, *fields, listener=0, local=None, auth=None):
        return super().post(kind, *fields, listener=listener, local=local, auth=auth or self.digest)

    def cuts(self):
        """Digests that front was told to cut, since the last time."""
        self.ask(C['C_INFO'])
        got, self.pending[0] = [m.get(T_AUTH) for m in self.pending[0]], []
        return got

    def make(self, name, *scopes, groups=(), **more):
        fields = [(T_SCOPE, s) for s in scopes] + [(T_GROUP, g) for g in groups] + [({'life': T_LIFE, 'expires': T_EXPIRES}[k], v) for k, v in more.items() if k not in QUOTAS] + \
            [(T_QUOTA, fields_of((T_NAME, k), (T_COUNT, v))) for k, v in more.items() if k in QUOTAS]
        return self.ask(C['C_TOKEN_CREATE'], (T_NAME, name), *fields, auth=self.root_digest)

    def listed(self):
        return {m.str(T_NAME): m for m in self.answer(self.post(C['C_TOKEN_LIST'], auth=self.root_digest))[:-1]}


def fields_of(*fields):
    return b''.join(field(tag, v) for tag, v in fields)


def fields_in(raw):
    m = core_fake.Msg(struct.pack('<IHHI', len(raw), 0, 0, 0) + raw)
    return m.str(T_NAME), m.num(T_COUNT), m.num(T_SIZE)


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def vms(w, auth, *fields):
    return sorted(m.str(T_VM) for m in w.answer(w.post(C['C_NODES'], *fields, auth=auth))[:-1])


def test_refusals(w):
    for name in ('', '.x', 'a b', 'a/b', 'x' * 65, 'a\nb', 'a\0', 'ä'):
        ok(refused(w.make(name, 'read'), 400, 'name'), f'no name for a token: {name[:8]!r}')
    for what, m in (('no scope', w.make('a')), ('an unknown scope', w.make('a', 'read', 'root')), ('an empty scope', w.make('a', '')),
                    ('a scope list in one', w.make('a', 'read,vm')), ('an unknown group', w.make('a', 'read', groups=['nope'])),
                    ('no group name', w.make('a', 'read', groups=['../x'])), ('an empty group', w.make('a', 'read', groups=[''])),
                    ('nine groups', w.make('a', 'read', groups=['ok'] * 9)), ('admin in a group', w.make('a', 'admin', groups=['ok'])),
                    ('no life', w.make('a', 'read', life=0)), ('eleven years', w.make('a', 'read', life=11 * 366 * 86400 * 1000)),
                    ('a life beyond all numbers', w.make('a', 'read', life=(1 << 64) - 1)), ('an end that was', w.make('a', 'read', expires=time.time_ns() - 1)),
                    ('an end beyond all numbers', w.make('a', 'read', expires=(1 << 64) - 1))):
        ok(refused(m, 400), f'{what}: 400', says(m))
    ok(refused(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'a')), 404) and refused(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, '../token')), 404) and
       refused(w.ask(C['C_TOKEN_REVOKE']), 404), 'nothing there to revoke')
    ok(not os.path.exists(os.path.join(w.state, 'auth/tokens')), 'and nothing was written')
    for auth in (b'x' * 32, b'x', w.root_digest[:31], w.root_digest + b'x', digest('')):
        ok(refused(w.ask(C['C_INFO'], auth=auth), 401), 'no token: 401')
    w.digest = None
    ok(refused(w.ask(C['C_INFO']), 401) and refused(w.ask(C['C_AUTH']), 401), 'none at all: 401')
    w.digest = w.root_digest
    user, local = w.connect()
    ok(w.ask(C['C_INFO'], local=local, auth=b'x' * 32).type == OK, 'where none is needed a wrong one does not matter')
    user.close()
    ok(refused(w.ask(C['C_INFO'], listener=9, auth=b'x' * 32), 401), 'a listener that is none needs one')


def test_store(w):
    m = w.make('ci', 'exec', 'files', groups=['ok'], life=3600000)
    text = m.str(T_TOKEN)
    ok(m.type == OK and re.fullmatch(r'mica_[A-Za-z0-9_-]{43}', text) and m.all(T_SCOPE) == ['exec', 'files'] and m.all(T_GROUP) == ['ok'] and
       abs(m.num(T_EXPIRES) - m.num(T_CREATED) - 3600 * 10**9) < 10**9 and m.num(T_EXPIRED) == 0, 'made', says(m))
    ok(refused(w.make('ci', 'read'), 409), 'twice: 409')
    path = os.path.join(w.state, 'auth/tokens')
    kept = open(path).read()
    ok(stat.S_IMODE(os.stat(path).st_mode) == 0o600 and text not in kept and text[5:] not in kept and digest(text).hex() in kept, 'only its digest is kept, for core alone', kept)
    one = w.listed()['ci']
    ok(one.str(T_TOKEN) is None and one.num(T_USED) is None and one.all(T_SCOPE) == ['exec', 'files'], 'listed without its text')
    ok(w.ask(C['C_INFO'], auth=digest(text)).type == OK and abs(w.listed()['ci'].num(T_USED) / 1e9 - time.time()) < 5, 'used: seen in the list')
    ok(not any(text in x for x in w.lines), 'and in no line to the supervisor')
    w.kill9()
    w.start()
    ok(w.ask(C['C_INFO'], auth=digest(text)).type == OK and w.listed()['ci'].num(T_EXPIRES) == m.num(T_EXPIRES), 'good after a kill -9, with the same end')
    ok(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'ci')).type == OK and w.cuts() == [digest(text)], 'revoked: front is told')
    ok(refused(w.ask(C['C_INFO'], auth=digest(text)), 401) and w.listed() == {}, 'and core takes it no more')
    w.kill9()
    w.start()
    ok(refused(w.ask(C['C_INFO'], auth=digest(text)), 401), 'nor after a restart')


def test_scopes(w):
    """Every request × a token that lacks its scope; and with that scope alone it is not the token that is in the way."""
    lacking, having = {}, {}
    for s in SCOPES[1:]:
        lacking[s] = digest(w.make('no-' + s, *[x for x in SCOPES if x not in (s, 'admin')]).str(T_TOKEN))
    for s in SCOPES:
        having[s] = digest(w.make('only-' + s, s).str(T_TOKEN))
    for name, kind in sorted(C.items()):
        need = NEEDS.get(name, 'admin')
        if not need or name == 'C_DAEMON_SHUTDOWN':
            continue
        if need != 'read':
            m = w.ask(kind, auth=lacking[need])
            ok(refused(m, 403, f"lacks scope '{need}'"), f'{name} without {need}: 403', says(m))
        m = w.ask(kind, auth=having[need])
        ok(m.type == OK or m.num(STATUS) not in (401, 403), f'{name} with {need} alone: not the token', says(m))
    ok(refused(w.ask(C['C_DAEMON_SHUTDOWN'], auth=lacking['admin']), 403, "'admin'"), 'C_DAEMON_SHUTDOWN without admin: 403')
    for kind in ('C_AUTH', 'C_CONNECT'):
        for i, s in enumerate(SCOPES):
            fields = [(T_VM, 'nosuch-1'), (T_FOR, 1 << i)]
            if s != 'read':
                ok(refused(w.ask(C[kind], *fields, auth=lacking[s]), 403, f"'{s}'"), f'{kind} for {s}, without it: 403')
            ok(not refused(w.ask(C[kind], *fields, auth=having[s]), 403), f'{kind} for {s}, with it alone')
            ok(not refused(w.ask(C[kind], *fields, auth=having['admin']), 403), f'{kind} for {s}, with admin')
        for bad in (0, 3, 128, 1 << 40, b'x'):
            ok(refused(w.ask(C[kind], (T_FOR, bad), auth=lacking['admin']), 403, "'admin'"), f'{kind} for {bad!r}: admin')
    ok(w.ask(C['C_AUTH'], auth=having['net']).type == OK and w.ask(C['C_AUTH'], (T_FOR, ANY), auth=having['net']).type == OK, 'C_AUTH for nothing: any token')
    ok(refused(w.ask(C['C_CONNECT'], (T_VM, 'nosuch-1'), auth=lacking['admin']), 403) and refused(w.ask(C['C_CONNECT'], (T_FOR, ANY), auth=lacking['admin']), 403),
       'C_CONNECT for nothing: admin')
    ok(refused(w.ask(C['C_PUB_CONNECT'], auth=b'x' * 32), 404), 'C_PUB_CONNECT: no credential is looked at, and nothing is published')
    vm = w.create('ok').str(T_VM)
    ok(refused(w.ask(C['C_POLICY'], (T_VM, vm), auth=lacking['net']), 403, "'net'"), 'C_POLICY that asks, without net: 403')
    ok(not refused(w.ask(C['C_POLICY'], (T_VM, vm), auth=having['net']), 403), 'C_POLICY that asks, with net alone')
    for field in ((T_RESET, 1), (T_SET_ALLOW, 1), (T_ALLOW, '10.0.0.1'), (T_SET_DROP, 1), (T_DROP, '10.0.0.1')):
        ok(refused(w.ask(C['C_POLICY'], (T_VM, vm), field, auth=lacking['vm']), 403, "'vm'"), f'C_POLICY that changes ({field[0]}), without vm: 403')
        ok(not refused(w.ask(C['C_POLICY'], (T_VM, vm), field, auth=having['vm']), 403), f'C_POLICY that changes ({field[0]}), with vm alone')
    ok(w.ask(C['C_TAGS'], (T_VM, vm), auth=having['read']).type == OK and refused(w.ask(C['C_TAGS'], (T_VM, vm), (T_ADD, 'x'), auth=having['read']), 403, "'vm'") and
       w.ask(C['C_TAGS'], (T_VM, vm), auth=having['vm']).type == OK and w.ask(C['C_TAGS'], (T_VM, vm), (T_ADD, 'x'), auth=having['vm']).type == OK, 'tags: reading and changing differ')
    m = w.ask(C['C_CONNECT'], (T_VM, vm), (T_FOR, EXEC), auth=having['exec'])
    ok(m.type == OK and len(m.fds) == 1, 'a stream for exec')
    for s in SCOPES[1:]:
        w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'no-' + s))
    for s in SCOPES:
        w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'only-' + s))
    w.cuts()
    return vm


def test_groups(w, mine):
    other = w.create('user').str(T_VM)
    t = digest(w.make('sbox', 'vm', 'exec', groups=['ok', 'slow']).str(T_TOKEN))
    ok(vms(w, t) == [mine] and other in vms(w, w.root_digest), 'the list shows its groups alone')
    ok(sorted(m.str(T_NAME) for m in w.answer(w.post(C['C_GROUPS'], auth=t))[:-1]) == ['ok', 'slow'], 'so do the groups')
    ok(vms(w, t, (T_GROUP, 'ok')) == [mine] and refused(w.ask(C['C_NODES'], (T_GROUP, 'user'), auth=t), 404), "another group's list: 404")
    unknown = w.ask(C['C_DESCRIBE'], (T_VM, 'ok-999'), auth=t)
    for name in ('C_DESCRIBE', 'C_LOGS', 'C_SHUTDOWN', 'C_PAUSE', 'C_RESUME', 'C_RELAUNCH', 'C_TAGS', 'C_READY', 'C_DELETE'):
        m = w.ask(C[name], (T_VM, other), (T_GROUP, 'user'), auth=t)
        ok(refused(m, 404) and says(m).replace(other, 'ok-999') == says(unknown), f"{name} of another group's VM: 404, as of one that is not", says(m))
    ok(refused(w.ask(C['C_CONNECT'], (T_VM, other), (T_FOR, EXEC), auth=t), 404), 'so is a stream to it')
    for group in ('user', 'nosuch', '', 'x' * 63):
        ok(refused(w.ask(C['C_CREATE'], (T_GROUP, group), auth=t), 403, 'host group'), f'creating in {group[:8]!r}: 403')
    m = w.ask(C['C_CREATE'], (T_GROUP, 'ok'), (T_WAIT, 'agent'), (T_TIMEOUT, 8000), auth=t)
    ok(m.type == OK and w.ask(C['C_DELETE'], (T_VM, m.str(T_VM)), auth=t).type == OK, 'creating and deleting in its own')
    ok(w.ask(C['C_TAGS'], (T_VM, other), (T_TAG_NAME, 'theirs')).type == OK and refused(w.ask(C['C_TAGS'], (T_VM, mine), (T_TAG_NAME, 'theirs'), auth=t), 409) and
       other not in says(w.ask(C['C_TAGS'], (T_VM, mine), (T_TAG_NAME, 'theirs'), auth=t)), "a friendly name that is taken does not tell by whom")
    seen = {x.str(T_GROUP) for x in w.answer(w.post(C['C_METRICS'], auth=t))[:-1]}
    ok(seen == {'ok', 'slow'}, 'metrics speak of its groups alone', seen)
    w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'sbox'))
    w.ask(C['C_DELETE'], (T_VM, other))


def test_quotas(w):
    what = dict(max_vms=2, max_vcpus=3, max_ram=160 << 20, max_disk=9 << 20) # VMs of the groups: 2 vCPUs, 64 MiB, disks of 4 MiB
    for key, value in (('max_vms', 0), ('max_disk', 1 << 63)):
        ok(refused(w.make('team', 'vm', **{key: value}), 400, key), f'{key} {value}: refused')
    ok(refused(w.ask(C['C_TOKEN_CREATE'], (T_NAME, 'team'), (T_SCOPE, 'vm'), (T_QUOTA, fields_of((T_NAME, 'max'), (T_COUNT, 1)))), 400, 'max_vms'), 'an unknown quota: refused')
    ok(refused(w.make('team', 'admin', **what), 400, 'admin'), 'admin with quotas: refused')
    t = digest(w.make('team', 'vm', **what).str(T_TOKEN))
    free = digest(w.make('free', 'vm').str(T_TOKEN))

    def create(*fields, auth=None):
        return w.ask(C['C_CREATE'], (T_GROUP, 'ok'), (T_WAIT, 'agent'), (T_TIMEOUT, 8000), *fields, auth=auth or t)

    def used():
        return [fields_in(v) for tag, v in w.listed()['team'].fields if tag == T_QUOTA]
    theirs = create(auth=free).str(T_VM)
    m = create()
    one = m.str(T_VM)
    ok(m.type == OK and used() == [('max_vms', 2, 1), ('max_vcpus', 3, 2), ('max_ram', 160 << 20, 64 << 20), ('max_disk', 9 << 20, 4 << 20)],
       "its VMs count, and no others'; the list says so", used())
    m = create()
    ok(refused(m, 409, "the VMs of token 'team' have 2 vCPUs together, this wants 2 more, and max_vcpus is 3") and 'E_QUOTA' in says(m), 'vCPUs', says(m))
    two = create((T_CPUS, 1)).str(T_VM)
    ok(bool(two), 'a smaller one fits')
    ok(refused(create((T_CPUS, 1)), 409, "token 'team' has 2 VMs, and max_vms is 2"), 'VMs')
    m = w.ask(C['C_DISK_GROW'], (T_VM, one), (T_SIZE, 5 << 20), auth=t)
    ok('has 5242880 bytes now' in says(m), 'a disk grows within (the made-up vmm grows no file system)', says(m))
    m = w.ask(C['C_DISK_GROW'], (T_VM, one), (T_SIZE, 6 << 20), auth=t)
    ok(refused(m, 409, 'max_disk is 9') and 'have 9 MiB of disks together, this wants 1 more' in says(m), 'not beyond its quota', says(m))
    ok(refused(w.ask(C['C_DISK_GROW'], (T_VM, one), (T_SIZE, 6 << 20), auth=free), 409, 'max_disk is 9'), "nor by another's token")
    w.kill9()
    w.start(groups=GROUPS)
    ok(used()[0] == ('max_vms', 2, 2) and used()[3] == ('max_disk', 9 << 20, 9 << 20), 'kept over a restart, quotas and what counts', used())
    ok(refused(create((T_CPUS, 1)), 409, 'max_vms is 2'), 'and held')
    ok(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'team')).type == OK, 'revoked')
    t = digest(w.make('team', 'vm', max_ram=130 << 20).str(T_TOKEN))
    ok(refused(create(), 409, 'max_ram is 130'), 'a token of its name has its VMs')
    for vm in (one, two, theirs):
        ok(w.ask(C['C_DELETE'], (T_VM, vm)).type == OK, 'deleted')
    ok(used() == [('max_ram', 130 << 20, 0)], 'nothing counts')
    racing = [w.post(C['C_CREATE'], (T_GROUP, 'ok'), (T_WAIT, 'agent'), (T_TIMEOUT, 8000), auth=t) for _ in range(5)]
    got = [w.answer(r)[-1] for r in racing]
    ok(sorted(m.type == OK for m in got) == [False] * 3 + [True] * 2, 'many at once: no more than fit', [says(m) for m in got])
    for m in got:
        if m.type == OK:
            w.ask(C['C_DELETE'], (T_VM, m.str(T_VM)))
    for name in ('team', 'free'):
        w.ask(C['C_TOKEN_REVOKE'], (T_NAME, name))
    w.cuts()


def test_pending(w):
    """What waits in core when the token goes."""
    w.cuts()
    t, other = (digest(w.make(n, 'vm').str(T_TOKEN)) for n in ('going', 'staying'))
    waits = w.post(C['C_CREATE'], (T_GROUP, 'mute'), (T_WAIT, 'agent'), (T_TIMEOUT, 60000), auth=t)
    stays = w.post(C['C_CREATE'], (T_GROUP, 'mute'), (T_WAIT, 'agent'), (T_TIMEOUT, 1500), auth=other)
    ok(w.wait_for(lambda: len(vms(w, w.root_digest, (T_GROUP, 'mute'))) == 2), 'two VMs that never get ready')
    ok(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'going')).type == OK and t in w.cuts(), 'revoked')
    m = w.answer(waits)[-1]
    ok(refused(m, 401, 'revoked'), 'its creation is refused', says(m))
    ok(len(vms(w, w.root_digest, (T_GROUP, 'mute'))) == 1, 'and undone')
    ok(refused(w.answer(stays)[-1], 408), "another token's goes on")
    ok(w.wait_for(lambda: vms(w, w.root_digest, (T_GROUP, 'mute')) == []), 'to its own end')
    w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'staying'))
    w.cuts()


def test_expiry(w):
    m = w.make('brief', 'vm', life=1200)
    t = digest(m.str(T_TOKEN))
    ok(w.ask(C['C_INFO'], auth=t).type == OK, 'good until its end')
    waits = w.post(C['C_CREATE'], (T_GROUP, 'mute'), (T_WAIT, 'agent'), (T_TIMEOUT, 60000), auth=t)
    m = w.answer(waits)[-1]
    ok(refused(m, 401, 'expired') and time.time_ns() >= w.listed()['brief'].num(T_EXPIRES), 'its end refuses what waits', says(m))
    ok(w.cuts() == [t], 'front is told, once')
    ok(refused(w.ask(C['C_INFO'], auth=t), 401, 'expired') and w.listed()['brief'].num(T_EXPIRED) == 1, 'over: 401, and the list says so')
    w.kill9()
    w.start()
    ok(refused(w.ask(C['C_INFO'], auth=t), 401, 'expired'), 'over after a restart, too')
    ok(w.cuts() == [], 'of which front need not be told again')
    ok(w.ask(C['C_TOKEN_REVOKE'], (T_NAME, 'brief')).type == OK, 'and revoked')


def test_files(w):
    path = os.path.join(w.state, 'auth/tokens')
    w.make('a', 'read')
    w.make('b', 'read')
    good = open(path).read()
    for line, text in ((1, good.replace('=1', '=2', 1)), (3, good.replace('token b', 'token ../b')), (2, good.replace(' read ', ' root ', 1)), (4, good[:-4]), (1, '')):
        w.kill9()
        open(path, 'w').write(text)
        w.start(wait=False)
        said = w.wait_line('FATAL')
        ok(said and f'auth/tokens:{line}:' in said and 'revoked' in said, f'damaged in line {line}: core says so and ends', said)
        w.core.wait()
    open(path, 'w').write(good)
    w.start()
    ok(sorted(w.listed()) == ['a', 'b'], 'put back: all is well')
    os.chmod(os.path.dirname(path), 0o500)
    if os.getuid():
        m = w.make('c', 'read')
        ok(m.type == ERR and m.num(STATUS) == 500 and sorted(w.listed()) == ['a', 'b'], 'what cannot be written is not there', says(m))
    os.chmod(os.path.dirname(path), 0o750)


def test_ephemeral():
    w = Tokens()
    try:
        w.start(ephemeral=True)
        user, local = w.connect()
        m = w.ask(C['C_TOKEN_CREATE'], (T_NAME, 'a'), (T_SCOPE, 'read'), local=local)
        ok(refused(m, 409, 'mica run') and w.answer(w.post(C['C_TOKEN_LIST'], local=local))[-1].type == OK, "a daemon of 'mica run' keeps none", says(m))
        ok(all(refused(w.ask(C['C_INFO'], auth=auth), 401) for auth in (None, bytes(32), b'x' * 32)), 'and knows none: its local users alone may ask')
        user.close()
        w.term()
    finally:
        w.done()


def main():
    w = Tokens()
    with core_fake.told(w):
        w.start()
        test_refusals(w)
        test_store(w)
        mine = test_scopes(w)
        test_groups(w, mine)
        test_quotas(w)
        test_pending(w)
        test_expiry(w)
        test_files(w)
        ok(w.term() == 0, 'stopped')
    test_ephemeral()
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
