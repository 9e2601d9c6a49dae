#!/usr/bin/env python3
"""DNS and rules on bridges end to end without KVM: real core, front, netd, gate, CLI and, for port 53, the real jail; a VM's process is made up, its guest is a
namespace with real dig behind a real bridge; upstream is dnsmasq. Guests are found by name, and nobody but they is answered.

usage: gate_bridge.py BIN-FOLDER AGENT   (needs root; re-executes itself in namespaces of its own)
"""
import glob, os, re, shutil, socket, struct, subprocess, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate_net, netlab, stack
from frames import Chan, ERR, OK, STATUS, TEXT, Tap
from gate_net import DNS, LAN, WEB, until, world
from netlab import Guest, Servers, ping, tcp, udp

N_TAP_UP, MAC, GUEST4, GUEST6 = 18, 27, 28, 30
J_DNS, ADDR4, ADDR6, LINK = stack.J_DNS, 25, 26, 27
t = Tap()

# web and db name no network, so they share a bridge; far has one of its own; mute's guests have no DNS at all, own's a server that somebody else runs;
# what ruled's VMs may reach is limited
CONFIG = """config:
  host_groups:
  - {name: web, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53]}
  - {name: db, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53]}
  - {name: far, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53], network: {bridge: brfar, gateway: 10.77.2.1/24}}
  - {name: mute, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [127.0.0.1, 127.0.0.1], network: {bridge: brmute, gateway: 10.77.3.1/24}}
  - {name: own, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [10.77.4.1], network: {bridge: brown, gateway: 10.77.4.1/24}}
  - {name: ruled, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53],
     network: {bridge: brruled, gateway: 10.77.5.1/24, allow: ["web.example.com:80", "198.51.100.9"]}}
  api:
    port: %(port)d
    tls: {enabled: %(tls)s}
"""


class Jail(gate_net.Jail):
    """Port 53 is the real jail's."""
    def __init__(self, d, chan):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        vmm = os.open(os.path.join(d.bin, 'vmm'), os.O_RDONLY)
        self.real, self.asked = stack.program([os.path.join(d.bin, 'jail')], [theirs.fileno(), vmm]), []
        theirs.close()
        os.close(vmm)
        self.to_real = Chan(ours)
        super().__init__(d, chan)

    def serve(self, m):
        if m.kind != J_DNS:
            return super().serve(m)
        r = self.to_real.ask(J_DNS, m.list)
        self.asked.append((m.text(LINK), r.kind))
        self.answer(r.kind, r.list, m.id, r.fds)
        for fd in r.fds:
            os.close(fd)


class Relay(gate_net.Relay):
    makes, known_by = N_TAP_UP, GUEST4


gate_net.Jail, gate_net.Relay, gate_net.CONFIG = Jail, Relay, CONFIG


class Daemon(gate_net.Daemon):
    def launch(self, group, *words):
        before, files = set(self.netd.taps), set(self.cmdlines())
        name = re.search(r'Hostname:\s+(\S+)', self.mica('vm', 'launch', group, *words).stdout).group(1)
        ip = next(iter(until(lambda: set(self.netd.taps) - before)))
        path = next(iter(until(lambda: set(self.cmdlines()) - files)))
        text = until(lambda: open(path).read())
        return Vm(self, name, ip, dict(w.split('=', 1) for w in text.split() if '=' in w))

    def cmdlines(self):
        return glob.glob(os.path.join(self.dir, 'vm', '*', 'cmdline'))

    def end(self):
        """core and all that are its own; VMs live on."""
        self.core.kill()
        for p in (self.core, self.front, self.gate, self.real_netd):
            p.wait(10)
        self.jail.to_real.close()
        self.jail.real.wait(10)
        os.close(self.status)


class Vm:
    def __init__(self, d, name, guest4, words):
        self.d, self.name, self.ip = d, name, guest4.split('/')[0]
        fd, q = d.netd.taps[guest4]
        self.gw, self.gw6, self.dns, self.ip6 = words['MICA_GW'], words['MICA_GW6'], words['MICA_DNS'], q.text(GUEST6).split('/')[0]
        self.guest = Guest(fd, ':'.join('%02x' % b for b in q.get(MAC)), q.text(GUEST4), self.gw, q.text(GUEST6), self.gw6)
        self.g = self.guest.ns
        until(lambda: ping(self.g, self.gw) and ping(self.g, self.gw6))

    record = gate_net.Vm.record

    def dig(self, *words, at=None):
        return status(self.g, at or self.gw, *words)

    def short(self, *words, at=None):
        return self.g.run('dig', f'@{at or self.gw}', '+tries=1', '+time=5', '+nocookie', '+short', *words).stdout.split()


def status(ns, at, *words, seconds=5):
    out = ns.run('dig', f'@{at}', '+tries=1', f'+time={seconds}', '+nocookie', *words).stdout
    return next((l.split('status: ')[1].split(',')[0] for l in out.splitlines() if 'status: ' in l), 'none')


def names(a, b, q):
    t.ok(a.dns == f'{a.gw},{DNS}', f'a guest asks its gateway first, then the servers of its group: {a.dns}')
    t.ok(a.short(b.name) == [b.ip] and a.short(b.name + '.internal') == [b.ip] and b.short(a.name) == [a.ip] and a.short(a.name) == [a.ip], 'VMs of a group by name')
    t.ok(a.short(b.name, 'AAAA') == [b.ip6] and a.short(b.name + '.internal', 'AAAA') == [b.ip6], 'their IPv6 addresses')
    t.ok(a.short('-x', b.ip) == [b.name + '.internal.'] and a.short('-x', b.ip6) == [b.name + '.internal.'], 'and back')
    t.ok(a.short('gateway.internal') == [a.gw], 'the gateway has a name too')
    t.ok(a.short('+tcp', b.name) == [b.ip], 'by TCP')
    t.ok(a.short(b.name, at=a.gw6) == [b.ip] and a.short('+tcp', b.name, 'AAAA', at=a.gw6) == [b.ip6], 'by IPv6')
    t.ok(a.short('web.example.com') == [WEB] and a.short('+tcp', 'web.example.com', 'AAAA') == ['2001:db8:1::2'], 'everything else is asked upstream')
    t.ok(a.short('lan.example.com') == [LAN], 'an answer with a private address is an answer here')
    t.ok(a.dig('x.lan') == a.dig('web-99') == status(a.g, DNS, 'x.lan') == 'REFUSED', 'a name that nobody knows gets what upstream says, whatever it looks like')
    t.ok(q.gw == a.gw and q.short(q.name) == [q.ip] and q.dig(a.name) != 'NOERROR' and q.short('-x', a.ip) == [], 'another group on the same bridge has its own names')


def walls(a, f, lan, host):
    t.ok(ping(lan, a.gw) and ping(lan, f.gw), 'a machine of the LAN reaches the gateway\'s address')
    t.ok(status(lan, a.gw, a.name, seconds=1) == 'none' and status(lan, a.gw, '+tcp', 'web.example.com', seconds=1) == 'none', 'but gets no answer, by UDP and TCP')
    t.ok(status(lan, '192.168.50.1', a.name, seconds=1) == 'none', 'nor at the host\'s own address')
    t.ok(status(f.g, a.gw, a.name, seconds=1) == 'none' and f.short(f.name) == [f.ip], 'a VM of another bridge is answered at its own gateway alone')
    t.ok(status(host, a.gw, a.name, seconds=1) == 'none', 'the host neither')
    # a machine that was put onto the bridge is no VM
    stranger = netlab.Ns()
    netlab.veth(host, 'stranger', stranger, 'eth0')
    host.ip('link', 'set', 'stranger', 'master', 'brvm0')
    stranger.ip('addr', 'add', '192.168.137.250/24', 'dev', 'eth0')
    t.ok(ping(stranger, a.gw) and status(stranger, a.gw, a.name, seconds=1) == 'none', 'nor is what else stands on the bridge')
    host.ip('link', 'del', 'stranger')
    stranger.close()


def flood(a, b):
    def go():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.settimeout(1)
        failed = 0
        for i in range(3000):
            s.sendto(struct.pack('!6H', i, 0x100, 1, 0, 0, 0) + b'\5web-1\0\0\1\0\1', (a.gw, 53))
            s.setblocking(False)
            try:
                failed += s.recv(999)[3] & 15 == 2
            except BlockingIOError:
                pass
            s.setblocking(True)
        s.settimeout(1)
        try:
            while True: # what is still on its way, on a busy machine
                failed += s.recv(999)[3] & 15 == 2
        except TimeoutError:
            return failed
    failed = a.g.inside(go)
    t.ok(failed, f'who asks too much is told so: {failed}')
    t.ok(b.short(a.name) == [a.ip], 'and others do not notice')
    t.ok(until(lambda: a.short(b.name) == [b.ip]), 'later it is answered again')


def counted(d, a):
    def query():
        r = subprocess.run(['curl', '-s', '--unix-socket', d.unix, 'http://x/metrics'], capture_output=True, text=True).stdout
        return {l.split('{')[0] for l in r.splitlines() if f'"{a.name}"' in l and l.startswith('mica_net_') and not l.endswith(' 0')}
    t.ok(until(lambda: 'mica_net_dns_queries_total' in query()), 'questions are counted by VM')
    t.ok(not {n for n in query() if 'flows' in n}, 'flows are not')


def others(d):
    m, o = d.launch('mute'), d.launch('own')
    t.ok(m.dns == '127.0.0.1,127.0.0.1' and m.dig('web.example.com', '+time=1') == 'none', f'no DNS at all stays no DNS at all: {m.dns}')
    t.ok(o.dns == '10.77.4.1' and not any('brown' in x or 'brmute' in x for x, _ in d.jail.asked), 'and port 53 is left to who serves it, where dns_servers name the gateway')
    r = d.jail.to_real
    bad = lambda *f: r.ask(J_DNS, f).kind == ERR
    t.ok(bad((ADDR4, '0.0.0.0'), (LINK, 'brmute')) and bad((ADDR4, '224.0.0.1'), (LINK, 'brmute')) and bad((ADDR4, '10.77.3.1')) and bad((LINK, 'brmute')) and
         bad((ADDR4, '10.77.3.1'), (LINK, 'x' * 16)) and bad((ADDR4, '10.77.3.1'), (LINK, 'nosuch0')), 'jail opens no other address, and none without a link')
    m = r.ask(J_DNS, [(ADDR4, '10.77.3.1'), (LINK, 'brmute')])
    s = [socket.socket(fileno=fd) for fd in m.fds]
    t.ok([x.getsockname() for x in s] == [('10.77.3.1', 53)] * 2 and [x.type for x in s] == [socket.SOCK_DGRAM, socket.SOCK_STREAM] and
         all(x.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b'\0') == b'brmute' for x in s), 'its sockets are bound to the bridge')
    t.ok(bad((ADDR4, '10.77.3.1'), (LINK, 'brmute')), 'a second time it is refused')
    for x in s:
        x.close()


def rules(d, a, host):
    """a and b have the group's rules, free none that hold: its lists are empty."""
    gate_net.t = t
    b, free = d.launch('ruled'), d.launch('ruled', '--allow', 'none')
    t.ok(a.dns == a.gw and tcp(a.g, WEB, 80) == 'refused' and tcp(a.g, '198.51.100.9', 80) == 'ok', f'with rules a guest asks its gateway alone, and reaches what they name: {a.dns}')
    gate_net.policy_and_packets(d, a)
    t.ok(a.short('web.example.com') == [WEB] and tcp(a.g, WEB, 80) == 'ok' and tcp(a.g, WEB, 81) == 'refused', 'a name opens its address')
    gate_net.policy_and_packets(d, a)
    t.ok(a.dig('also.example.com') == 'REFUSED' and status(a.g, DNS, 'also.example.com', seconds=2) != 'NOERROR', 'another name is refused, and no other server is asked')
    t.ok(a.short(b.name) == [b.ip] and tcp(b.g, a.ip, 80) == 'ok' and d.explain(a.name, b.ip + ':80')['rule'] == 'bridge', 'VMs of the bridge are reached, by name too')
    t.ok(tcp(host, a.ip, 80) == 'ok' and tcp(a.g, '192.168.50.1', 80) == 'refused', 'the host reaches them, they not the host')
    t.ok(tcp(free.g, LAN, 80) == 'ok' and tcp(free.g, WEB, 81) == 'ok' and free.dig('also.example.com') == 'NOERROR' and
         'nothing is denied' in d.mica('policy', 'show', free.name).stdout, 'one without any entry is not judged')
    find = lambda vm, **k: next((l for l in reversed(vm.record()) if all(l.get(x) == v for x, v in k.items())), None)
    t.ok(until(lambda: find(a, event='denied', dst=LAN, dport=80, rule='builtin:lan') and find(a, event='denied', dst='169.254.169.254', rule='builtin:metadata') and
         find(a, event='dns', name='also.example.com', verdict='denied')), 'what was denied is on record')
    t.ok(until(lambda: find(a, event='start', dst=WEB, dport=80, rule='allow[0]', name='web.example.com')), 'so is what was allowed')
    t.ok(not free.record(), 'of one without rules nothing is')
    r = d.mica('policy', 'set', free.name, '--allow', '198.51.100.9')
    t.ok(r.returncode == 0 and tcp(free.g, WEB, 81) == 'refused' and tcp(free.g, '198.51.100.9', 80) == 'ok' and tcp(a.g, WEB, 80) == 'ok', 'rules that come later hold at once')
    t.ok(until(lambda: find(free, event='denied', dst=WEB, dport=81, rule='default:deny')), 'and its record begins')
    d.mica('policy', 'set', free.name, '--allow', 'none')
    t.ok(tcp(free.g, WEB, 81) == 'ok' and tcp(free.g, LAN, 80) == 'ok', 'and go again')
    d.mica('policy', 'set', '--group', 'ruled', '--allow', '198.51.100.3')
    t.ok(all(tcp(x.g, '198.51.100.3', 80) == 'ok' and tcp(x.g, '198.51.100.9', 80) == 'refused' for x in (a, b)) and tcp(free.g, LAN, 80) == 'ok', 'those of the group reach all that have none of their own')
    end = until(lambda: find(a, event='end', dst=WEB, rule='allow[0]', name='web.example.com'))
    t.ok(end and end['bytes_out'] > 0 and end['bytes_in'] > 0, f'flows that were judged again ended, with their bytes: {end}')
    gate_net.policy_and_packets(d, a)
    for entry, word in ((b.ip, "lies in the network of bridge 'brruled'"), ('10.77.5.0/25', 'mode: isolated')):
        r = d.mica('policy', 'set', a.name, '--drop', entry, ok=False)
        t.ok(r.returncode == 1 and word in r.stderr, f'what would not hold on a bridge is refused: {r.stderr.splitlines()[1:2]}')
    r = d.mica('policy', 'set', '--group', 'own', '--allow', 'web.example.com', ok=False)
    t.ok(r.returncode == 1 and 'names are enforced by mica' in r.stderr, 'so are names where another resolver is used')
    return b, free


def rules_again(d, a, b, free):
    d.end()
    t.ok(tcp(a.g, '198.51.100.3', 80) == 'ok' and tcp(a.g, WEB, 81) == 'refused', 'while no daemon runs rules hold on bridges')
    d.begin()
    t.ok(until(lambda: a.short(b.name) == [b.ip]) and tcp(a.g, '198.51.100.3', 80) == 'ok' and tcp(a.g, WEB, 81) == 'refused' and tcp(free.g, WEB, 81) == 'ok', 'and after it, as they were changed')
    t.ok(until(lambda: tcp(b.g, WEB, 81) == 'refused' and any(l['event'] == 'denied' and l['dport'] == 81 for l in b.record())), 'their record goes on')
    d.mica('policy', 'set', '--group', 'ruled', '--reset')
    t.ok(tcp(a.g, '198.51.100.9', 80) == 'ok' and tcp(a.g, '198.51.100.3', 80) == 'refused', 'the file\'s are given back')
    d.mica('vm', 'delete', b.name)
    t.ok(until(lambda: 'mica' in netlab.here().run('nft', 'list', 'tables').stdout and netlab.here().run('nft', 'list', 'tables').stdout.count('.vmtap') == 1), 'a VM\'s rules go with it')


def again(d, a, b):
    d.end()
    t.ok(a.dig(b.name, '+time=1') == 'none' and status(a.g, DNS, 'web.example.com') == 'NOERROR', 'without a daemon the second server answers')
    d.begin()
    t.ok(until(lambda: a.short(b.name) == [b.ip]) and a.short('web.example.com') == [WEB], 'the next daemon serves them again')
    d.mica('vm', 'delete', b.name)
    t.ok(until(lambda: a.dig(b.name) != 'NOERROR'), 'a VM that is deleted has no name')


def taken(d, host):
    d.end()
    s = host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('0.0.0.0', 53))
    d.begin()
    c = d.launch('web')
    t.ok(c.dns == DNS and c.short('web.example.com', at=DNS) == [WEB], f'where the host has a DNS server of its own guests ask theirs: {c.dns}')
    t.ok("bridge 'brvm0'" in d.notes() and 'another program listens there' in d.notes(), 'and that is said')
    s.close()


def main(bin_folder, agent):
    if os.geteuid() != 0 or not all(map(shutil.which, ('dnsmasq', 'dig', 'curl', 'ip'))):
        t.skip('gate_bridge', 'needs root, dnsmasq, dig, curl and ip')
        return t.done()
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-n', '-m', sys.executable, os.path.abspath(__file__), bin_folder, agent])
    host = netlab.here()
    inet, lan, dns = world(host)
    for net in ('192.168.137.0/24', '10.77.0.0/16'):
        lan.ip('route', 'add', net, 'via', '192.168.50.1')
    servers = [Servers(inet, tcp=(80, 81)), Servers(lan, tcp=(80,)), Servers(host, tcp=(80,))]
    folder = stack.tempfile.mkdtemp(prefix='mica-gate-', dir='/var/tmp')
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=48m', 'none', folder], check=True)
    os.chmod(folder, 0o755)
    d = None
    try:
        d = Daemon(bin_folder, agent, folder)
        a, b, q, f = d.launch('web'), d.launch('web'), d.launch('db'), d.launch('far')
        t.ok(sorted(d.jail.asked) == [('brfar', OK), ('brruled', OK), ('brvm0', OK)], f'port 53 of each bridge: {d.jail.asked}')
        names(a, b, q)
        walls(a, f, lan, host)
        flood(a, b)
        counted(d, a)
        others(d)
        r = d.launch('ruled')
        servers.append(Servers(r.g, tcp=(80,)))
        more = rules(d, r, host)
        rules_again(d, r, *more)
        again(d, a, b)
        taken(d, host)
        d.close()
    finally:
        for p in (dns, *((d.core, d.front, d.gate, d.real_netd, d.jail.real, *d.processes.values()) if d else ())):
            p.kill()
        subprocess.run(['umount', '-l', folder])
        shutil.rmtree(folder, ignore_errors=True)
    return t.done()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
