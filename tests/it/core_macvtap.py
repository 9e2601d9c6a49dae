#!/usr/bin/env python3
"""core_macvtap.py CORE: VMs on the LAN in the real core between the made-up front, jail, netd and vmm of core_fake.py: what is asked of whom, in which
order, addresses of a pool and by DHCP, what is said when a link cannot be had, adoption, and what is taken down. TAP."""
import os, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_seen import asked, refuse, replies, seen  # noqa: E402
from core_fake import C_DELETE, C_DESCRIBE, OK, T_IP, T_NET_MODE, T_VM, TEXT, World, ok, refused, says  # noqa: E402

J_SPAWN, J_TAP, J_IFINDEX = 16, 23, 28
TAP_DOWN, HOST_UP, SYNC, PARENT_LOOK, MACVTAP_UP = 19, 21, 22, 33, 34
N_TAP, N_LINK, N_MAC, N_PARENT, N_INDEX = 18, 26, 27, 41, 42
CONFIG = '''config:
  host_groups:
  - name: lan
    count: 0
    ram_mb: 64
    storage_size: 4M
    network: {mode: macvtap, gateway: 192.168.50.1/24, parent: eth7}
  - name: dyn
    count: 0
    ram_mb: 64
    storage_size: 4M
    network: {mode: macvtap, tap_prefix: dyn}
  - name: dns
    count: 0
    ram_mb: 64
    storage_size: 4M
    dns_servers: [9.9.9.9]
    network: {mode: macvtap}
  api:
    port: %d
'''
replies.update({MACVTAP_UP: (((N_INDEX, 77),), 0), J_TAP: ((), 1)})


def kinds():
    return [(w, t) for w, t, _ in seen]


def record(w, vm):
    with open(os.path.join(w.state, 'vm', vm, 'record')) as f:
        return f.read()


def test_start(w):
    w.wait_for(lambda: asked('netd', SYNC))
    ok([t for who, t, _ in seen if who == 'netd'] == [HOST_UP, PARENT_LOOK, PARENT_LOOK, PARENT_LOOK, SYNC], 'nothing is made on the host for a group', kinds())
    ok([m.str(N_PARENT) for m in asked('netd', PARENT_LOOK)] == ['eth7', None, None], 'parents that are named or not', [m.str(N_PARENT) for m in asked('netd', PARENT_LOOK)])
    ok(any("host group 'lan': no eth7" in x for x in w.lines), 'what is missing is told', w.lines)


def test_pool(w):
    del seen[:]
    m = w.create('lan')
    vm = m.str(T_VM)
    ok(m.type == OK and m.str(T_IP) == '192.168.50.220/24', 'an address of the pool is in the reply', says(m))
    ok(kinds()[:3] == [('netd', MACVTAP_UP), ('jail', J_TAP), ('jail', J_SPAWN)], 'a link, opened, then a process', kinds())
    up = asked('netd', MACVTAP_UP)[0]
    ok(up.str(N_TAP).startswith('vmtap') and up.str(N_PARENT) == 'eth7' and asked('jail', J_TAP)[0].num(J_IFINDEX) == 77, 'what they are told')
    ok(w.ask(C_DESCRIBE, (T_VM, vm)).str(T_NET_MODE) == 'macvtap' and 'ip=192.168.50.220/24' in record(w, vm), 'describe and record say so')
    second = w.create('lan')
    ok(second.str(T_IP) == '192.168.50.221/24', 'the next', says(second))
    del seen[:]
    w.ask(C_DELETE, (T_VM, second.str(T_VM)))
    ok(w.wait_for(lambda: len(asked('netd', TAP_DOWN)) == 1), 'its link goes with it')
    return vm, up.str(N_TAP)


def test_dhcp(w):
    m = w.create('dyn')
    vm = m.str(T_VM)
    ok(m.type == OK and m.str(T_IP) == '0.0.0.0/0' and w.create('dyn').str(T_IP) == '0.0.0.0/0', 'by DHCP the address is not known', says(m))
    ok(not asked('netd', MACVTAP_UP)[-1].str(N_PARENT) and asked('netd', MACVTAP_UP)[-1].str(N_TAP).startswith('dyn'), 'the default parent, a prefix of its own')
    ok(refused(w.create('dyn', (T_IP, '192.168.50.9')), 400, 'by DHCP'), 'none can be asked for')
    w.ask(C_DELETE, (T_VM, vm))


def test_refusals(w):
    for kind, text in ((MACVTAP_UP, 'the parent is down'), (J_TAP, 'no devtmpfs')):
        refuse[kind] = 500, text
        del seen[:]
        m = w.create('lan')
        ok(refused(m, 500, text) and 'network could not be made' in says(m), f'"{text}" is the reason of the failure', says(m))
        ok(w.wait_for(lambda: asked('netd', TAP_DOWN)) and not asked('jail', J_SPAWN), 'no process was made, the link is taken back', kinds())


def test_adoption(w, vm, tap):
    w.kill9()
    del seen[:]
    w.start(config=CONFIG % w.port)
    ok(w.status_of(vm) == 'Running' and not asked('netd', MACVTAP_UP) and not asked('jail', J_TAP), 'a new core: it goes on as it is', kinds())
    links = [v for t, v in asked('netd', SYNC)[-1].fields if t == N_LINK]
    ok(tap.encode() in [bytes(x) for x in links], 'and netd hears that its link is in use', links)
    m = w.create('lan')
    ok(m.type == OK and m.str(T_IP) == '192.168.50.221/24', 'its address stays taken', says(m))
    del seen[:]
    w.ask(C_DELETE, (T_VM, vm))
    ok(w.wait_for(lambda: [m.str(N_TAP) for m in asked('netd', TAP_DOWN)] == [tap]), 'deleted, its link goes')


def main():
    w = World()
    replies[PARENT_LOOK] = (((TEXT, 'no eth7'),), 0)
    with core_fake.told(w):
        w.start(config=CONFIG % w.port)
        test_start(w)
        vm, tap = test_pool(w)
        test_dhcp(w)
        test_refusals(w)
        test_adoption(w, vm, tap)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
