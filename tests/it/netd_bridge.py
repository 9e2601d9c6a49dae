#!/usr/bin/env python3
"""netd's bridges with real packets: guests talk to each other and to the world, IPv4 and IPv6, and none may claim to be another.

usage: netd_bridge.py PATH-OF-netd   (needs root; re-executes itself under `unshare -n`)
"""
import os, socket, struct, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT
import netlab
from netlab import Guest, Servers, connect, ping, tcp, udp
from netd_iso import (BRIDGE, BRIDGE_DOWN, BRIDGE_UP, GATEWAY, GATEWAY6, GUEST4, GUEST6, HOST_DOWN, HOST_UP, MAC, OWNER, PUBLIC_HOST4, SYNC, TAPNAME,
                      TAP_ADOPT, TAP_DOWN, TAP_UP, WEB4, WEB6, snapshot, world)

PREFIX6 = 'fd12:3456:789a:2'
ALL = 'ff:ff:ff:ff:ff:ff'


class Vm:
    def __init__(self, c, n):
        self.mac, self.ip4, self.ip6 = f'02:00:00:00:01:{n:02x}', f'10.77.0.{n}', f'{PREFIX6}::{n:x}'
        self.tap = f'vmtap{n}'
        self.fields = [(TAPNAME, self.tap), (MAC, netlab.mac_bytes(self.mac)), (GUEST4, self.ip4 + '/24'), (GUEST6, self.ip6 + '/64')]
        self.reply = c.ask(TAP_UP, self.fields + [(BRIDGE, 'brmica0')])

    def plug(self):
        self.guest = Guest(self.reply.fds[0], self.mac, self.ip4 + '/24', '10.77.0.1', self.ip6 + '/64', PREFIX6 + '::1')
        self.g = self.guest.ns
        m = netlab.mac_bytes(self.mac)
        self.local6 = 'fe80::' + ':'.join(f'{a:x}' for a in struct.unpack('!4H', bytes([m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])))


def hears(vm, send, marker):
    """Does a frame with that marker arrive at the guest?"""
    s = vm.g.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
    s.bind(('eth0', 3))
    s.settimeout(0.3)
    send()
    try:
        while True:
            if marker in s.recv(4096):
                return True
    except OSError:
        return False
    finally:
        s.close()


def ipv6(src, dst, nxt, payload):
    return struct.pack('!IHBB', 6 << 28, len(payload), nxt, 255) + socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + payload


def advertisement(src, dst, target, mac, marker, hidden=False):
    """RFC 4861 §4.4, the marker in an option that nobody knows."""
    body = struct.pack('!BBHI', 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, target)
    body += bytes([2, 1]) + netlab.mac_bytes(mac) + bytes([253, 2]) + marker.ljust(14)
    pseudo = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + struct.pack('!II', len(body), 58)
    if hidden: # behind destination options (RFC 8200 §4.6)
        return ipv6(src, dst, 60, bytes([58, 0, 1, 4, 0, 0, 0, 0]) + body[:2] + struct.pack('!H', netlab.checksum(pseudo + body)) + body[4:])
    return ipv6(src, dst, 58, body[:2] + struct.pack('!H', netlab.checksum(pseudo + body)) + body[4:])


def check_forged(t, a, b):
    def frame(what, forged, *, mac=None, kind=0x800, dst=None):
        marker = b'marker-' + os.urandom(4)
        got = hears(b, lambda: a.guest.raw(netlab.ethernet(dst or b.mac, mac or a.mac, kind, forged(marker))), marker)
        return got
    v4 = lambda src: lambda m: netlab.ipv4(src, b.ip4, 17, netlab.udp_packet(1, 9, m))
    v6 = lambda src: lambda m: ipv6(src, b.ip6, 17, netlab.udp_packet(1, 9, m))
    t.ok(frame('true', v4(a.ip4)) and frame('true', v6(a.ip6), kind=0x86dd) and frame('true', v6(a.local6), kind=0x86dd), 'what is true arrives, IPv4 and IPv6')
    t.ok(not frame('mac', v4(a.ip4), mac='02:66:66:66:66:66'), 'another MAC does not')
    t.ok(not any(frame('ip', v4(src)) for src in ('10.77.0.1', b.ip4, '10.77.0.99', '8.8.8.8')), 'another IPv4 address does not')
    t.ok(not any(frame('ip6', v6(src), kind=0x86dd) for src in (PREFIX6 + '::1', b.ip6, 'fe80::1', '2001:db8::1', '::')), 'another IPv6 address does not')
    t.ok(not frame('vlan', lambda m: struct.pack('!HH', 5, 0x800) + v4('10.77.0.1')(m), kind=0x8100) and not frame('other', lambda m: m.ljust(60), kind=0x88cc),
         'nor does a tagged frame, nor another kind')
    arp = lambda who, mac: lambda m: netlab.arp(mac, who, ALL, who) + m
    t.ok(frame('arp', arp(a.ip4, a.mac), kind=0x806, dst=ALL), 'its own ARP is heard')
    t.ok(not frame('arp', arp('10.77.0.1', a.mac), kind=0x806, dst=ALL) and not frame('arp', arp('10.77.0.1', b.mac), kind=0x806, dst=ALL) and
         not frame('arp', arp(a.ip4, '02:66:66:66:66:66'), kind=0x806, dst=ALL), 'ARP for another is not')
    na = lambda target: lambda m: advertisement(a.ip6, b.ip6, target, a.mac, m)
    t.ok(frame('na', na(a.ip6), kind=0x86dd), 'its own neighbour advertisement is heard')
    hidden = lambda target: lambda m: advertisement(a.ip6, b.ip6, target, a.mac, m, hidden=True)
    t.ok(frame('na', hidden(a.ip6), kind=0x86dd), 'also behind another header')
    t.ok(not frame('na', na(PREFIX6 + '::1'), kind=0x86dd) and not frame('na', hidden(PREFIX6 + '::1'), kind=0x86dd), 'one for the gateway is not')


def main(program):
    t = Tap()
    host = netlab.own_host(program)
    if not host:
        t.skip('bridges', 'needs root to make network namespaces')
        return t.done()
    inet, lan = world(host)
    servers = [Servers(ns, tcp=(80,), udp=(53,)) for ns in (inet, host)]
    begun = snapshot(host)
    p, c = start([program])
    c.ask(HOST_UP, [(OWNER, 't2')])
    m = c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, '10.77.0.1/24'), (GATEWAY6, PREFIX6 + '::1/64')])
    t.ok(m.kind == OK and not m.text(TEXT) and c.ask(SYNC).kind == OK, f'a bridge with both families: {m.text(TEXT) or ""}')
    a, b = Vm(c, 2), Vm(c, 3)
    t.ok(a.reply.kind == OK and b.reply.kind == OK, f'two guarded taps: {a.reply.text(TEXT) or ""}')
    for vm in (a, b):
        vm.plug()
        servers.append(Servers(vm.g, tcp=(80,), udp=(53,)))
    t.ok([tcp(a.g, x, 80) for x in (b.ip4, b.ip6, WEB4, WEB6)] == ['ok'] * 4, 'guest to guest and to the internet, both families')
    t.ok(ping(a.g, b.ip4) and ping(a.g, b.ip6) and ping(a.g, '10.77.0.1') and ping(a.g, PREFIX6 + '::1'), 'ping to guest and gateway')
    t.ok(tcp(host, a.ip4, 80) == 'ok' and tcp(host, a.ip6, 80) == 'ok', 'the host reaches a guest')
    s, s6 = connect(a.g, WEB4, 80), connect(a.g, WEB6, 80)
    t.ok(s.recv(100).decode().strip() == PUBLIC_HOST4 and s6.recv(100).decode().strip() == '2001:db8:1::1', 'the world sees the host\'s addresses')
    check_forged(t, a, b)
    os.kill(p.pid, 9)
    p.wait()
    c.close()
    t.ok(tcp(a.g, WEB4, 80) == 'ok', 'netd killed: traffic goes on')
    marker = b'while nobody looks'
    forged = netlab.ethernet(b.mac, a.mac, 0x800, netlab.ipv4('10.77.0.1', b.ip4, 17, netlab.udp_packet(1, 9, marker)))
    t.ok(not hears(b, lambda: a.guest.raw(forged), marker), 'and the guards hold')
    p, c = start([program])
    ok = [c.ask(HOST_UP, [(OWNER, 't2')]), c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, '10.77.0.1/24'), (GATEWAY6, PREFIX6 + '::1/64')])]
    ok += [c.ask(TAP_ADOPT, vm.fields) for vm in (a, b)] + [c.ask(SYNC)]
    t.ok(all(m.kind == OK for m in ok), f'a new netd adopts them: {[m.text(TEXT) for m in ok]}')
    s.sendall(b'still')
    t.ok(s.recv(10) == b'still' and tcp(a.g, b.ip4, 80) == 'ok', 'flows go on')
    check_forged(t, a, b)
    t.ok(c.ask(TAP_ADOPT, [(TAPNAME, 'vmtap9'), *a.fields[1:]]).kind == ERR, 'a tap that is not there is not adopted')
    for vm in (a, b):
        vm.guest.close()
        t.ok(c.ask(TAP_DOWN, [(TAPNAME, vm.tap)]).kind == OK, f'{vm.tap} goes')
    t.ok('chain' not in host.run('nft', 'list', 'table', 'netdev', 'mica-t2').stdout, 'with its guard')
    t.ok(c.ask(BRIDGE_DOWN, [(BRIDGE, 'brmica0')]).kind == OK, 'the bridge goes')
    t.ok(c.ask(HOST_DOWN).kind == OK, 'and our tables')
    now = snapshot(host)
    t.ok(now == begun, f'nothing is left: {[x ^ y for x, y in zip(now, begun)]}')
    for x in servers:
        x.close()
    host.ip('link', 'add', 'vmtap7', 'type', 'bridge')
    host.ip('link', 'set', 'vmtap7', 'alias', 'mica other')
    t.ok(c.ask(TAP_DOWN, [(TAPNAME, 'vmtap7')]).kind == OK and 'vmtap7' in snapshot(host)[0], 'another daemon\'s tap stays')
    open('/proc/sys/net/ipv6/conf/default/disable_ipv6', 'w').write('1')
    c.ask(HOST_UP, [(OWNER, 't2')])
    m = c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, '10.77.0.1/24'), (GATEWAY6, PREFIX6 + '::1/64')])
    t.ok(m.kind == OK and 'switched off' in (m.text(TEXT) or ''), f'a host without IPv6: {m.text(TEXT)}')
    c.ask(BRIDGE_DOWN, [(BRIDGE, 'brmica0')])
    c.ask(HOST_DOWN)
    c.close()
    t.ok(p.wait(5) == 0, 'netd ends')
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
