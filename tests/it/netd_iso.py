#!/usr/bin/env python3
"""netd's isolated mode with real packets: what passes and what does not, by rule, for TCP, UDP, ICMP, IPv6, fragments and forged addresses; policy
changed while flows run; netd killed; nothing left behind.

usage: netd_iso.py PATH-OF-netd   (needs root; re-executes itself under `unshare -n`)
"""
import os, signal, socket, struct, subprocess, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT
import netlab
from netlab import Guest, Ns, Servers, connect, ping, tcp, udp

HOST_UP, SYNC, RANGE_UP, RANGE_DOWN, ISO_UP, ISO_ADOPT, VM_DOWN, POLICY, OPEN, COUNTERS = 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
BRIDGE_UP, BRIDGE_DOWN, TAP_UP, TAP_DOWN, LIST, TAP_ADOPT, HOST_DOWN = 16, 17, 18, 19, 20, 31, 32
(BRIDGE, GATEWAY, TAPNAME, QUEUES, GATEWAY6, OWNER, NAME, RANGE4, RANGE6, VM, LINK, MAC, GUEST4, GW4, GUEST6, GW6, DEFAULT, RULE, ADDR, PORT, TTL, COUNTER, ID,
 FLOWS, UNLOGGED) = range(16, 41)

WEB4, WEB6 = '198.51.100.2', '2001:db8:1::2'       # the internet
LAN4, LAN6 = '192.168.50.2', 'fd99:1::2'           # the host's own network
PUBLIC_HOST4 = '198.51.100.1'                      # the host's address towards the internet
PREFIX6 = 'fd12:3456:789a:1'
RANGE = [(NAME, 'iso'), (RANGE4, '169.254.100.0/22'), (RANGE6, PREFIX6 + '::/64')]


def rule(allow, net, port=0, proto=0, index=0):
    addr, _, bits = net.partition('/')
    family = 6 if ':' in addr else 4
    bits = int(bits) if bits else (128 if family == 6 else 32)
    raw = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, addr).ljust(16, b'\0')
    return struct.pack('<BBBBHH16sI', allow, family, bits, proto, port, index, raw, 1 if bits else 0)


def policy(allow=(), drop=()):
    """Fields of a policy, as core makes them by lib/policy."""
    out = []
    for verdict, entries in ((1, allow), (0, drop)):
        for i, e in enumerate(entries):
            net, port = e if isinstance(e, tuple) else (e, 0)
            out.append((RULE, rule(verdict, net, port, index=i)))
            if net == '0.0.0.0/0':
                out.append((RULE, rule(verdict, '::/0', port, index=i)))
    return [(DEFAULT, 0 if allow and not drop else 1), *out]


class Vm:
    def __init__(self, name, n):
        self.name, self.n = name, n
        base = 100 * 256 + 4 * n
        self.guest4, self.gw4 = f'169.254.{(base + 2) >> 8}.{(base + 2) & 255}', f'169.254.{(base + 1) >> 8}.{(base + 1) & 255}'
        self.guest6, self.gw6 = f'{PREFIX6}::{4 * n + 2:x}', f'{PREFIX6}::{4 * n + 1:x}'
        self.mac, self.link = f'02:00:00:00:00:{n:02x}', f'mica-{n:010x}'
        self.ns = Ns()

    def fields(self, rules):
        return [(VM, self.name), (LINK, self.link), (MAC, netlab.mac_bytes(self.mac)), (GUEST4, self.guest4 + '/30'), (GW4, self.gw4),
                (GUEST6, self.guest6 + '/126'), (GW6, self.gw6), *rules]

    def ask(self, c, kind, rules):
        fds = netlab.jail_opens(self.ns)
        m = c.ask(kind, self.fields(rules), fds)
        self.events = os.dup(fds[2])
        for fd in fds:
            os.close(fd)
        return m

    def up(self, c, rules):
        m = self.ask(c, ISO_UP, rules)
        if m.kind == OK:
            self.guest = Guest(m.fds[0], self.mac, self.guest4 + '/30', self.gw4, self.guest6 + '/126', self.gw6)
            self.g = self.guest.ns
        return m

    def end(self):
        """As when the vmm ends."""
        self.guest.close()
        self.ns.close()
        os.close(self.events)


def counters(c, vm):
    out = {}
    for tag, body in c.ask(COUNTERS, [(VM, vm.name)]).list:
        if tag == COUNTER:
            import frames
            f = dict(frames.fields(body))
            out[f[ID].decode()] = struct.unpack('<Q', f[FLOWS])[0]
    return out


def world(host):
    """The internet and a LAN, each a namespace behind the host."""
    inet, lan = Ns(), Ns()
    netlab.veth(host, 'wan', inet, 'eth0')
    netlab.veth(host, 'lan', lan, 'eth0')
    for ns, dev, addrs in ((host, 'wan', (PUBLIC_HOST4 + '/24', '2001:db8:1::1/64')), (inet, 'eth0', (WEB4 + '/24', WEB6 + '/64')),
                           (host, 'lan', ('192.168.50.1/24', 'fd99:1::1/64')), (lan, 'eth0', (LAN4 + '/24', LAN6 + '/64'))):
        for a in addrs:
            ns.ip('addr', 'add', a, 'dev', dev, *(['nodad'] if ':' in a else []))
    # what a router on the way would know: the LAN also tries to reach guests through the host
    lan.ip('route', 'add', '169.254.0.0/16', 'via', '192.168.50.1')
    lan.ip('route', 'add', PREFIX6 + '::/64', 'via', 'fd99:1::1')
    return inet, lan


def snapshot(host):
    links = {l.split(':')[1].split('@')[0].strip() for l in host.ip('-o', 'link').splitlines()}
    tables = set(host.run('nft', 'list', 'tables').stdout.splitlines())
    routes = set((host.ip('route') + host.ip('-6', 'route')).splitlines())
    return links, tables, routes


def check_refusals(t, c):
    vm = Vm('bad-1', 60)
    good = dict(vm.fields([(DEFAULT, 1)]))
    one = rule(1, '1.2.3.4/32')
    for what, tag, value in (('a link with another prefix', LINK, 'eth0'), ('a group MAC', MAC, b'\1\0\0\0\0\1'), ('no address', GUEST4, '1.2.3.4'),
                             ('a gateway with a length', GW4, '1.2.3.4/8'), ('a VM named ../x', VM, '../x'), ('a default of 2', DEFAULT, 2),
                             ('a short rule', RULE, b'123'), ('33 bits', RULE, one[:2] + b'\x21' + one[3:]),
                             ('index 256', RULE, rule(1, '1.2.3.4', index=256)), ('5 queues', QUEUES, 5)):
        fds = netlab.jail_opens(vm.ns)
        m = c.ask(ISO_UP, list({**good, tag: value}.items()), fds)
        t.ok(m.kind == ERR, f'{what} is refused: {m.text(TEXT)}')
        for fd in fds:
            os.close(fd)
    t.ok(c.ask(POLICY, [(VM, 'nobody'), (DEFAULT, 1)]).kind == ERR, 'a policy for nobody is refused')
    vm.ns.close()


def check_open(t, host, inet, lan, a, b):
    """No rules at all: the internet, and nothing near."""
    for word, what in ((tcp(a.g, WEB4, 80), 'TCP'), (udp(a.g, WEB4, 53), 'UDP'), (tcp(a.g, WEB6, 80), 'TCP over IPv6'), (udp(a.g, WEB6, 53), 'UDP over IPv6')):
        t.ok(word == 'ok', f'without rules: {what} to the internet: {word}')
    t.ok(ping(a.g, WEB4) and ping(a.g, WEB6), 'ping to the internet, both families')
    t.ok(udp(a.g, WEB4, 53, data=b'x' * 4000) == 'ok' and udp(a.g, WEB6, 53, data=b'x' * 4000) == 'ok', 'fragmented datagrams pass whole')
    s = connect(a.g, WEB4, 80)
    t.ok(s.recv(100).decode().strip() == PUBLIC_HOST4, 'the world sees the host\'s address')
    s.close()
    got = a.g.run('curl', '-s', '--max-time', '5', f'http://{WEB4}:8080/')
    t.ok(got.returncode == 0 and 'Directory listing' in got.stdout, 'curl fetches a page')
    for where, addr4, addr6 in (('LAN', LAN4, LAN6), ('host on the LAN', '192.168.50.1', 'fd99:1::1'),
                                ('host\'s public address', PUBLIC_HOST4, '2001:db8:1::1'),
                                ('another VM', b.guest4, b.guest6), ('another VM\'s gateway', b.gw4, b.gw6), ('own gateway', a.gw4, a.gw6)):
        words = [tcp(a.g, addr4, 80), tcp(a.g, addr6, 80), udp(a.g, addr4, 5353), udp(a.g, addr6, 5353)]
        t.ok(words == ['refused', 'refused', 'prohibited', 'prohibited'], f'{where}: denied at once: {words}')
    t.ok(tcp(a.g, '169.254.169.254', 80) == 'refused' and tcp(a.g, 'fd00:ec2::254', 80) == 'refused', 'metadata: denied at once')
    t.ok(not ping(a.g, LAN4, 1) and not ping(a.g, PUBLIC_HOST4, 1) and not ping(a.g, b.guest4, 1), 'no ping to LAN, host, another VM')
    words = [udp(a.g, LAN4, 5353, data=b'x' * 4000), udp(a.g, LAN6, 5353, data=b'x' * 4000)]
    t.ok(words == ['prohibited'] * 2, f'fragments to the LAN: denied: {words}')
    t.ok(ping(a.g, a.gw4) and ping(a.g, a.gw6), 'the gateway answers a ping')
    for frm, ns in (('LAN', lan), ('host', host)):
        words = [tcp(ns, a.guest4, 80, 1), udp(ns, a.guest4, 5353, 1), tcp(ns, a.guest6, 80, 1)]
        t.ok('ok' not in words and not ping(ns, a.guest4, 1), f'{frm} reaches no guest: {words}')


def check_policy(t, c, inet, a, b):
    def put(**kw):
        m = c.ask(POLICY, [(VM, a.name), *policy(**kw)])
        t.ok(m.kind == OK, f'policy {kw}: {m.text(TEXT) or ""}')
    put(allow=[(WEB4, 80), LAN4])
    words = [tcp(a.g, WEB4, 80), tcp(a.g, LAN4, 80), udp(a.g, LAN4, 5353), tcp(a.g, WEB4, 81), udp(a.g, WEB4, 53), tcp(a.g, WEB6, 80),
             tcp(a.g, '192.168.50.1', 80)]
    t.ok(words == ['ok', 'ok', 'ok', 'refused', 'prohibited', 'refused', 'refused'], f'only what is allowed, at once: {words}')
    t.ok(counters(c, a).get('+allow[0]') == 1 and counters(c, a).get('-default:deny', 0) >= 3, f'counted by rule: {counters(c, a)}')
    t.ok(ping(a.g, LAN4) and not ping(a.g, WEB4, 1), 'an allowed address takes ping, one with a port does not')
    put(drop=['198.51.100.0/24'])
    words = [tcp(a.g, WEB4, 80), tcp(a.g, WEB6, 80), tcp(a.g, LAN4, 80)]
    t.ok(words == ['refused', 'ok', 'refused'], f'only drop: the rest passes, LAN stays denied: {words}')
    put(allow=[(WEB4, 80)], drop=['0.0.0.0/0'])
    words = [tcp(a.g, WEB4, 80), tcp(a.g, WEB4, 81), tcp(a.g, WEB6, 80)]
    t.ok(words == ['ok', 'refused', 'refused'], f'allow wins over drop, 0.0.0.0/0 is IPv6 too: {words}')
    put(allow=['0.0.0.0/0'], drop=[WEB4])
    words = [tcp(a.g, WEB4, 80), tcp(a.g, LAN4, 80)]
    t.ok(words == ['ok', 'refused'], f'allow 0.0.0.0/0 beats drop and does not open the LAN: {words}')
    put(allow=[WEB6 + '/128', '2001:db8:1::1', PUBLIC_HOST4])
    words = [tcp(a.g, WEB6, 80), tcp(a.g, WEB4, 80), tcp(a.g, PUBLIC_HOST4, 80), udp(a.g, PUBLIC_HOST4, 5353), tcp(a.g, '2001:db8:1::1', 80)]
    t.ok(words == ['ok', 'refused', 'ok', 'ok', 'ok'], f'IPv6 by name, and the host itself when it is named: {words}')
    put(allow=[b.guest4 + '/30', b.guest6])
    words = [tcp(a.g, b.guest4, 80), udp(a.g, b.guest4, 5353), tcp(a.g, b.guest6, 80), tcp(b.g, a.guest4, 80)]
    t.ok(words == ['ok', 'ok', 'ok', 'refused'], f'a VM that is named is reached, and not the other way: {words}')
    put()
    t.ok(tcp(a.g, b.guest4, 80) == 'refused', 'and no more')


def check_running(t, c, a):
    c.ask(POLICY, [(VM, a.name), *policy(allow=[WEB4])])
    s, kept = connect(a.g, WEB4, 80), connect(a.g, WEB4, 81)
    for x in (s, kept):
        x.recv(100)
    c.ask(POLICY, [(VM, a.name), *policy(allow=[(WEB4, 81)])])
    word = None
    try:
        s.sendall(b'still there?')
        word = s.recv(100)
    except OSError as e:
        word = type(e).__name__
    t.ok(word == 'ConnectionResetError', f'a running flow that the new policy denies is reset: {word}')
    kept.sendall(b'hello')
    t.ok(kept.recv(100) == b'hello', 'one that it allows goes on')
    s.close(), kept.close()


def check_names(t, c, a):
    """What the resolver would do: addresses opened for a time, by the rule that names them."""
    web = socket.inet_aton(WEB4)
    c.ask(POLICY, [(VM, a.name), *policy(allow=['203.0.113.7'])])
    t.ok(tcp(a.g, WEB4, 80) == 'refused', 'closed before it is opened')
    ask = lambda addr, port=0, ttl=60, r=1: c.ask(OPEN, [(VM, a.name), (ADDR, addr), (PORT, port), (RULE, r), (TTL, ttl)])
    for _ in range(2):
        m = ask(web, 80)
        t.ok(m.kind == OK, f'opened, once and again: {m.text(TEXT) or ""}')
    words = [tcp(a.g, WEB4, 80), tcp(a.g, WEB4, 81), udp(a.g, WEB4, 53)]
    t.ok(words == ['ok', 'refused', 'prohibited'], f'exactly that port: {words}')
    t.ok(counters(c, a).get('+allow[1]') == 1, 'counted by the rule that names it')
    t.ok(ask(web, 0, 2).kind == OK and ask(socket.inet_pton(socket.AF_INET6, WEB6)).kind == OK, 'whole addresses, IPv4 for 2 s and IPv6')
    t.ok(tcp(a.g, WEB4, 81) == 'ok' and tcp(a.g, WEB6, 81) == 'ok', 'they pass')
    for lan in (LAN4, '169.254.169.254', PUBLIC_HOST4):
        ask(socket.inet_aton(lan))
        t.ok(tcp(a.g, lan, 80) == 'refused', f'no answer of a DNS server opens {lan}')
    until = time.monotonic() + 10
    while tcp(a.g, WEB4, 81) == 'ok' and time.monotonic() < until:
        time.sleep(0.2)
    t.ok(tcp(a.g, WEB4, 81) == 'refused' and tcp(a.g, WEB6, 81) == 'ok', 'closed again after its time, the other one not')
    t.ok(ask(web, 0, 60, 0).kind == OK and tcp(a.g, WEB4, 81) == 'ok', 'and opened anew, by another rule')
    c.ask(POLICY, [(VM, a.name), *policy(allow=['203.0.113.7'])])
    t.ok(tcp(a.g, WEB4, 81) == 'refused', 'another policy closes what was opened')


def check_spoof(t, c, host, inet, a, b):
    """Packets with other people's addresses, written straight to the card."""
    c.ask(POLICY, [(VM, a.name), *policy(allow=['0.0.0.0/0', b.guest4])])
    gw_mac = 'ff:ff:ff:ff:ff:ff'
    before = counters_spoofed(a)
    seen = inet.popen('timeout', '3', 'tcpdump', '-n', '-l', '-i', 'any', 'udp port 4444', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    time.sleep(1)
    tap_mac = a.ns.run('cat', '/sys/class/net/tap0/address').stdout.strip() or mac_in(a.ns)
    for src in (b.guest4, '8.8.8.8', '198.51.100.77', '127.0.0.1', a.gw4, '0.0.0.0'):
        for dst_mac in (tap_mac, gw_mac):
            a.guest.raw(netlab.ethernet(dst_mac, a.mac, 0x800, netlab.ipv4(src, WEB4, 17, netlab.udp_packet(1, 4444, b'forged'))))
    a.guest.raw(netlab.ethernet(tap_mac, a.mac, 0x800, netlab.ipv4(a.guest4, WEB4, 17, netlab.udp_packet(1, 4444, b'true'))))
    out = seen.communicate()[0]
    t.ok('4444' in out and out.count(' > ' + WEB4 + '.4444') >= 1 and 'length 6' not in out, f'forged sources do not leave, the true one does: {out!r}')
    t.ok(counters_spoofed(a) >= before + 5, f'and are counted ({before} → {counters_spoofed(a)})')
    # ARP: the guest claims to be its gateway and another VM; the neighbours that count are fixed
    for ip in (a.gw4, b.guest4, a.guest4):
        a.guest.raw(netlab.ethernet('ff:ff:ff:ff:ff:ff', '02:66:66:66:66:66', 0x806, netlab.arp('02:66:66:66:66:66', ip, 'ff:ff:ff:ff:ff:ff', ip)))
    t.ok('02:66:66' not in a.ns.ip('neigh') and tcp(a.g, WEB4, 80) == 'ok', 'false ARP changes nothing')
    # a fragment that would hide the port, and one that overlaps
    c.ask(POLICY, [(VM, a.name), *policy(allow=[(WEB4, 53)])])
    first = bytearray(netlab.ipv4(a.guest4, WEB4, 17, netlab.udp_packet(7, 81, b'x' * 16)))
    first[6:8] = struct.pack('!H', 0x2000)
    first[10:12] = b'\0\0'
    first[10:12] = struct.pack('!H', netlab.checksum(bytes(first[:20])))
    a.guest.raw(netlab.ethernet(tap_mac, a.mac, 0x800, bytes(first)))
    t.ok(udp(a.g, WEB4, 53, data=b'y' * 3000) == 'ok' and udp(a.g, WEB4, 5353, data=b'y' * 3000) == 'prohibited',
         'ports of fragmented datagrams are judged whole')


def mac_in(ns):
    return next(w for l in ns.ip('-o', 'link', 'show', 'tap0').splitlines() for w in [l.split('link/ether ')[1].split()[0]])


def counters_spoofed(vm):
    r = vm.ns.run('nft', 'list', 'counter', 'inet', 'mica', 'spoofed').stdout
    return int(r.split('packets ')[1].split()[0])


def check_flood(t, c, a):
    """Many flows at once: the rest is denied, and those that run go on."""
    c.ask(POLICY, [(VM, a.name), *policy()])
    s = connect(a.g, WEB4, 80)
    s.recv(100)
    tap_mac = mac_in(a.ns)
    for port in range(1, 9000):
        a.guest.raw(netlab.ethernet(tap_mac, a.mac, 0x800, netlab.ipv4(a.guest4, WEB4, 17, netlab.udp_packet(port, 9, b''))))
    denied = counters(c, a).get('-builtin:flows', 0)
    t.ok(0 < denied < 9000, f'more than 8192 flows are too many ({denied} denied)')
    s.sendall(b'still here')
    t.ok(s.recv(100) == b'still here', 'those that run go on')
    s.close()
    c.ask(POLICY, [(VM, a.name), *policy()])
    t.ok(tcp(a.g, WEB4, 80) == 'ok', 'afterwards there is room again')


def check_walls(t, host, a):
    """The namespace itself, as a vmm that was taken over would have it."""
    t.ok(tcp(a.ns, WEB4, 80, 1) != 'ok' and udp(a.ns, WEB4, 53, 1) != 'ok', 'nothing in the namespace begins a flow to the outside')
    # the second wall: the namespace's rules gone, the host still denies
    a.ns.run('nft', 'flush', 'ruleset')
    a.ns.run('nft', 'add', 'table', 'inet', 'mica')
    words = [tcp(a.g, PUBLIC_HOST4, 80), tcp(a.g, '192.168.50.1', 80), tcp(a.g, '2001:db8:1::1', 80)]
    t.ok(words == ['refused'] * 3, f'without rules in the namespace the host is still closed: {words}')


def check_restart(t, program, p, c, host, inet, a, b):
    s = connect(a.g, WEB4, 80)
    s.recv(100)
    os.kill(p.pid, signal.SIGKILL)
    p.wait()
    c.close()
    s.sendall(b'x')
    t.ok(s.recv(10) == b'x' and tcp(a.g, WEB4, 80) == 'ok' and tcp(a.g, LAN4, 80) == 'refused', 'netd killed: flows run, rules hold')
    host.ip('link', 'add', 'mica-00000000ff', 'type', 'bridge')
    host.ip('link', 'set', 'mica-00000000ff', 'alias', 'mica t1')
    host.ip('link', 'add', 'mica-00000000fe', 'type', 'bridge')
    host.ip('link', 'set', 'mica-00000000fe', 'alias', 'mica other')
    host.ip('link', 'add', 'mica-00000000fd', 'type', 'bridge')
    p, c = start([program])
    t.ok(c.ask(HOST_UP, [(OWNER, 't1')]).kind == OK and c.ask(RANGE_UP, RANGE).kind == OK, 'a new netd')
    for vm in (a, b):
        os.close(vm.events) # the old gate is gone
        m = vm.ask(c, ISO_ADOPT, policy(allow=[WEB4]))
        t.ok(m.kind == OK and not m.fds, f'adopts {vm.name}: {m.text(TEXT) or ""}')
    t.ok(c.ask(SYNC).kind == OK, 'and is in step')
    s.sendall(b'y')
    t.ok(s.recv(10) == b'y', 'the old flow still runs')
    t.ok(tcp(a.g, WEB4, 80) == 'ok' and tcp(a.g, LAN4, 80) == 'refused' and tcp(b.g, WEB4, 80) == 'ok', 'the rules are those of the new one')
    links = snapshot(host)[0]
    t.ok('mica-00000000ff' not in links and {'mica-00000000fe', 'mica-00000000fd'} <= links, 'what was left of this owner is gone, what is not its own stays')
    for n in ('fe', 'fd'):
        host.ip('link', 'del', 'mica-00000000' + n)
    s.close()
    return p, c


def main(program):
    t = Tap()
    host = netlab.own_host(program)
    if not host:
        t.skip('isolated networks', 'needs root to make network namespaces')
        return t.done()
    inet, lan = world(host)
    web = inet.popen(sys.executable, '-m', 'http.server', '8080', '--bind', WEB4, '--directory', os.path.dirname(os.path.abspath(__file__)),
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    servers = [Servers(ns, tcp=(80, 81), udp=(53, 5353)) for ns in (inet, lan, host)]
    begun = snapshot(host)
    p, c = start([program])
    try:
        m = c.ask(HOST_UP, [(OWNER, 't1')])
        t.ok(m.kind == OK, f'our table stands: {m.text(TEXT) or ""}')
        m = c.ask(RANGE_UP, RANGE)
        t.ok(m.kind == OK and not m.text(TEXT), f'a group\'s range: {m.text(TEXT) or ""}')
        t.ok(c.ask(SYNC).kind == OK, 'in step')
        check_refusals(t, c)
        a, b = Vm('iso-1', 0), Vm('iso-2', 1)
        for vm in (a, b):
            m = vm.up(c, policy())
            if not t.ok(m.kind == OK and len(m.fds) == 1, f'{vm.name} is up: {m.text(TEXT) or ""}'):
                return t.done()
            servers.append(Servers(vm.g, tcp=(80,), udp=(5353,)))
        check_open(t, host, inet, lan, a, b)
        check_policy(t, c, inet, a, b)
        check_running(t, c, a)
        check_names(t, c, a)
        check_spoof(t, c, host, inet, a, b)
        check_flood(t, c, a)
        c.ask(POLICY, [(VM, a.name), *policy(allow=[WEB4])])
        p, c = check_restart(t, program, p, c, host, inet, a, b)
        check_walls(t, host, a)
        t.ok(c.ask(VM_DOWN, [(VM, a.name)]).kind == OK and c.ask(VM_DOWN, [(VM, a.name)]).kind == OK, 'a VM goes, also twice')
        a.end()
        b.end() # its vmm just ends
        t.ok(c.ask(VM_DOWN, [(VM, b.name)]).kind == OK, 'the other one')
        t.ok(c.ask(RANGE_DOWN, [(NAME, 'iso')]).kind == OK, 'the range goes')
        t.ok(c.ask(HOST_DOWN).kind == OK, 'and our table')
        now = snapshot(host)
        t.ok(now == begun, f'nothing is left: {[x ^ y for x, y in zip(now, begun)]}')
    finally:
        web.kill()
        for s in servers:
            s.close()
    c.close()
    t.ok(p.wait(5) == 0, 'netd ends with its channel')
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
