#!/usr/bin/env python3
"""gate against a real DNS server (dnsmasq), hostile ones of ours, and real packets' events, in network namespaces of the test; the test stands in for core.

usage: gate.py PATH-OF-gate   (needs root; re-executes itself in namespaces of its own)
"""
import ctypes, json, os, random, shutil, socket, struct, subprocess, sys, tempfile, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT

VM_UP, VM_DOWN, POLICY, LOG, LIVE, OPEN, ROTATE, TROUBLE, COUNTS = 16, 17, 18, 19, 20, 32, 33, 34, 35
(VM, GROUP, IP4, GW4, IP6, GW6, DNS, ALLOW, DROP, OWN, LOG_BYTES, FD_EVENTS, FD_UDP, FD_TCP, FD_LOG, NAME, RULE, PORT, TTL, ADDR, OPENED, ERRNO, LOST, ALLOWED,
 DENIED, OUT, IN, QUERIES, REFUSED) = range(16, 45)
REAL, EVIL, SILENT = '127.0.0.2', '127.0.0.3', '127.0.0.4'
libc = ctypes.CDLL(None, use_errno=True)
t = Tap()
tmp = tempfile.mkdtemp(prefix='gate.', dir=os.environ.get('TMPDIR', '/tmp'))
started = []


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        v = what()
        if v:
            return v
        time.sleep(0.02)
    return what()


def sh(text):
    r = subprocess.run(['sh', '-c', text], capture_output=True, text=True)
    if r.returncode:
        print('#', text, r.stderr.strip())
    return r.stdout


# ---- network: the test's namespace is the host; a namespace per VM, and one per guest, joined by a veth ----

class Net:
    """A VM's namespace and its guest's."""
    def __init__(self, i):
        self.vm, self.guest = self.holder(), self.holder()
        self.ip, self.gw = f'169.254.100.{4 * i + 2}', f'169.254.100.{4 * i + 1}'
        sh(f'''ip link add g{i} netns {self.guest} type veth peer name tap0 netns {self.vm}
            nsenter -t {self.vm} -n sh -c 'ip link set lo up; ip addr add {self.gw}/30 dev tap0; ip -6 addr add fd00:{i}::1/64 dev tap0 nodad; ip link set tap0 up
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/netfilter/nf_conntrack_acct; ip link add out type dummy; ip link set out up
                ip addr add 203.0.113.1/24 dev out; ip route add default dev out'
            nsenter -t {self.guest} -n sh -c 'ip link set lo up; ip addr add {self.ip}/30 dev g{i}; ip -6 addr add fd00:{i}::2/64 dev g{i} nodad; ip link set g{i} up
                ip route add default via {self.gw}' ''')
        old = os.open('/proc/self/ns/net', os.O_RDONLY)
        self.enter(self.vm)
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.udp.bind(('::', 53))
        self.tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.tcp.bind(('::', 53))
        self.tcp.listen(16)
        self.events = subscribe()
        libc.setns(old, 0)
        os.close(old)

    @staticmethod
    def holder():
        p = subprocess.Popen(['unshare', '-n', 'sh', '-c', 'echo; exec sleep 1000'], stdout=subprocess.PIPE)
        p.stdout.readline()
        started.append(p)
        return p.pid

    @staticmethod
    def enter(pid):
        fd = os.open(f'/proc/{pid}/ns/net', os.O_RDONLY)
        assert libc.setns(fd, 0) == 0
        os.close(fd)

    def run(self, *argv, **kw):
        return subprocess.run(['nsenter', '-t', str(self.guest), '-n', *argv], capture_output=True, text=True, **kw)

    def dig(self, *words, at=None):
        r = self.run('dig', f'@{at or self.gw}', '+tries=1', '+time=8', '+nocookie', *words)
        out = r.stdout
        return next((l.split('status: ')[1].split(',')[0] for l in out.splitlines() if 'status: ' in l), 'none'), out

    def short(self, *words, at=None):
        return self.dig('+short', *words, at=at)[1].split()

    def rules(self, text):
        r = subprocess.run(['nsenter', '-t', str(self.vm), '-n', 'nft', '-f', '-'], input=text, capture_output=True, text=True)
        if r.returncode:
            print('#', r.stderr)


def subscribe():
    """As lib/nfnl does: NFLOG group 1 and conntrack's DESTROY."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    s.bind((0, 0))
    a = lambda kind, body: struct.pack('=HH', len(body) + 4, kind) + body + b'\0' * (-len(body) % 4)
    body = struct.pack('!BBH', 0, 0, 1) + a(1, b'\1') + a(2, struct.pack('!IBB', 128, 2, 0)) + a(5, struct.pack('!I', 1))
    s.send(struct.pack('=IHHII', 16 + len(body), 0x401, 5, 1, 0) + body)
    assert struct.unpack_from('=i', s.recv(4096), 16)[0] == 0
    s.setsockopt(270, 1, 3)
    return s


# ---- DNS servers of ours ----

def question(data):
    at = 12
    while data[at]:
        at += 1 + data[at]
    return data[12:at + 5]


def name_of(q):
    out, at = [], 0
    while q[at]:
        out.append(q[at + 1:at + 1 + q[at]].decode('latin1').lower())
        at += 1 + q[at]
    return '.'.join(out)


def evil(sock):
    a = lambda addr, ttl=300: b'\xc0\x0c' + struct.pack('!HHIH', 1, 1, ttl, 4) + socket.inet_aton(addr)
    while True:
        data, who = sock.recvfrom(4096)
        q, ident = question(data), data[:2]
        n = name_of(q)
        answer = lambda rrs, count, i=ident, qq=q, flags=0x8180: sock.sendto(i + struct.pack('!5H', flags, 1, count, 0, 0) + qq + rrs, who)
        if n.startswith('wrong'):
            for _ in range(5):
                answer(a('6.6.6.6'), 1, i=os.urandom(2))
            answer(a('6.6.6.6'), 1, qq=b'\5other\3com\0\0\1\0\1')
            sock.sendto(b'junk', who)
            answer(a('93.184.216.34'), 1)
        elif n.startswith('broken'):
            answer(b'\xc0\x0c' + struct.pack('!HHIH', 1, 1, 60, 4000) + b'abc', 1)
        elif n.startswith('stranger'): # answers about names that nobody asked for
            answer(b'\5other\3com\0' + struct.pack('!HHIH', 1, 1, 60, 4) + b'\6\6\6\6' + a('93.184.216.40'), 2)
        elif n.startswith('loop'):
            answer(b'\xc0\x0c' + struct.pack('!HHIH', 5, 1, 60, 2) + b'\xc0\x0c', 1)
        elif n.startswith('fail'):
            answer(b'', 0, flags=0x8182)
        elif n.startswith('silent'):
            pass
        else:
            answer(a('93.184.216.50'), 1)


def servers():
    log = os.path.join(tmp, 'dnsmasq.log')
    conf = ['--no-daemon', '--no-resolv', '--no-hosts', '--bind-interfaces', f'--listen-address={REAL}', '--port=53', '--log-queries', f'--log-facility={log}', '--pid-file',
            '--user=root', '--edns-packet-max=4096', '--host-record=www.example.com,93.184.216.34,2606:2800:220:1::34,30', '--host-record=a.b.example.com,93.184.216.35',
            '--host-record=other.org,93.184.216.36', '--cname=alias.example.com,www.example.com,20', '--host-record=lan.example.com,192.168.1.1',
            '--host-record=meta.example.com,169.254.169.254', '--host-record=mixed.example.com,192.168.1.1', '--host-record=mixed.example.com,93.184.216.37',
            '--host-record=short.example.com,93.184.216.38,1', '--host-record=long.example.com,93.184.216.39,999999', '--txt-record=big.example.com,' + ','.join(['x' * 200] * 10),
            '--host-record=two.example.com,93.184.216.41', '--auth-ttl=60', '--local-ttl=300']
    for i in range(100):
        conf.append(f'--host-record=many.example.com,93.184.217.{i}')
    p = subprocess.Popen(['dnsmasq', *conf], stderr=subprocess.DEVNULL)
    started.append(p)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((EVIL, 53))
    threading.Thread(target=evil, args=(s,), daemon=True).start()
    until(lambda: subprocess.run(['dig', f'@{REAL}', '+short', '+time=1', '+tries=1', 'www.example.com'], capture_output=True, text=True).stdout.startswith('93.'))
    return lambda: open(log).read()


# ---- core's part ----

class Core:
    def __init__(self, program, logs):
        self.p, self.c = start([program, '--uid', '1835597828', '--gid', '1835597828'])
        self.replies, self.opened, self.trouble, self.counts, self.rotations = {}, [], [], {}, []
        self.refuse, self.delay, self.mute, self.logs = False, 0, False, logs
        self.lock = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        self.c.sock.settimeout(None)
        while True:
            try:
                m = self.c.recv()
            except OSError:
                return
            if m is None:
                return
            if m.kind in (OK, ERR):
                self.replies[m.id] = m
            elif m.kind == OPEN:
                time.sleep(self.delay)
                addrs = [socket.inet_ntop(socket.AF_INET if len(v) == 4 else socket.AF_INET6, v) for tag, v in m.list if tag == ADDR]
                self.opened.append((m.text(VM), m.text(NAME), m.num(RULE), m.num(PORT), m.num(TTL), sorted(addrs), time.monotonic()))
                if not self.mute:
                    self.c.send(ERR if self.refuse else OK, ident=m.id)
            elif m.kind == ROTATE:
                path = self.logs(m.text(VM))
                old = f'{path}.{len(self.rotations) + 1}'
                os.rename(path, old)
                self.rotations.append(old)
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                self.c.send(OK, ident=m.id, fds=[fd])
                os.close(fd)
            elif m.kind == TROUBLE:
                self.trouble.append((m.text(VM), m.num(ERRNO), m.num(LOST)))
            elif m.kind == COUNTS:
                self.counts[m.text(VM)] = m

    def ask(self, kind, fields, fds=()):
        ident = self.c.send(kind, fields, ident=random.randrange(1 << 20, 1 << 30), fds=fds)
        until(lambda: ident in self.replies)
        return self.replies.pop(ident)

    def up(self, name, net, allow=(), drop=(), dns=(REAL,), group='web', extra=(), log=None):
        path = log or self.logs(name)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        fds = [net.events.fileno(), net.udp.fileno(), net.tcp.fileno(), fd] if net else [fd]
        f = [(VM, name), (GROUP, group)] + [(DNS, d) for d in dns] + [(ALLOW, a) for a in allow] + [(DROP, d) for d in drop] + list(extra)
        if net:
            f += [(IP4, net.ip), (GW4, net.gw), (FD_EVENTS, 0), (FD_UDP, 1), (FD_TCP, 2), (FD_LOG, 3)]
        else:
            f += [(FD_LOG, 0)]
        m = self.ask(VM_UP, f, fds)
        os.close(fd)
        return m

    def policy(self, name, allow=(), drop=()):
        return self.ask(POLICY, [(VM, name)] + [(ALLOW, a) for a in allow] + [(DROP, d) for d in drop])


def lines(path):
    return [json.loads(l) for l in open(path)] if os.path.exists(path) else []


# ---- cases ----

def allowed_and_denied(core, n, asked):
    core.delay = 0.5
    begin = time.monotonic()
    got = n.short('www.example.com')
    took = time.monotonic() - begin
    core.delay = 0
    t.ok(got == ['93.184.216.34'], f'an allowed name is answered: {got}')
    o = core.opened[-1] if core.opened else None
    t.ok(sorted(x[2:4] for x in core.opened) == [(0, 443), (1, 0)] and all(x[5] == ['93.184.216.34'] and x[:2] == ('web-1', 'www.example.com') for x in core.opened),
         f'and opens exactly its addresses, for each entry that names it: {core.opened}')
    t.ok(o and begin + took > o[6] and took >= 0.5, 'the answer waits until they are open')
    t.ok(n.short('www.example.com', 'AAAA') == ['2606:2800:220:1::34'] and core.opened[-1][5] == ['2606:2800:220:1::34'], 'IPv6 too')
    opened, queries = len(core.opened), asked().count('query[A] www.example.com')
    t.ok(n.short('WWW.Example.Com') == ['93.184.216.34'] and len(core.opened) == opened and asked().count('query[A] www.example.com') == queries, 'the second time it comes from the cache')
    for name in ('other.org', 'example.com', 'b.example.org', 'www.example.com.evil.org'):
        s, _ = n.dig(name)
        t.ok(s == 'REFUSED' and f'] {name} from' not in asked(), f'{name}: {s}, and the upstream never hears of it')
    t.ok(n.short('a.b.example.com') == ['93.184.216.35'] and core.opened[-1][2] == 1 and core.opened[-1][3] == 0, 'a suffix')
    opened = len(core.opened)
    t.ok(n.short('alias.example.com') == ['93.184.216.34'] and len(core.opened) == opened, 'through a CNAME; what is open need not be opened again')
    t.ok(n.short('+tcp', 'two.example.com') == ['93.184.216.41'], 'by TCP')
    t.ok(n.short('two.example.com', at='fd00:1::1') == ['93.184.216.41'], 'by IPv6')
    s, out = n.dig('nothere.example.com')
    t.ok(s == 'NXDOMAIN' or s == 'REFUSED', f'a name that is not there: {s}')
    n.short('short.example.com')
    t.ok(core.opened[-1][4] >= 60, f'a TTL of 1 opens for a minute: {core.opened[-1][4]} s')
    ttl = int(n.dig('+noall', '+answer', 'long.example.com')[1].split()[1])
    t.ok(ttl == 60 and 3600 <= core.opened[-1][4] <= 3700, f'a long one is cut: told {ttl} s, open {core.opened[-1][4]} s')
    core.refuse = True
    s, _ = n.dig('mixed.example.com')
    core.refuse = False
    t.ok(s == 'SERVFAIL', f'no answer without the opening: {s}')
    core.mute = True
    s, _ = n.dig('mixed.example.com')
    core.mute = False
    t.ok(s == 'SERVFAIL', f'nor when core says nothing: {s}')


def rebinding(core, n):
    opened = len(core.opened)
    for name in ('lan.example.com', 'meta.example.com'):
        t.ok(n.dig(name)[0] == 'REFUSED' and len(core.opened) == opened, f'{name} leads inside: refused, nothing opened')
    t.ok(n.short('mixed.example.com') == ['93.184.216.37'] and core.opened[-1][5] == ['93.184.216.37'], 'of a mixed answer only what is outside is told and opened')
    core.policy('web-1', ['*.example.com', '192.168.1.1:80'])
    opened = len(core.opened)
    t.ok(n.short('lan.example.com') == ['192.168.1.1'] and not [o for o in core.opened[opened:] if '192.168.1.1' in o[5]], 'unless an entry names the address: told, and still not opened')


def policies(core, n):
    opened = len(core.opened)
    m = core.policy('web-1', ['10.1.1.1', 'www.example.com', 'two.example.com:80'])
    t.ok(m.kind == OK, 'another policy')
    until(lambda: len(core.opened) > opened)
    again = {(o[1], o[2]) for o in core.opened[opened:]}
    t.ok(all(o[1] in ('www.example.com', 'two.example.com') for o in core.opened[opened:]), f'what still holds is opened again, nothing else: {again}')
    t.ok(n.dig('a.b.example.com')[0] == 'REFUSED', 'what is not allowed any more is refused')
    t.ok(n.short('two.example.com') == ['93.184.216.41'] and ('two.example.com', 2, 80) in {o[1:4] for o in core.opened[opened:]}, 'its new rule and port')
    t.ok(core.policy('web-1', ['not a name!']).kind == ERR, 'a broken policy is refused')
    t.ok(core.policy('nobody', []).kind == ERR, 'an unknown VM too')
    m = core.ask(LIVE, [(VM, 'web-1'), (NAME, 'two.example.com')])
    addr = [v for tag, v in m.list if tag == ADDR]
    t.ok(m.kind == OK and len([1 for tag, _ in m.list if tag == OPENED]) == 1 and addr == [socket.inet_aton('93.184.216.41')], 'what is open can be asked')
    core.policy('web-1', [], [])
    t.ok(n.short('other.org') == ['93.184.216.36'] and core.opened[-1][1] != 'other.org', 'without rules everything is asked, nothing opened')
    t.ok(len(n.short('many.example.com')) == 100, 'an answer too long for UDP comes by TCP, from the upstream and to the guest')
    t.ok('flags: qr tc' in n.dig('+ignore', 'many.example.com')[1], 'and by UDP it is said to be cut')
    t.ok('x' * 200 in n.dig('big.example.com', 'TXT')[1], 'other types')
    core.policy('web-1', [], ['other.org'])
    t.ok(n.dig('other.org')[0] == 'REFUSED' and n.short('www.example.com') == ['93.184.216.34'], 'a dropped name')
    core.policy('web-1', ['192.168.222.1:3128'], ['0.0.0.0/0'])
    t.ok(n.dig('www.example.com')[0] == 'REFUSED', 'with everything dropped no name is asked: no tunnel')
    core.policy('web-1', [], [])


def local(core, n, m, asked):
    t.ok(n.short('web-2') == [m.ip] and n.short('web-2.internal') == [m.ip] and n.short('web-1', at=n.gw) == [n.ip], 'siblings by name')
    t.ok(n.short('gateway') == [n.gw], 'the gateway')
    t.ok(n.short('-x', m.ip) == ['web-2.internal.'] and n.short('-x', n.gw) == ['gateway.internal.'], 'and back')
    t.ok(n.dig('db-1')[0] == 'NXDOMAIN', 'a VM of another group is not told')
    for q in (['web-9'], ['x.internal'], ['printer.local'], ['-x', '192.168.7.7'], ['router.home.arpa']):
        t.ok(n.dig(*q)[0] == 'NXDOMAIN' and q[-1] not in asked() and '7.7.168.192' not in asked(), f'{q[-1]} stays here')
    t.ok(n.dig('+time=8', '-c', 'CH', '-t', 'TXT', 'version.bind')[0] == 'NOTIMP', 'other classes')


def hostile_upstream(core, n):
    core.up('web-1', None, dns=(EVIL,), extra=[(IP4, n.ip), (GW4, n.gw)])
    t.ok(n.short('wrong.example.com') == ['93.184.216.34'], 'answers with another id or question are passed over')
    t.ok(n.dig('broken.example.com')[0] == 'SERVFAIL', 'a broken answer is a failure')
    core.policy('web-1', ['*.example.com'])
    t.ok(n.short('stranger.example.com') == ['93.184.216.40'] and core.opened[-1][5] == ['93.184.216.40'], 'records of other names open nothing')
    s, _ = n.dig('loop.example.com')
    t.ok(s in ('NOERROR', 'SERVFAIL') and core.opened[-1][1] != 'loop.example.com', f'a CNAME to itself: {s}')
    core.policy('web-1', [], [])
    core.up('web-1', None, dns=(SILENT, EVIL), extra=[(IP4, n.ip), (GW4, n.gw)])
    t.ok(n.short('plain.example.org') == ['93.184.216.50'], 'where nobody listens the next server is asked')
    t.ok(n.dig('silent.example.org')[0] == 'SERVFAIL', 'and when none answers the guest hears it')
    core.up('web-1', None, dns=(EVIL, REAL), extra=[(IP4, n.ip), (GW4, n.gw)])
    t.ok(n.dig('fail.example.org')[0] in ('REFUSED', 'NXDOMAIN'), 'a server that fails is not the last word')
    core.up('web-1', None, dns=(), extra=[(IP4, n.ip), (GW4, n.gw)])
    t.ok(n.dig('www.example.com')[0] == 'REFUSED' and n.short('web-2') != [], 'without servers only our own names are known')
    core.up('web-1', None, dns=(REAL,), extra=[(IP4, n.ip), (GW4, n.gw)])


FLOOD = r'''
import os, random, socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
random.seed(7)
end, n = time.monotonic() + 2, 0
while time.monotonic() < end:
    if sys.argv[2] == 'junk':
        d = os.urandom(random.choice((0, 1, 11, 12, 13, 40, 600)))
        if random.random() < 0.7:
            d = struct.pack('!6H', 7, 0x100, 1, 0, 0, random.choice((0, 1, 3))) + d
    else:
        d = struct.pack('!6H', n & 65535, 0x100, 1, 0, 0, 0) + b'\x08' + b'%08x' % n + b'\x06silent\x03org\x00' + struct.pack('!HH', 1, 1)
    s.sendto(d, (sys.argv[1], 53))
    n += 1
print(n)
'''


def floods(core, n, m):
    n.run(sys.executable, '-c', FLOOD, n.gw, 'junk', timeout=30)
    t.ok(core.p.poll() is None and n.short('www.example.com') == ['93.184.216.34'], 'junk by UDP')
    for d in (b'\0\0', b'\xff\xff' + b'x' * 5000, struct.pack('!H', 12) + b'\0' * 12, b'\0', struct.pack('!H', 40) + os.urandom(40)):
        n.run(sys.executable, '-c', 'import socket,sys; s=socket.create_connection((sys.argv[1],53)); s.sendall(bytes.fromhex(sys.argv[2])); s.settimeout(0.2)\ntry: s.recv(9)\nexcept OSError: pass',
              n.gw, d.hex(), timeout=20)
    t.ok(core.p.poll() is None and n.short('+tcp', 'www.example.com') == ['93.184.216.34'], 'junk by TCP')
    core.up('web-1', None, dns=(EVIL,), extra=[(IP4, n.ip), (GW4, n.gw)])
    p = subprocess.Popen(['nsenter', '-t', str(n.guest), '-n', sys.executable, '-c', FLOOD, n.gw, 'questions'], stdout=subprocess.PIPE)
    time.sleep(0.5)
    got = m.short('two.example.com')
    p.wait(30)
    t.ok(got == ['93.184.216.41'], f'while one VM floods, another is answered: {got}')
    fds = len(os.listdir(f'/proc/{core.p.pid}/fd'))
    t.ok(fds < 160, f'and what it may have on its way is limited: {fds} descriptors')
    time.sleep(2)
    core.up('web-1', None, dns=(REAL,), extra=[(IP4, n.ip), (GW4, n.gw)])
    t.ok(until(lambda: n.short('www.example.com') == ['93.184.216.34']), 'afterwards it is answered again')
    t.ok(until(lambda: any(l['event'] == 'gap' and 'limit' in l['why'] for l in lines(core.logs('web-1')))), 'the record tells how many were too many')


RULES = '''table inet mica { chain f { type filter hook forward priority 0; ct state established,related accept
 iifname "tap0" ip daddr 203.0.113.9 ct state new log group 1 prefix "+allow[0]" snaplen 128 accept
 iifname "tap0" ct state new log group 1 prefix "-default:deny" snaplen 128
 iifname "tap0" meta l4proto tcp reject with tcp reset
 iifname "tap0" reject with icmpx type admin-prohibited
 }
}
'''


def events(core, n, path):
    n.rules(RULES)
    peer = Net.holder()
    sh(f'''nsenter -t {n.vm} -n ip link del out; ip link add p0 netns {peer} type veth peer name out netns {n.vm}
        nsenter -t {n.vm} -n sh -c 'ip addr add 203.0.113.1/24 dev out; ip link set out up'
        nsenter -t {peer} -n sh -c 'ip addr add 203.0.113.9/24 dev p0; ip link set p0 up; ip route add default via 203.0.113.1' ''')
    server = subprocess.Popen(['nsenter', '-t', str(peer), '-n', sys.executable, '-c',
                               'import socket; s=socket.create_server(("",80)); print(flush=True)\nwhile True:\n c,_=s.accept(); c.recv(100); c.sendall(b"y"*5000); c.close()'],
                              stdout=subprocess.PIPE)
    started.append(server)
    server.stdout.readline()
    client = ('import socket,sys; s=socket.socket(); s.settimeout(5)\ntry:\n s.connect((sys.argv[1],80)); s.sendall(b"x"*50); n=0\n while True:\n  d=s.recv(9999); n+=len(d)\n'
              '  if not d: break\n print(n)\nexcept OSError as e: print(type(e).__name__)')
    t.ok(n.run(sys.executable, '-c', client, '203.0.113.9').stdout.strip() == '5000', 'a flow that is allowed')
    t.ok(n.run(sys.executable, '-c', client, '203.0.113.10').stdout.strip() == 'ConnectionRefusedError', 'and one that is not')
    n.run('ping', '-c1', '-W1', '203.0.113.77')
    flush = "import socket,struct; s=socket.socket(16,3,12); s.bind((0,0)); s.send(struct.pack('=IHHIIBBH',20,0x102,5,1,0,0,0,0)); s.recv(4096)"
    time.sleep(0.5)
    subprocess.run(['nsenter', '-t', str(n.vm), '-n', sys.executable, '-c', flush])
    got = lambda kind, dst: next((l for l in lines(path) if l['event'] == kind and l.get('dst') == dst), None)
    until(lambda: got('end', '203.0.113.9') and got('denied', '203.0.113.77'))
    b, e, d, i = got('start', '203.0.113.9'), got('end', '203.0.113.9'), got('denied', '203.0.113.10'), got('denied', '203.0.113.77')
    t.ok(b and b['rule'] == 'allow[0]' and b['verdict'] == 'allowed' and b['dport'] == 80 and b['src'] == n.ip and b['proto'] == 'tcp', f'its beginning is on record: {b}')
    t.ok(e and e['rule'] == 'allow[0]' and e['bytes_in'] > 5000 and e['bytes_out'] > 50 and e['duration_ms'] >= 0 and e['sport'] == b['sport'], f'its end with its bytes: {e}')
    t.ok(d and d['rule'] == 'default:deny' and d['verdict'] == 'denied' and d['dport'] == 80, f'the denied one: {d}')
    t.ok(i and i['proto'] == 'icmp' and i['icmp_type'] == 8, f'an echo: {i}')
    c = until(lambda: core.counts.get('web-1'))
    until(lambda: core.counts['web-1'].num(DENIED) >= 2 and core.counts['web-1'].num(IN) > 5000)
    c = core.counts['web-1']
    t.ok(c.num(ALLOWED) >= 1 and c.num(DENIED) >= 2 and c.num(IN) > 5000 and c.num(QUERIES) > 10 and c.num(REFUSED) > 3,
         f'and counted: {[c.num(k) for k in range(ALLOWED, REFUSED + 1)]}')


def record(core, n, path):
    kinds = {l['event'] for l in lines(path)}
    t.ok('dns' in kinds and any(l['event'] == 'dns' and l['verdict'] == 'denied' and l['rule'] == 'default:deny' and l['name'] == 'other.org' for l in lines(path)), f'questions are on record: {kinds}')
    t.ok(any(l.get('note') == 'rebinding' and l['dst'] == '192.168.1.1' for l in lines(path)), 'rebinding too')
    small = os.path.join(tmp, 'full')
    os.mkdir(small)
    sh(f'mount -t tmpfs -o size=64k none {small}')
    full = os.path.join(small, 'net.jsonl')
    with open(os.path.join(small, 'ballast'), 'wb') as f:
        f.write(b'x' * 49152)
    core.up('web-1', None, log=full, extra=[(IP4, n.ip), (GW4, n.gw)])
    for i in range(300):
        if core.trouble:
            break
        n.run('dig', f'@{n.gw}', '+tries=1', '+time=2', *[w for k in range(20) for w in (f'{"z" * 50}{i}-{k}.org', 'TXT')])
    t.ok(core.trouble and core.trouble[0][:2] == ('web-1', 28) and len(core.trouble) == 1, f'a full disk is told, once: {core.trouble[:3]}')
    t.ok(n.short('www.example.com') == ['93.184.216.34'], 'and the VM goes on')
    os.unlink(os.path.join(small, 'ballast'))
    t.ok(until(lambda: len(core.trouble) > 1 and core.trouble[-1][1] == 0), 'when there is room again that is told too')
    t.ok(until(lambda: any(l.get('name') == 'www.example.com' for l in lines(full))), 'and what was kept is written, line by line')
    core.up('web-1', None, log=path, extra=[(IP4, n.ip), (GW4, n.gw), (LOG_BYTES, 4096)])
    for i in range(60):
        n.run('dig', f'@{n.gw}', '+tries=1', '+time=2', *[w for k in range(10) for w in (f'rot{i}-{k}.local', 'A', f'rot{i}-{k}.org', 'A')])
        if core.rotations:
            break
    t.ok(core.rotations and until(lambda: os.path.exists(path)), f'a large file is followed by the next: {len(core.rotations)}')
    every = [json.loads(l) for f in core.rotations + [path] for l in open(f)]
    t.ok(len(every) > 20, 'all lines whole')


def walls(core):
    status = open(f'/proc/{core.p.pid}/status').read()
    word = lambda k: next(l.split()[1] for l in status.splitlines() if l.startswith(k))
    t.ok(word('CapEff:') == word('CapPrm:') == word('CapBnd:') == '0' * 16 or word('CapEff:') == word('CapPrm:') == '0' * 16, 'no capability')
    t.ok(word('Uid:') == '1835597828' and word('Seccomp:') == '2' and word('NoNewPrivs:') == '1', 'an own user, a filter')
    t.ok(os.listdir(f'/proc/{core.p.pid}/root') == [], 'an empty root')


def main(program):
    if os.geteuid() != 0 or not all(map(shutil.which, ('dnsmasq', 'dig', 'nft', 'ip'))):
        t.skip('gate', 'needs root, dnsmasq, dig, nft and ip')
        return t.done()
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-n', '-m', sys.executable, os.path.abspath(__file__), program])
    sh('ip link set lo up')
    asked = servers()
    n, m = Net(1), Net(2)
    core = Core(program, lambda name: os.path.join(tmp, name + '.jsonl'))
    path = core.logs('web-1')
    r = core.up('web-1', n, ['www.example.com:443', '*.example.com'])
    t.ok(r.kind == OK, f'a VM: {r.text(TEXT)}')
    r = core.up('web-2', m)
    t.ok(r.kind == OK and core.up('db-1', None, group='db', extra=[(IP4, '169.254.101.2')]).kind == OK, 'more of them')
    t.ok(core.ask(VM_UP, [(VM, '../x'), (GROUP, 'x')]).kind == ERR and core.ask(VM_UP, [(VM, 'x-1'), (GROUP, 'x'), (FD_UDP, 0)]).kind == ERR, 'broken ones are refused')
    walls(core)
    allowed_and_denied(core, n, asked)
    rebinding(core, n)
    policies(core, n)
    local(core, n, m, asked)
    hostile_upstream(core, n)
    events(core, n, path)
    floods(core, n, m)
    record(core, n, path)
    t.ok(core.ask(VM_DOWN, [(VM, 'web-2')]).kind == OK and core.ask(VM_DOWN, [(VM, 'web-2')]).kind == OK and m.dig('www.example.com', '+time=1')[0] == 'none', 'a VM that goes is not served any more')
    core.c.sock.shutdown(socket.SHUT_RDWR)
    t.ok(core.p.wait(10) == 0, 'it ends with its channel')
    return t.done()


try:
    code = main(sys.argv[1])
finally:
    for p in started:
        p.kill()
    shutil.rmtree(tmp, ignore_errors=True)
sys.exit(code)
