#!/usr/bin/env python3
"""Isolated VMs end to end without KVM: real core, front, netd, gate and CLI; a VM's process is made up, its guest is a namespace with real dig, curl and
ping; the world is dnsmasq and web servers in namespaces. What the policy says, what packets do and what the record tells must agree.

usage: gate_net.py BIN-FOLDER AGENT   (needs root; re-executes itself in namespaces of its own)
"""
import json, os, re, shutil, socket, subprocess, sys, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames, netlab, stack
from frames import Chan, OK, Tap
from netlab import Guest, Ns, Servers, ping, tcp, udp

WEB, WEB_ALSO, DNS, LAN = '198.51.100.2', '198.51.100.3', '198.51.100.53', '192.168.50.2'
N_ISO_UP, VM, MAC, GUEST4, GW4, GUEST6, GW6 = 25, 25, 27, 28, 29, 30, 31
t = Tap()

CONFIG = """config:
  host_groups:
  - {name: sbox, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53],
     network: {mode: isolated, range: 169.254.100.0/22, allow: ["web.example.com:80", "198.51.100.9"]}}
  - {name: open, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53], network: {mode: isolated, range: 169.254.104.0/22}}
  - {name: must, count: 0, vcpu: 1, ram_mb: 64, storage_size: 2M, dns_servers: [198.51.100.53],
     network: {mode: isolated, range: 169.254.108.0/22, allow: ["198.51.100.0/24"], audit: required}}
  api:
    port: %(port)d
    tls: {enabled: %(tls)s}
"""


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        v = what()
        if v:
            return v
        time.sleep(0.05)
    return what()


class Jail(stack.Jail):
    """J_NETNS with a real namespace, and processes that outlive their daemon."""
    vmms = property(lambda self: self.stack.processes, lambda self, v: None)

    def serve(self, m):
        name = m.text(stack.JT_NAME)
        if m.kind == stack.J_ADOPT and name in self.vmms:
            pidfd = os.pidfd_open(m.num(stack.JT_PID))
            self.answer(OK, [], m.id, [pidfd])
            os.close(pidfd)
            return
        if m.kind != stack.J_NETNS:
            super().serve(m)
            return
        ns = self.stack.spaces.setdefault(name, Ns())
        fds = netlab.jail_opens(ns)

        def dns():
            out = []
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                s = socket.socket(socket.AF_INET6, kind)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(('::', 53))
                if kind == socket.SOCK_STREAM:
                    s.listen(16)
                out.append(s.detach())
            return out
        fds += ns.inside(dns)
        ns.ip('link', 'set', 'lo', 'up')
        self.answer(OK, [], m.id, fds)
        for fd in fds:
            os.close(fd)

    def reap(self, name, p):
        super().reap(name, p)
        ns = self.stack.spaces.pop(name, None)
        if ns:
            ns.close()


class Relay(threading.Thread):
    """Between core and the real netd: keeps a copy of each tap, and what was asked for it."""
    makes, known_by = N_ISO_UP, VM

    def __init__(self, core, netd):
        super().__init__(daemon=True)
        self.core, self.netd, self.asked, self.taps = core, netd, {}, {}
        for c in (core, netd):
            c.sock.settimeout(None)
        threading.Thread(target=self.pump, args=(netd, core), daemon=True).start()
        self.start()

    def run(self):
        self.pump(self.core, self.netd)

    def pump(self, a, b):
        while True:
            try:
                m = a.recv()
                if m is None:
                    break
                if a is self.core and m.kind == self.makes:
                    self.asked[m.id] = m
                elif a is self.netd and m.kind == OK and m.id in self.asked:
                    q = self.asked.pop(m.id)
                    self.taps[q.text(self.known_by)] = (os.dup(m.fds[0]), q)
                b.send(m.kind, m.list, ident=m.id, fds=m.fds)
                for fd in m.fds:
                    os.close(fd)
            except OSError:
                break
        b.sock.shutdown(socket.SHUT_RDWR)


class Daemon(stack.Stack):
    def __init__(self, bin_folder, agent, folder):
        self.dir, self.spaces, self.bin, self.processes = folder, {}, bin_folder, {}
        self.agent, self.tls, self.port = os.path.abspath(agent), False, stack.free_port()
        self.state = os.path.join(self.dir, 'state')
        for name, data in (('mica.yaml', (CONFIG % dict(port=self.port, tls='false')).encode()), ('kernel', b'\x7fELF'), ('image', bytes(1 << 16))):
            with open(os.path.join(self.dir, name), 'wb') as f:
                f.write(data)
        self.begin()

    def begin(self):
        front, jail, netd, real, gate = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(5)]
        status_r, status_w = os.pipe()
        null = os.open('/dev/null', os.O_RDONLY)
        files = [os.open(os.path.join(self.dir, n), os.O_RDONLY) for n in ('kernel', 'image')]
        self.core = stack.program([os.path.join(self.bin, 'core'), '--config', os.path.join(self.dir, 'mica.yaml'), '--state', self.state, '--flavour', 'min'],
                                  [front[0].fileno(), jail[0].fileno(), netd[0].fileno()] + files + [status_w, null, gate[0].fileno()])
        ids = lambda n: ['--uid', str(1835597824 + n), '--gid', str(1835597824 + n)]
        self.front = stack.program([os.path.join(self.bin, 'front'), *ids(1)], [front[1].fileno()])
        self.gate = stack.program([os.path.join(self.bin, 'gate'), *ids(4)], [gate[1].fileno()])
        self.real_netd = stack.program([os.path.join(self.bin, 'netd')], [real[1].fileno()])
        for fd in files + [status_w, null]:
            os.close(fd)
        for s in (front[0], front[1], jail[0], netd[0], gate[0], gate[1], real[1]):
            s.close()
        self.jail, self.netd = Jail(self, Chan(jail[1])), Relay(Chan(netd[1]), Chan(real[0]))
        self.lines = self.wait_ready(status_r)
        self.status = status_r
        os.set_blocking(status_r, False)
        self.unix = os.path.join(self.state, 'api.sock')

    def notes(self):
        try:
            self.lines += os.read(self.status, 65536).decode().splitlines()
        except BlockingIOError:
            pass
        return '\n'.join(self.lines)

    def mica(self, *words, ok=True, timeout=30):
        r = subprocess.run([os.path.join(self.bin, 'mica'), *words, '--socket', self.unix], capture_output=True, text=True, timeout=timeout)
        if ok and r.returncode:
            print('#', words, r.stderr)
        return r

    def launch(self, group, *words):
        r = self.mica('vm', 'launch', group, *words)
        name = re.search(r'Hostname:\s+(\S+)', r.stdout)
        return Vm(self, name.group(1)) if name else None

    def explain(self, name, target):
        r = self.mica('policy', 'explain', name, target, '--json', ok=False)
        return json.loads(r.stdout) if not r.returncode else {'verdict': r.stderr}


class Vm:
    def __init__(self, d, name):
        self.d, self.name = d, name
        got = until(lambda: d.netd.taps.get(name))
        fd, q = got
        self.ip, self.gw, self.gw6 = q.text(GUEST4).split('/')[0], q.text(GW4), q.text(GW6)
        self.guest = Guest(fd, ':'.join('%02x' % b for b in q.get(MAC)), q.text(GUEST4), self.gw, q.text(GUEST6), self.gw6)
        self.g = self.guest.ns
        until(lambda: ping(self.g, self.gw))

    def dig(self, *words):
        out = self.g.run('dig', f'@{self.gw}', '+tries=1', '+time=5', '+nocookie', *words).stdout
        return next((l.split('status: ')[1].split(',')[0] for l in out.splitlines() if 'status: ' in l), 'none')

    def short(self, *words):
        return self.g.run('dig', f'@{self.gw}', '+tries=1', '+time=5', '+nocookie', '+short', *words).stdout.split()

    def record(self):
        path = os.path.join(self.d.state, 'vm', self.name, 'net.jsonl')
        return [json.loads(l) for l in open(path)] if os.path.exists(path) else []


def world(host):
    inet, lan = Ns(), Ns()
    host.ip('link', 'set', 'lo', 'up')
    netlab.veth(host, 'wan', inet, 'eth0')
    netlab.veth(host, 'lan', lan, 'eth0')
    host.ip('addr', 'add', '198.51.100.1/24', 'dev', 'wan')
    host.ip('addr', 'add', '2001:db8:1::1/64', 'dev', 'wan', 'nodad')
    host.ip('addr', 'add', '192.168.50.1/24', 'dev', 'lan')
    host.ip('route', 'add', 'default', 'via', WEB)
    for a in (WEB, WEB_ALSO, DNS, '198.51.100.9'):
        inet.ip('addr', 'add', a + '/24', 'dev', 'eth0')
    inet.ip('addr', 'add', '2001:db8:1::2/64', 'dev', 'eth0', 'nodad')
    lan.ip('addr', 'add', LAN + '/24', 'dev', 'eth0')
    dns = inet.popen('dnsmasq', '--no-daemon', '--no-resolv', '--no-hosts', '--bind-interfaces', f'--listen-address={DNS}', '--user=root', '--pid-file', '--local-ttl=30',
                     f'--host-record=web.example.com,{WEB},2001:db8:1::2', f'--host-record=also.example.com,{WEB_ALSO}', f'--host-record=lan.example.com,{LAN}',
                     stderr=subprocess.DEVNULL)
    return inet, lan, dns


def policy_and_packets(d, a):
    """What explain says is what packets do."""
    for target, addr, port in (('198.51.100.2:80', WEB, 80), ('198.51.100.2:81', WEB, 81), ('198.51.100.3:80', WEB_ALSO, 80), ('198.51.100.9:80', '198.51.100.9', 80),
                               (LAN + ':80', LAN, 80), ('169.254.169.254:80', '169.254.169.254', 80), (a.gw + ':80', a.gw, 80), ('[2001:db8:1::2]:80', '2001:db8:1::2', 80)):
        says, does = d.explain(a.name, target), tcp(a.g, addr, port)
        t.ok((says['verdict'] == 'allowed') == (does == 'ok') and does in ('ok', 'refused'), f'{a.name} {target}: explain says {says["verdict"]} by {says.get("rule")}, a connection: {does}')


def names(d, a):
    t.ok(tcp(a.g, WEB, 80) == 'refused', 'before its name is asked the address is closed, at once')
    policy_and_packets(d, a)
    t.ok(a.short('web.example.com') == [WEB], 'the name is answered')
    t.ok(tcp(a.g, WEB, 80) == 'ok', 'and opens its address')
    policy_and_packets(d, a)
    e = d.explain(a.name, 'http://web.example.com/x')
    t.ok(e['verdict'] == 'allowed' and e['rule'] == 'allow[0]' and e['entry'] == 'web.example.com:80' and e['addresses'][0]['address'] == WEB and 30 < e['addresses'][0]['open_s'] <= 130,
         f'explain knows what is open by name: {e}')
    t.ok(d.explain(a.name, 'https://web.example.com/')['rule'] == 'default:deny', 'and that another port is not')
    t.ok(a.dig('also.example.com') == 'REFUSED' and d.explain(a.name, 'also.example.com')['rule'] == 'default:deny', 'another name is refused')
    t.ok(a.short('web.example.com', 'AAAA') == ['2001:db8:1::2'] and tcp(a.g, '2001:db8:1::2', 80) == 'ok', 'IPv6 by name')
    got = a.g.run('curl', '-s', '--http0.9', '--max-time', '2', '--resolve', f'web.example.com:80:{a.short("web.example.com")[0]}', 'http://web.example.com/')
    t.ok('GET / HTTP/1.1' in got.stdout, f'curl: {got.stdout[:30]!r} {got.stderr}')
    text = d.mica('policy', 'explain', a.name, '10.0.0.5:22').stdout
    t.ok(text.startswith('denied by builtin:lan'), f'in words: {text.strip()}')
    r = d.mica('policy', 'explain', a.name, '*.example.com', ok=False)
    t.ok(r.returncode == 1 and 'stands for many' in r.stderr, 'a suffix cannot be explained')


def changed(d, a):
    s = netlab.connect(a.g, '198.51.100.9', 80)
    s.recv(100)
    r = d.mica('policy', 'set', a.name, '--allow', '*.example.com', '--allow', '198.51.100.0/28:81')
    t.ok('rules of its own' in r.stdout and 'allow[0]  *.example.com' in r.stdout, 'another policy, in force when the command is back')
    t.ok(tcp(a.g, '198.51.100.9', 80) == 'refused' and tcp(a.g, WEB, 81) == 'ok', 'new flows follow it')
    word = netlab.goes_on(s)
    t.ok(word != 'goes on', f'a flow that runs is judged again: {word}')
    t.ok(tcp(a.g, WEB, 80) == 'ok', 'what a name opened and still holds stays open')
    t.ok(a.short('also.example.com') == [WEB_ALSO] and tcp(a.g, WEB_ALSO, 80) == 'ok', 'its names')
    t.ok(a.dig('lan.example.com') == 'REFUSED' and tcp(a.g, LAN, 80) == 'refused', 'a name that leads into the LAN opens nothing')
    policy_and_packets(d, a)
    r = d.mica('policy', 'set', a.name, '--drop', 'http://x', ok=False)
    t.ok(r.returncode == 1 and 'is a URL' in r.stderr, 'a bad entry is refused with a sentence')
    t.ok('allow=*.example.com' in open(os.path.join(d.state, 'vm', a.name, 'record')).read(), 'it stands in the record')
    d.mica('policy', 'set', a.name, '--allow', 'none', '--drop', '198.51.100.3')
    t.ok(tcp(a.g, WEB_ALSO, 80) == 'refused' and tcp(a.g, WEB, 80) == 'ok' and a.short('web.example.com') == [WEB], 'drop lists')
    policy_and_packets(d, a)
    r = d.mica('policy', 'set', a.name, '--reset')
    t.ok('rules of the host group' in r.stdout and tcp(a.g, WEB_ALSO, 80) == 'refused', 'and back to the host group')


def record(d, a):
    find = lambda **k: next((l for l in reversed(a.record()) if all(l.get(x) == v for x, v in k.items())), None)
    denied = until(lambda: find(event='denied', dst=WEB_ALSO, dport=80, name='also.example.com', rule='default:deny'))
    t.ok(denied and denied['rule'] == 'default:deny' and denied['proto'] == 'tcp' and denied['src'] == a.ip and denied['name'] == 'also.example.com', f'denied: {denied}')
    t.ok(until(lambda: find(event='denied', dst='169.254.169.254', rule='builtin:metadata')) and find(event='denied', dst=LAN, rule='builtin:lan'), 'by builtin rules')
    begun = until(lambda: find(event='start', dst=WEB, dport=80, rule='allow[0]'))
    t.ok(begun and begun['rule'] == 'allow[0]' and begun['name'] == 'web.example.com', f'allowed: {begun}')
    end = until(lambda: find(event='end', dst=WEB, rule='allow[0]', name='web.example.com'))
    t.ok(end and end['bytes_out'] > 0 and end['bytes_in'] > 0 and end['rule'].startswith('allow'), f'its end: {end}')
    t.ok(find(event='dns', name='also.example.com', verdict='denied') and find(event='dns', note='rebinding', dst=LAN), 'questions')
    shown = d.mica('vm', 'net', 'log', a.name).stdout
    t.ok('198.51.100.2:80 (web.example.com)  allow[0]' in shown and 'builtin:metadata' in shown and ' dns ' in shown, 'vm net log shows them')
    last = d.mica('vm', 'net', 'log', a.name, '-n', '3', '--json').stdout.splitlines()
    t.ok(len(last) == 3 and all(json.loads(l)['vm'] == a.name for l in last), 'the last lines, as JSON')
    p = subprocess.Popen([os.path.join(d.bin, 'mica'), 'vm', 'net', 'log', a.name, '-f', '-n', '1', '--json', '--socket', d.unix], stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    tcp(a.g, '198.51.100.77', 4711)
    seen = []
    threading.Thread(target=lambda: [seen.append(l) for l in p.stdout], daemon=True).start()
    t.ok(until(lambda: any('198.51.100.77' in l for l in seen)), 'and goes on with what comes')
    p.kill()
    out = os.path.join(d.dir, 'rules.yaml')
    d.mica('policy', 'learn', a.name, '--out', out)
    text = open(out).read()
    t.ok('- "web.example.com:80"' in text and '- "198.51.100.77:4711"' in text and f'# - "{LAN}:80"' in text and 'also.example.com:80' in text, 'learn writes what was tried')
    entries = [l.split('"')[1] for l in text.splitlines() if l.startswith('  - ')]
    r = d.mica('policy', 'set', a.name, *[w for e in entries for w in ('--allow', e)])
    t.ok(r.returncode == 0 and a.short('also.example.com') == [WEB_ALSO] and tcp(a.g, WEB_ALSO, 80) == 'ok', 'and that can be set')
    d.mica('policy', 'set', a.name, '--reset')
    token = open(os.path.join(d.state, 'auth', 'token')).read().strip()
    m = subprocess.run(['curl', '-s', '-H', f'Authorization: Bearer {token}', f'http://127.0.0.1:{d.port}/metrics'], capture_output=True, text=True).stdout
    n = re.search(r'mica_net_flows_total\{host_group="sbox",vm="%s",verdict="denied"\} (\d+)' % a.name, m)
    t.ok(n and int(n.group(1)) > 5 and f'mica_net_dns_refused_total{{host_group="sbox",vm="{a.name}"}}' in m, 'counters in /metrics')
    t.ok(m.count('# TYPE mica_net_flows_total') == 1, 'one family each')


def siblings(d, a, b, o):
    t.ok(a.short(b.name) == [b.ip] and a.short('-x', b.ip) == [b.name + '.internal.'] and a.short('gateway') == [a.gw], 'VMs of the group by name, and back')
    t.ok(a.dig(o.name) == 'NXDOMAIN' and o.short(o.name) == [o.ip], 'not of another group')
    t.ok(tcp(a.g, b.ip, 80) == 'refused' and udp(a.g, b.ip, 53) == 'prohibited', 'but they do not reach each other')
    t.ok(tcp(o.g, WEB, 80) == 'ok' and o.short('also.example.com') == [WEB_ALSO] and tcp(o.g, LAN, 80) == 'refused', 'without rules: the world, not the LAN')
    policy_and_packets(d, o)


def audit(d, v):
    t.ok(tcp(v.g, WEB, 80) == 'ok', 'audit required: with a record it gets connections')
    ballast = os.path.join(d.dir, 'ballast')
    fd, size = os.open(ballast, os.O_WRONLY | os.O_CREAT), 65536
    while size:
        try:
            os.write(fd, b'x' * size)
        except OSError:
            size //= 2
    os.close(fd)
    for i in range(40):
        tcp(v.g, WEB, 80)
        if 'must-1: its network record cannot be written' in d.notes():
            break
    t.ok(until(lambda: 'no new connections until it can be' in d.notes()), 'a full disk is told')
    t.ok(until(lambda: tcp(v.g, WEB, 80) == 'refused'), 'and new connections are denied')
    e = d.explain(v.name, '198.51.100.2:80')
    t.ok(e.get('locked') is True, f'explain says why: {e}')
    os.unlink(ballast)
    t.ok(until(lambda: tcp(v.g, WEB, 80) == 'ok'), 'with room again they are allowed')
    t.ok('is written again' in d.notes(), 'which is told')


def of_group(d, a, b):
    """The rules of a group of the file, changed while it has VMs."""
    own = d.launch('sbox', '--allow', '198.51.100.9')
    t.ok(own and tcp(b.g, WEB_ALSO, 80) == 'refused', 'before')
    s = netlab.connect(b.g, '198.51.100.9', 80)
    s.recv(100)
    r = d.mica('policy', 'set', '--group', 'sbox', '--allow', WEB_ALSO, '--allow', '*.example.com:80')
    t.ok('rules given by the API' in r.stdout and f'allow[0]  {WEB_ALSO}' in r.stdout, f'a group gets other rules: {r.stdout!r}')
    t.ok(all(tcp(x.g, WEB_ALSO, 80) == 'ok' and tcp(x.g, '198.51.100.9', 80) == 'refused' for x in (a, b)), 'all its VMs are judged by them at once')
    word = netlab.goes_on(s)
    t.ok(word != 'goes on', f'flows that run, too: {word}')
    t.ok(b.short('also.example.com') == [WEB_ALSO], 'and names')
    t.ok(tcp(own.g, '198.51.100.9', 80) == 'ok' and tcp(own.g, WEB_ALSO, 80) == 'refused', 'but not one with a list of its own')
    d.mica('policy', 'set', '--group', 'sbox', '--drop', '198.51.100.9')
    t.ok(tcp(own.g, '198.51.100.9', 80) == 'ok' and d.explain(own.name, '198.51.100.3:80')['rule'] == 'default:allow' and tcp(own.g, WEB_ALSO, 80) == 'ok', 'whose other list is still the group\'s')
    policy_and_packets(d, b)
    r = d.mica('policy', 'set', '--group', 'sbox', '--allow', 'http://x', ok=False)
    t.ok(r.returncode == 1 and 'is a URL' in r.stderr, 'a bad entry is refused')
    r = d.mica('policy', 'set', '--group', 'nobody', '--allow', WEB, ok=False)
    t.ok(r.returncode == 1 and 'no host group' in r.stderr, 'so is a group that is not there')
    d.mica('vm', 'delete', own.name)
    made = d.mica('group', 'create', 'made', '--net', 'isolated', '--isolated-range', '169.254.112.0/22', '--allow', WEB, '--ram-mb', '64', '--storage-size', '2M')
    m = d.launch('made')
    t.ok(made.returncode == 0 and tcp(m.g, WEB, 80) == 'ok' and tcp(m.g, WEB_ALSO, 80) == 'refused', 'a group of the API')
    r = d.mica('group', 'update', 'made', '--allow', WEB_ALSO)
    t.ok(r.returncode == 0 and tcp(m.g, WEB, 80) == 'refused' and tcp(m.g, WEB_ALSO, 80) == 'ok', f'changed by its keys while it has a VM: {r.stderr}')
    d.mica('policy', 'set', '--group', 'made', '--allow', WEB, '--drop', '0.0.0.0/0')
    t.ok(tcp(m.g, WEB, 80) == 'ok' and tcp(m.g, WEB_ALSO, 80) == 'refused' and WEB in open(os.path.join(d.state, 'groups', 'made.yaml')).read(), 'and by policy set')
    d.mica('policy', 'set', '--group', 'made', '--reset')
    t.ok(tcp(m.g, WEB_ALSO, 80) == 'ok' and d.mica('policy', 'show', '--group', 'made').stdout.count('[') == 0, 'reset: none')
    d.mica('vm', 'delete', m.name)


def at_launch(d):
    w = d.launch('sbox', '--allow', 'also.example.com', '--allow', '198.51.100.9:80')
    t.ok(w.short('also.example.com') == [WEB_ALSO] and tcp(w.g, WEB_ALSO, 80) == 'ok' and tcp(w.g, '198.51.100.9', 80) == 'ok' and w.dig('web.example.com') == 'REFUSED', 'rules given at launch')
    v = json.loads(d.mica('vm', 'describe', w.name, '--json').stdout)['network']
    t.ok(v['policy_source'] == 'vm' and v['override'] == {'allow': ['also.example.com', '198.51.100.9:80']} and v['effective']['drop'] == [] and v['host_group']['allow'][0] == 'web.example.com:80', f'as describe tells: {v}')
    r = d.mica('vm', 'launch', 'sbox', '--allow', 'a..b', ok=False)
    t.ok(r.returncode == 1 and 'a..b' in r.stderr, 'a bad one is refused')


def flood(d, o):
    """More new flows than the kernel logs: the record says how many it lacks."""
    sock = o.g.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for i in range(4000):
        try:
            sock.sendto(b'x', (LAN, 1024 + i))
        except OSError:
            pass
    sock.close()
    gap = until(lambda: next((l for l in o.record() if l['event'] == 'gap' and 'kernel logs' in l['why']), None), 15)
    seen = sum(l['event'] == 'denied' and l.get('dst') == LAN and l['proto'] == 'udp' for l in o.record())
    t.ok(gap and gap['lost'] > 100 and 0 < seen < 4000, f'a flood: {seen} lines, and a gap: {gap}')
    t.ok(tcp(o.g, WEB, 80) == 'ok' and o.short('also.example.com') == [WEB_ALSO], 'while the VM goes on')


def again(d, a, b):
    """The daemon's processes are killed: the VM goes on, its policy holds, another daemon goes on with its record."""
    d.mica('policy', 'set', a.name, '--allow', '198.51.100.3', '--allow', 'web.example.com:81', '--drop', 'none')
    for p in (d.core, d.front, d.gate, d.real_netd):
        p.kill()
        p.wait()
    os.close(d.status)
    t.ok(tcp(a.g, WEB_ALSO, 80) == 'ok' and tcp(a.g, WEB, 80) == 'refused', 'while no daemon runs the rules hold')
    path = os.path.join(d.state, 'vm', a.name, 'net.jsonl')
    with open(path, 'a') as f: # nearly as if it had grown so large: the next line makes it rotate
        f.write(('{"time":"2026-01-01T00:00:00Z","event":"old","vm":"%s","pad":"%s"}\n' % (a.name, 'x' * 900)) * 9000)
    d.begin()
    p = subprocess.Popen([os.path.join(d.bin, 'mica'), 'vm', 'net', 'log', a.name, '-f', '-n', '1', '--json', '--socket', d.unix], stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    seen = []
    threading.Thread(target=lambda: [seen.append(l) for l in p.stdout], daemon=True).start()
    t.ok(until(lambda: a.short('web.example.com') == [WEB]), 'the next one answers DNS again')
    t.ok(until(lambda: os.path.exists(path + '.1') and os.stat(path).st_size < 100000), 'a large record goes on in the next file')
    a.dig('behind.rotation.example')
    t.ok(until(lambda: any('behind.rotation.example' in l for l in seen)), 'and who follows it too')
    p.kill()
    t.ok(d.mica('vm', 'net', 'log', a.name, '--json').stdout.count('"event":"old"') == 9000 and 'old' in d.mica('vm', 'net', 'log', a.name, '-n', '200', '--json').stdout, 'all files are one record')
    t.ok(tcp(a.g, WEB, 81) == 'ok' and tcp(a.g, WEB, 80) == 'refused' and tcp(a.g, WEB_ALSO, 80) == 'ok', 'by the same rules')
    t.ok('rules of its own' in d.mica('policy', 'show', a.name).stdout, 'which it knows')
    t.ok(tcp(b.g, WEB_ALSO, 80) == 'ok' and tcp(b.g, '198.51.100.9', 80) == 'refused' and 'given by the API' in d.mica('policy', 'show', '--group', 'sbox').stdout and
         'not the file' in d.notes(), 'those of the group are kept as well, and it is told that they are not the file\'s')
    d.mica('policy', 'set', '--group', 'sbox', '--reset')
    t.ok(tcp(b.g, WEB_ALSO, 80) == 'refused' and tcp(b.g, '198.51.100.9', 80) == 'ok' and 'of the daemon\'s file' in d.mica('policy', 'show', '--group', 'sbox').stdout,
         'and given back')
    t.ok(until(lambda: any(l['event'] == 'start' and l['dst'] == WEB and l['dport'] == 81 for l in a.record())), 'and its record goes on')


def main(bin_folder, agent):
    if os.geteuid() != 0 or not all(map(shutil.which, ('dnsmasq', 'dig', 'curl', 'ip'))):
        t.skip('gate_net', 'needs root, dnsmasq, dig, curl and ip')
        return t.done()
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-n', '-m', sys.executable, os.path.abspath(__file__), bin_folder, agent])
    inet, lan, dns = world(netlab.here())
    servers = [Servers(inet, tcp=(80, 81)), Servers(lan, tcp=(80,))]
    folder = stack.tempfile.mkdtemp(prefix='mica-gate-', dir='/var/tmp')
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', folder], check=True)
    os.chmod(folder, 0o755)
    d = None
    try:
        d = Daemon(bin_folder, agent, folder)
        a, b, o, v = d.launch('sbox'), d.launch('sbox'), d.launch('open'), d.launch('must')
        t.ok(all((a, b, o, v)) and 'has no network' not in d.notes(), 'isolated VMs')
        names(d, a)
        changed(d, a)
        record(d, a)
        siblings(d, a, b, o)
        at_launch(d)
        flood(d, o)
        audit(d, v)
        of_group(d, a, b)
        again(d, a, b)
        d.mica('vm', 'delete', a.name)
        t.ok(until(lambda: a.dig('web.example.com') == 'none' and not os.path.exists(os.path.join(d.state, 'vm', a.name))), 'a VM that is deleted leaves nothing')
        d.close()
    finally:
        for p in (dns, *((d.core, d.front, d.gate, d.real_netd, *d.processes.values()) if d else ())):
            p.kill()
        subprocess.run(['umount', '-l', folder])
        shutil.rmtree(folder, ignore_errors=True)
    return t.done()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
