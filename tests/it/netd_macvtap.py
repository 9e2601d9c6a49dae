#!/usr/bin/env python3
"""Machines on the LAN: a real macvtap link by netd, opened by jail, with frames between the "VM" and a LAN namespace; what is refused; nothing left behind.

usage: netd_macvtap.py PATH-OF-netd PATH-OF-jail   (needs root, macvtap and devtmpfs; re-executes itself under `unshare -nm`)
"""
import fcntl, os, shutil, socket, struct, subprocess, sys, tempfile, threading
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT
import netlab
from netlab import Guest, Ns, Servers, ping, tcp, udp
from netd_iso import GUEST4, HOST_DOWN, HOST_UP, LINK, MAC, OWNER, SYNC, TAPNAME, TAP_ADOPT, TAP_DOWN, snapshot

PARENT_LOOK, MACVTAP_UP, J_TAP = 33, 34, 23
PARENT, INDEX = 41, 42
IFINDEX, QUEUES = 28, 29
TUNGETIFF = 0x800454d2
LAN4 = '192.168.50.1'
MACS = ['02:00:00:00:02:02', '02:00:00:00:02:03']


def open_vm(j, index, queues=1):
    m = j.ask(J_TAP, [(IFINDEX, index), (QUEUES, queues)])
    for fd in m.fds:
        fcntl.ioctl(fd, netlab.TUNSETVNETHDRSZ, struct.pack('i', netlab.VNET_BYTES)) # as vmm/back/tap.c does
    return m


def alias_of(host, name):
    return host.ip('-o', 'link', 'show', name)


class Dhcp(threading.Thread):
    """A DHCP server with one address (RFC 2131): a router as LANs have one."""

    def __init__(self, ns, give, router, dns):
        super().__init__(daemon=True)
        self.give, self.options, self.asked = give, bytes([1, 4, 255, 255, 255, 0, 3, 4]) + socket.inet_aton(router) + bytes([6, 4]) + socket.inet_aton(dns), []
        self.sock = ns.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lan0')
        self.sock.bind(('', 67))
        self.router = router
        self.start()

    def run(self):
        while True:
            try:
                m = self.sock.recv(2048)
            except OSError:
                return
            at, kind, host = 240, 0, b''
            while at + 1 < len(m) and m[at] != 255:
                if m[at] == 0:
                    at += 1
                    continue
                value = m[at + 2:at + 2 + m[at + 1]]
                kind, host = (value[0] if m[at] == 53 else kind), (value if m[at] == 12 else host)
                at += 2 + m[at + 1]
            self.asked.append((kind, host))
            reply = bytes([2]) + m[1:16] + socket.inet_aton(self.give) + socket.inet_aton(self.router) + bytes(4) + m[28:44] + bytes(192) + m[236:240]
            reply += bytes([53, 1, 2 if kind == 1 else 5, 54, 4]) + socket.inet_aton(self.router) + bytes([51, 4, 0, 0, 14, 16]) + self.options + b'\xff'
            self.sock.sendto(reply, ('255.255.255.255', 68))


def check_forged(t, lan, a, b=None):
    """a has an address that we gave, b one that DHCP could have given."""
    lan_mac = mac_of(lan, 'lan0')

    def passes(vm, mac, kind, body, marker):
        s = lan.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        s.bind(('lan0', 3))
        s.settimeout(0.5)
        vm.raw(netlab.ethernet(lan_mac, mac, kind, body))
        try:
            while marker not in s.recv(4096):
                pass
            return True
        except OSError:
            return False
        finally:
            s.close()
    n = [0]

    def v4(vm, mac, src):
        n[0] += 1
        marker = b'marker-%d-' % n[0]
        return passes(vm, mac, 0x800, netlab.ipv4(src, LAN4, 17, netlab.udp_packet(1, 9, marker)), marker)

    def arp(vm, mac, who, ip):
        n[0] += 1
        marker = b'marker-%d-' % n[0]
        return passes(vm, mac, 0x806, netlab.arp(who, ip, lan_mac, LAN4) + marker, marker)
    t.ok(v4(a, MACS[0], '192.168.50.220') and arp(a, MACS[0], MACS[0], '192.168.50.220'), 'what is true arrives')
    t.ok(not v4(a, MACS[1], '192.168.50.220') and not (b and v4(b, '02:66:66:66:66:66', '192.168.50.221')), 'another MAC does not')
    t.ok(not v4(a, MACS[0], LAN4) and not v4(a, MACS[0], '192.168.50.221'), 'another IPv4 address does not, where we gave it')
    t.ok(not arp(a, MACS[0], MACS[0], LAN4) and not arp(a, MACS[0], mac_of(lan, 'lan0'), '192.168.50.220') and not (b and arp(b, MACS[1], MACS[0], '192.168.50.221')), 'nor ARP for another')
    if b:
        t.ok(v4(b, MACS[1], '192.168.50.77') and arp(b, MACS[1], MACS[1], '192.168.50.77'), 'what DHCP gave is not known, so not held against it')


def mac_of(ns, link):
    return ns.ip('-o', 'link', 'show', link).split('link/ether ')[1].split()[0]


def check_dhcp(t, lan, vm):
    """What init starts in the built-in image, with the image's script."""
    busybox, script = shutil.which('busybox'), os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../rootfs/min/dhcp')
    if not busybox or 'udhcpc' not in subprocess.run([busybox, '--list'], capture_output=True, text=True).stdout.split():
        return t.skip('DHCP', 'no busybox with udhcpc')
    vm.ip('addr', 'flush', 'dev', 'eth0')
    server = Dhcp(lan, '192.168.50.77', LAN4, '192.168.50.53')
    with tempfile.TemporaryDirectory() as bin_dir:
        for applet in ('ifconfig', 'route', 'mv', 'sh'):
            os.symlink(busybox, os.path.join(bin_dir, applet))
        for given, names in ((None, 'nameserver 192.168.50.53\n'), ('given', '')):
            open('/run/resolv.conf', 'w').close()
            env = {'PATH': bin_dir + ':' + os.environ['PATH'], **({'MICA_DNS': given} if given else {})}
            argv = vm.argv(busybox, 'udhcpc', '-f', '-q', '-n', '-i', 'eth0', '-s', script, '-A', '5', '-x', 'hostname:dyn-1')
            r = subprocess.run(argv, pass_fds=[vm.fd], env=env, capture_output=True, text=True, timeout=30)
            t.ok(r.returncode == 0 and 'inet 192.168.50.77/24' in vm.ip('addr', 'show', 'eth0') and f'default via {LAN4}' in vm.ip('route'),
                 f'DHCP: address and route of the lease {r.stderr if r.returncode else ""}')
            t.ok(open('/run/resolv.conf').read() == names, 'its name servers' if names else 'those of the host group stay')
    t.ok((1, b'dyn-1') in server.asked and tcp(vm, LAN4, 80) == 'ok', 'the router hears the VM\'s name, the VM reaches the LAN')
    server.sock.close()


def main(netd, jail):
    t = Tap()
    if os.geteuid() != 0:
        t.skip('macvtap', 'needs root to make network namespaces')
        return t.done()
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-nm', sys.executable, os.path.abspath(__file__), netd, jail])
    host, lan = netlab.here(), Ns()
    subprocess.run(['mount', '-t', 'sysfs', 'sysfs', '/sys'], check=True) # of this network namespace
    subprocess.run(['mount', '-t', 'tmpfs', 'run', '/run'], check=True)
    there = any(l.split(' - ')[1].startswith('devtmpfs ') and l.split()[4] == '/dev' for l in open('/proc/self/mountinfo'))
    if not there and subprocess.run(['mount', '-t', 'devtmpfs', 'dev', '/dev']).returncode:
        t.skip('macvtap', 'no devtmpfs to be had')
        return t.done()
    host.ip('link', 'set', 'lo', 'up')
    netlab.veth(host, 'eth7', lan, 'lan0')
    lan.ip('addr', 'add', LAN4 + '/24', 'dev', 'lan0')
    host.ip('link', 'add', 'pad0', 'type', 'bridge')
    servers = Servers(lan, tcp=(80,), udp=(53,))
    begun = snapshot(host)
    p, c = start([netd])
    vmm = os.open('/bin/true', os.O_RDONLY)
    pj, j = start([jail], [vmm])
    c.ask(HOST_UP, [(OWNER, 't2')])
    c.ask(SYNC)
    m = c.ask(PARENT_LOOK)
    t.ok(m.kind == OK and 'no default route' in m.text(TEXT), f'without a default route there is no parent: {m.text(TEXT)}')
    m = c.ask(PARENT_LOOK, [(PARENT, 'eth99')])
    t.ok(m.kind == OK and 'eth99 is not there' in m.text(TEXT), f'nor one that is not there: {m.text(TEXT)}')
    host.ip('addr', 'add', '192.168.50.9/24', 'dev', 'eth7')
    host.ip('route', 'add', 'default', 'via', LAN4, 'metric', '50')
    host.ip('link', 'set', 'pad0', 'up')
    host.ip('route', 'add', 'default', 'dev', 'pad0', 'metric', '90')
    t.ok(c.ask(PARENT_LOOK).text(TEXT) is None and c.ask(PARENT_LOOK, [(PARENT, 'eth7')]).text(TEXT) is None, 'with one there is')
    asked = [(TAPNAME, 'vmtap1'), (MAC, netlab.mac_bytes(MACS[0]))]
    for what, fields in (('a group MAC', [asked[0], (MAC, b'\1\0\0\0\0\1')]), ('a parent ../x', asked + [(PARENT, '../x')]),
                         ('no such parent', asked + [(PARENT, 'eth99')]), ('lo as parent', asked + [(PARENT, 'lo')]),
                         ('a name with /', [(TAPNAME, 'a/b'), asked[1]]), ('somebody\'s name', [(TAPNAME, 'pad0'), asked[1]])):
        m = c.ask(MACVTAP_UP, fields)
        t.ok(m.kind == ERR, f'{what} is refused: {m.text(TEXT)}')
    t.ok(snapshot(host)[0] == begun[0], 'and leaves nothing')
    guards = [[(TAPNAME, f'vmtap{i + 1}'), (MAC, netlab.mac_bytes(mac)), *([(GUEST4, '192.168.50.220/24')] if not i else [])] for i, mac in enumerate(MACS)]
    ups = [c.ask(MACVTAP_UP, f) for f in guards]
    said = alias_of(host, 'vmtap1')
    t.ok(all(m.kind == OK and m.num(INDEX) for m in ups), f'two links on the default route\'s: {[m.text(TEXT) for m in ups]}')
    t.ok('vmtap1@eth7' in said and MACS[0] in said and 'alias mica t2' in said and ',UP' in said and 'mode bridge' in host.ip('-d', 'link', 'show', 'vmtap1'),
         f'with its MAC, our mark, bridge mode, up: {said}')
    t.ok(all(j.ask(J_TAP, [(IFINDEX, n)]).kind == ERR for n in (0, 1, 1 << 31, 1 << 40)), 'jail opens no other link')
    t.ok(open_vm(j, ups[0].num(INDEX), 5).kind == ERR, 'nor 5 queues')
    host.ip('link', 'add', 'link', 'eth7', 'name', 'mv9', 'type', 'macvtap', 'mode', 'bridge')
    other = int(open('/sys/class/net/mv9/ifindex').read())
    m = j.ask(J_TAP, [(IFINDEX, other)])
    t.ok(m.kind == ERR and 'not made by mica' in m.text(TEXT), f'nor somebody\'s macvtap: {m.text(TEXT)}')
    host.ip('link', 'del', 'mv9')
    opened = [open_vm(j, m.num(INDEX)) for m in ups]
    if not t.ok(all(m.kind == OK and len(m.fds) == 1 for m in opened), f'jail opens ours: {[m.text(TEXT) for m in opened]}'):
        return t.done()
    name, flags = struct.unpack('16sH14x', fcntl.ioctl(opened[0].fds[0], TUNGETIFF, bytes(32)))
    t.ok(name.rstrip(b'\0') == b'vmtap1' and flags & netlab.IFF_VNET_HDR and flags & netlab.IFF_TAP, 'what vmm asks of a tap holds: TAP, with headers')
    a, b = (Guest(m.fds[0], mac, f'192.168.50.{220 + i}/24', LAN4) for i, (m, mac) in enumerate(zip(opened, MACS)))
    t.ok(ping(a.ns, LAN4) and tcp(a.ns, LAN4, 80) == 'ok' and udp(a.ns, LAN4, 53) == 'ok', 'the VM reaches the LAN')
    inside = Servers(a.ns, tcp=(81,))
    t.ok(tcp(lan, '192.168.50.220', 81) == 'ok' and ping(lan, '192.168.50.221'), 'the LAN reaches VMs')
    t.ok(tcp(b.ns, '192.168.50.220', 81) == 'ok', 'and they each other')
    guarded = not any('nothing guards' in (m.text(TEXT) or '') for m in ups)
    if guarded:
        check_forged(t, lan, a, b)
    else:
        t.skip('guards on the LAN', ups[0].text(TEXT))
    t.ok(MACS[0] in lan.ip('neigh'), 'by the VM\'s own MAC')
    t.ok(not ping(host, '192.168.50.220', 1), 'the host does not (macvlan)')
    os.kill(p.pid, 9)
    p.wait()
    c.close()
    p, c = start([netd])
    t.ok(tcp(a.ns, LAN4, 80) == 'ok', 'netd killed: it goes on')
    c.ask(HOST_UP, [(OWNER, 'other')])
    t.ok(c.ask(SYNC).kind == OK and {'vmtap1', 'vmtap2'} <= snapshot(host)[0], 'another daemon takes none of them')
    t.ok(c.ask(MACVTAP_UP, asked).kind == ERR and c.ask(TAP_DOWN, [asked[0]]).kind == OK and tcp(a.ns, LAN4, 80) == 'ok', 'not by name either')
    c.ask(HOST_DOWN)
    c.ask(HOST_UP, [(OWNER, 't2')])
    t.ok(c.ask(TAP_ADOPT, guards[0]).kind == OK and c.ask(SYNC, [(LINK, 'vmtap1')]).kind == OK, 'the own one tidies up')
    t.ok('vmtap1' in snapshot(host)[0] and 'vmtap2' not in snapshot(host)[0] and tcp(a.ns, LAN4, 80) == 'ok', 'what is named stays and works, what is not goes')
    if guarded:
        check_forged(t, lan, a)
    t.ok(c.ask(TAP_ADOPT, guards[0][:2]).kind == OK, 'an address that is not known any more')
    check_dhcp(t, lan, a.ns)
    inside.close()
    a.close(), b.close()
    again = c.ask(MACVTAP_UP, asked)
    t.ok(again.kind == OK and again.num(INDEX) != ups[0].num(INDEX), f'one that was left of that name is made anew: {again.text(TEXT)}')
    four = open_vm(j, again.num(INDEX), 4)
    t.ok(four.kind == OK and len(four.fds) == 4, f'four queues: {four.text(TEXT)}')
    for fd in four.fds:
        os.close(fd)
    t.ok(c.ask(TAP_DOWN, [asked[0]]).kind == OK and c.ask(TAP_DOWN, [asked[0]]).kind == OK, 'it goes, twice')
    far = Ns() # its link gets the number that ours will have, and with it the node
    far.ip('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1')
    far.ip('link', 'add', 'link', 'v0', 'name', 'm0', 'index', str(again.num(INDEX) + 1), 'type', 'macvtap', 'mode', 'bridge')
    m = c.ask(MACVTAP_UP, asked)
    if t.ok(m.kind == OK and m.num(INDEX) == again.num(INDEX) + 1, f'another namespace has a link of that number: {m.text(TEXT)}'):
        m = j.ask(J_TAP, [(IFINDEX, m.num(INDEX))])
        t.ok(m.kind == ERR and 'another network namespace' in m.text(TEXT), f'jail does not take its device for ours: {m.text(TEXT)}')
    c.ask(TAP_DOWN, [asked[0]])
    far.ip('link', 'del', 'm0')
    far.close()
    c.ask(HOST_DOWN)
    now = snapshot(host)
    t.ok(now[0] == begun[0] and now[1] == begun[1], f'nothing is left: {[x ^ y for x, y in zip(now, begun)]}')
    servers.close()
    for q, chan in ((p, c), (pj, j)):
        chan.close()
        t.ok(q.wait(5) == 0, 'it ends')
    return t.done()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:3]))
