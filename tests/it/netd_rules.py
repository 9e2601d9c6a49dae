#!/usr/bin/env python3
"""netd's rules for VMs on a bridge with real packets: what passes beyond the bridge and to the host, by rule, both families; policy changed while flows run; the
record's events; names that are opened; netd killed; nothing left behind.

usage: netd_rules.py PATH-OF-netd   (needs root; re-executes itself under `unshare -n`)
"""
import os, select, socket, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT
import netlab
from netlab import Servers, connect, ping, tcp, udp
from netd_bridge import PREFIX6, Vm
from netd_iso import (ADDR, BRIDGE, BRIDGE_DOWN, BRIDGE_UP, COUNTERS, DEFAULT, GATEWAY, GATEWAY6, GW4, GW6, HOST_DOWN, HOST_UP, LAN4, LAN6, OPEN, OWNER, PORT, PUBLIC_HOST4,
                      RULE, SYNC, TAPNAME, TAP_ADOPT, TAP_DOWN, TTL, VM, VM_DOWN, WEB4, WEB6, policy, snapshot, world)

TAP_RULES, EVENTS = 36, 37
t = Tap()


def rules(c, vm, allow=(), drop=()):
    return c.ask(TAP_RULES, [(VM, f'vm-{vm.tap}'), *vm.fields, (BRIDGE, 'brmica0'), (GW4, '10.77.0.1'), (GW6, PREFIX6 + '::1'), *policy(allow, drop)])


def events(fd, seconds=5):
    """What the kernel tells until nothing comes for a moment that begins after the first."""
    out, end = b'', time.monotonic() + seconds
    while time.monotonic() < end and select.select([fd], [], [], 0.3 if out else seconds)[0]:
        try:
            out += socket.socket(fileno=os.dup(fd)).recv(1 << 16)
        except BlockingIOError:
            pass
    return out


def tells(fd, *words, seconds=10):
    got, end = b'', time.monotonic() + seconds
    while time.monotonic() < end and not all(w in got for w in words):
        got += events(fd, 0.5)
    return all(w in got for w in words)


def beyond(c, a, b, fd):
    t.ok(rules(c, a, allow=[(WEB4, 80), WEB6]).kind == OK, 'a list of what is allowed')
    t.ok([tcp(a.g, WEB4, 80), tcp(a.g, WEB6, 80)] == ['ok'] * 2, 'what it names passes, both families')
    t.ok([tcp(a.g, x, 80) for x in (LAN4, LAN6)] == ['refused'] * 2 and tcp(a.g, WEB4, 81) == 'refused', 'nothing else, refused at once')
    t.ok(udp(a.g, WEB4, 53) == 'prohibited' and not ping(a.g, LAN4), 'of no protocol')
    t.ok([tcp(a.g, x, 80) for x in ('10.77.0.1', PREFIX6 + '::1', PUBLIC_HOST4)] == ['refused'] * 3, 'nor the host, by any of its addresses')
    t.ok(udp(a.g, '10.77.0.1', 53) == 'ok' and ping(a.g, '10.77.0.1') and ping(a.g, PREFIX6 + '::1'), 'but for DNS and ping at its gateway')
    t.ok([tcp(a.g, x, 80) for x in (b.ip4, b.ip6)] == ['ok'] * 2, 'VMs of its bridge see each other')
    t.ok(tcp(netlab.here(), a.ip4, 80) == 'ok' and tcp(b.g, a.ip4, 80) == 'ok' and tcp(netlab.here(), a.ip6, 80) == 'ok', 'and it is reached')
    t.ok([tcp(b.g, x, 80) for x in (LAN4, LAN6, WEB4, '10.77.0.1')] == ['ok'] * 4, 'the other one is not judged')
    t.ok(tells(fd, b'+allow[0]', b'-default:deny', b'-builtin:lan'), 'each flow is told, with its rule')
    m = c.ask(COUNTERS, [(VM, 'vm-vmtap2')])
    t.ok(m.kind == OK and any(b'-default:deny' in v for _, v in m.list), 'and counted')


def changes(c, a, b):
    s, other = connect(a.g, WEB4, 80), connect(b.g, WEB4, 80)
    s.recv(100), other.recv(100)
    own = connect(netlab.here(), WEB4, 80)
    own.recv(100)
    t.ok(rules(c, a, drop=[WEB4]).kind == OK, 'another policy')
    word = netlab.goes_on(s)
    t.ok(word != 'goes on' and tcp(a.g, WEB4, 80) == 'refused' and tcp(a.g, WEB6, 80) == 'ok', f'holds at once, for a flow that runs too: {word}')
    for x in (other, own):
        x.sendall(b'still')
    t.ok(other.recv(10) == b'still' and own.recv(10) == b'still', 'flows of another VM and of the host go on')
    t.ok(tcp(a.g, LAN4, 80) == 'refused' and rules(c, a, allow=['0.0.0.0/0', LAN4]).kind == OK and tcp(a.g, LAN4, 80) == 'ok' and tcp(a.g, WEB4, 80) == 'ok' and
         tcp(a.g, LAN6, 80) == 'refused', 'the LAN is reached by who names it')
    t.ok(rules(c, a, allow=[('10.77.0.1', 80)]).kind == OK and tcp(a.g, '10.77.0.1', 80) == 'ok' and tcp(a.g, '10.77.0.1', 53) != 'ok', 'so is the host')
    c.ask(OPEN, [(VM, 'vm-vmtap2'), (ADDR, socket.inet_pton(socket.AF_INET, WEB4)), (PORT, 80), (RULE, 3), (TTL, 60)])
    t.ok(tcp(a.g, WEB4, 80) == 'ok' and tcp(a.g, WEB4, 81) == 'refused', 'an address that a name opened')
    t.ok(c.ask(VM_DOWN, [(VM, 'vm-vmtap2')]).kind == OK and tcp(a.g, LAN4, 80) == 'ok', 'without rules all is open again')
    bad = c.ask(TAP_RULES, [(VM, 'vm-x'), *a.fields, (BRIDGE, 'brmica0'), (DEFAULT, 1)])
    t.ok(bad.kind == ERR and "gateway's" in bad.text(TEXT), 'a request that lacks something is refused')


def passing(program, host, begun):
    """What a killed `mica run` left goes at the next start of anybody; what a living one has does not, nor what a daemon may come back for."""
    def run(owner, bridge, net):
        p, c = start([program])
        ok = [c.ask(HOST_UP, [(OWNER, owner)]), c.ask(BRIDGE_UP, [(BRIDGE, bridge), (GATEWAY, net)]), c.ask(SYNC)]
        t.ok(all(m.kind == OK for m in ok), f'{owner} begins')
        return p, c
    def kill(p, c):
        p.kill()
        p.wait()
        c.close()
    dead, living, daemon = run('x0000001', 'brone', '10.81.0.1/24'), run('x0000002', 'brtwo', '10.82.0.1/24'), run('d0000003', 'brthree', '10.83.0.1/24')
    dead[1].ask(TAP_RULES, [(VM, 'vm-1'), (TAPNAME, 'vmtap1'), (2 + 25, netlab.mac_bytes('02:00:00:00:00:01')), (28, '10.81.0.2/24'), (BRIDGE, 'brone'), (GW4, '10.81.0.1'), *policy()])
    t.ok('mica-x0000001.vmtap1' in host.run('nft', 'list', 'tables').stdout, 'a table of a VM')
    kill(*dead)
    kill(*daemon)
    t.ok('brone' in snapshot(host)[0], 'killed: its bridge stands')
    last = run('e0000004', 'brfour', '10.84.0.1/24')
    links, tables, _ = snapshot(host)
    t.ok('brone' not in links and not any('x0000001' in x for x in tables), f'the next one takes it away: {tables}')
    t.ok({'brtwo', 'brthree'} <= links and any('x0000002' in x for x in tables) and any('d0000003' in x for x in tables), 'but nothing of others')
    kill(*living)
    p, c = run('d0000003', 'brthree', '10.83.0.1/24')
    t.ok('brtwo' not in snapshot(host)[0], 'until they are dead, too')
    for (p, c), bridge in (((p, c), 'brthree'), (last, 'brfour')):
        c.ask(BRIDGE_DOWN, [(BRIDGE, bridge)])
        c.ask(HOST_DOWN)
        c.close()
        p.wait(5)
    now = snapshot(host)
    t.ok(now == begun, f'nothing is left: {[x ^ y for x, y in zip(now, begun)]}')


def gate_is_held(host):
    """What gate's user may send."""
    def as_gate(port, uid=1835597824 + 4):
        pid = os.fork()
        if not pid:
            try:
                os.setuid(uid)
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(3)
                s.sendto(b'x', (WEB4, port))
                os._exit(0 if s.recv(9) else 1)
            except OSError:
                os._exit(2)
        return os.waitpid(pid, 0)[1] == 0
    t.ok(as_gate(53) and not as_gate(54) and as_gate(54, 1835597824 + 1), 'gate\'s user reaches port 53 by UDP and no other; others are not looked at')


def main(program):
    host = netlab.own_host(program)
    if not host:
        t.skip('rules on bridges', 'needs root to make network namespaces')
        return t.done()
    inet, lan = world(host)
    servers = [Servers(inet, tcp=(80, 81), udp=(53, 54)), Servers(lan, tcp=(80,)), Servers(host, tcp=(80,), udp=(53,))]
    begun = snapshot(host)
    up = lambda c: [c.ask(HOST_UP, [(OWNER, 't3')]), c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, '10.77.0.1/24'), (GATEWAY6, PREFIX6 + '::1/64')])]
    p, c = start([program])
    t.ok(all(m.kind == OK for m in up(c) + [c.ask(SYNC)]), 'a bridge')
    e = c.ask(EVENTS)
    t.ok(e.kind == OK and len(e.fds) == 1, f'the host\'s events: {e.text(TEXT) or ""}')
    a, b = Vm(c, 2), Vm(c, 3)
    for vm in (a, b):
        vm.plug()
        servers.append(Servers(vm.g, tcp=(80,), udp=(53,)))
    beyond(c, a, b, e.fds[0])
    gate_is_held(host)
    changes(c, a, b)
    rules(c, a, allow=[WEB4])
    rules(c, b, drop=[WEB4])
    s = connect(a.g, WEB4, 80)
    s.recv(100)
    os.kill(p.pid, 9)
    p.wait()
    c.close()
    t.ok(tcp(a.g, WEB6, 80) == 'refused' and tcp(a.g, WEB4, 80) == 'ok' and tcp(b.g, WEB4, 80) == 'refused', 'netd killed: the rules hold')
    p, c = start([program])
    ok = up(c) + [rules(c, a, allow=[WEB4])] + [c.ask(TAP_ADOPT, vm.fields) for vm in (a, b)] + [c.ask(SYNC)]
    t.ok(all(m.kind == OK for m in ok), f'a new netd adopts them: {[m.text(TEXT) for m in ok]}')
    t.ok(tcp(a.g, WEB6, 80) == 'refused' and tcp(a.g, WEB4, 80) == 'ok' and tcp(b.g, WEB4, 80) == 'ok', 'and takes away what nobody claims')
    for vm in (a, b):
        vm.guest.close()
        c.ask(VM_DOWN, [(VM, f'vm-{vm.tap}')])
        t.ok(c.ask(TAP_DOWN, [(TAPNAME, vm.tap)]).kind == OK, f'{vm.tap} goes')
    t.ok(c.ask(BRIDGE_DOWN, [(BRIDGE, 'brmica0')]).kind == OK and c.ask(HOST_DOWN).kind == OK, 'all goes')
    now = snapshot(host)
    t.ok(now == begun and 'mica' not in host.run('nft', 'list', 'tables').stdout, f'nothing is left: {[x ^ y for x, y in zip(now, begun)]}')
    for x in servers:
        x.close()
    c.close()
    t.ok(p.wait(5) == 0, 'netd ends')
    passing(program, host, begun)
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
