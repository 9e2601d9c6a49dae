#!/usr/bin/env python3
"""core_iso.py CORE: isolated VMs in the real core between the made-up front, jail, netd and vmm of core_fake.py: what is asked of whom and in which order, what
is said when it cannot be had, adoption, and what is taken down. TAP."""
import os, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_seen import asked, refuse, replies, seen  # noqa: E402
from core_fake import (C_DELETE, C_DESCRIBE, C_RELAUNCH, C_SHUTDOWN, OK, T_ACTION, T_ALLOW, T_IP, T_NET_MODE, T_PERSISTENT, T_VM,  # noqa: E402
                       T_WAIT, TEXT, World, frame, ok, refused, says)

J_SPAWN, J_NETNS = 16, 21
HOST_UP, SYNC, RANGE_UP, ISO_UP, ISO_ADOPT, VM_DOWN, HOST_DOWN = 21, 22, 23, 25, 26, 27, 32
N_VM, N_LINK, N_GUEST4, N_GW4, N_GUEST6, N_DEFAULT, N_RULE, N_NAME, N_RANGE4, N_RANGE6 = 25, 26, 28, 29, 30, 32, 33, 22, 23, 24
CONFIG = '''config:
  host_groups:
  - name: ok
    count: 0
    ram_mb: 64
    storage_size: 4M
    network: {mode: isolated, range: 10.88.0.0/29, allow: [1.2.3.4, 'example.com:443'], drop: [10.0.0.0/8]}
  - name: abcdefghijklm
    count: 0
    ram_mb: 64
    storage_size: 4M
    network: {mode: isolated, range: 10.89.0.0/24}
  - name: far
    count: 0
    ram_mb: 64
    storage_size: 4M
    network: {mode: isolated, ipv6: false}
  api:
    port: %d
'''
replies.update({ISO_UP: ((), 1), J_NETNS: ((), 6)})


def order(*wanted):
    """Did these come in this order?"""
    at = 0
    for w, t, _ in seen:
        if at < len(wanted) and (w, t) == wanted[at]:
            at += 1
    return at == len(wanted)


def test_start(w):
    w.wait_for(lambda: asked('netd', SYNC))
    kinds = [t for who, t, _ in seen if who == 'netd']
    ok(kinds == [HOST_UP, RANGE_UP, RANGE_UP, RANGE_UP, SYNC], 'netd hears who we are, the ranges, and that nothing lives', kinds)
    up = asked('netd', RANGE_UP)
    ok(up[0].str(N_NAME) == 'ok' and up[0].str(N_RANGE4) == '10.88.0.0/29' and up[0].str(N_RANGE6).startswith('fd') and up[0].str(N_RANGE6).endswith('/64'),
       'a range that is given, and a private /64', [up[0].str(x) for x in (N_NAME, N_RANGE4, N_RANGE6)])
    ok(up[2].str(N_RANGE4).startswith('169.254.') and up[2].str(N_RANGE4).endswith('/22') and not up[2].str(N_RANGE6),
       'one that is derived, without IPv6', up[2].str(N_RANGE4))


def test_life(w):
    del seen[:]
    m = w.create('ok', (T_PERSISTENT, 1))
    ok(m.type == OK and m.str(T_IP) == '10.88.0.2/30', 'the address is in the reply', says(m))
    vm = m.str(T_VM)
    ok(order(('jail', J_SPAWN), ('jail', J_NETNS), ('netd', ISO_UP)), 'a process, its namespace, then its network', [(a, b) for a, b, _ in seen])
    n = asked('netd', ISO_UP)[0]
    ok((n.str(N_VM), n.str(N_GUEST4), n.str(N_GW4)) == (vm, '10.88.0.2/30', '10.88.0.1') and n.str(N_LINK).startswith('mica-') and
       n.str(N_GUEST6).endswith('::a58:2/126'), 'what netd is told', [n.str(x) for x in (N_LINK, N_GUEST4, N_GW4, N_GUEST6)])
    ok(len(n.fds) == 4 and n.num(N_DEFAULT) == 1 and sum(t == N_RULE for t, _ in n.fields) == 2, 'four sockets, and the rules of the group')
    ok(w.ask(C_DESCRIBE, (T_VM, vm)).str(T_NET_MODE) == 'isolated', 'describe says so')
    words = open(os.path.join(w.state, 'vm', vm, 'record')).read()
    ok('ip=10.88.0.2/30' in words, 'on record')
    second = w.create('ok')
    ok(second.type == OK and second.str(T_IP) == '10.88.0.6/30', 'the next /30', says(second))
    ok(refused(w.create('ok'), 503, 'no free address'), 'a /29 has room for two')
    del seen[:]
    w.ask(C_DELETE, (T_VM, second.str(T_VM)))
    ok(w.wait_for(lambda: [m.str(N_VM) for m in asked('netd', VM_DOWN)] == [second.str(T_VM)]), 'taken down with it')
    return vm


def test_refusals(w):
    for kind, status, text in ((J_NETNS, 503, 'no namespace for you'), (ISO_UP, 500, 'needs CONFIG_NFT_CT')):
        refuse[kind] = status, text
        m = w.create('far')
        ok(refused(m, status, text) and 'network could not be made' in says(m), f'"{text}" is the reason of the failure', says(m))
    m = w.create('far')
    ok(m.type == OK and not asked('netd', ISO_UP)[-1].str(N_GUEST6), 'then it starts, without IPv6', says(m))
    w.ask(C_DELETE, (T_VM, m.str(T_VM)))
    for n in range(1, 10):
        w.create('abcdefghijklm', wait=None)
    m = w.create('abcdefghijklm', wait=None)
    ok(refused(m, 409, "'abcdefghijklm-10' is longer than the 15 characters"), 'the tenth name is too long', says(m))
    for n in range(1, 10):
        w.ask(C_DELETE, (T_VM, f'abcdefghijklm-{n}'))
    m = w.create('far', (T_ALLOW, 'not an address!'))
    ok(refused(m, 400), 'rules of its own are checked', says(m))


def test_relaunch(w, vm):
    w.ask(C_SHUTDOWN, (T_VM, vm), (T_ACTION, 'shutdown'))
    ok(w.wait_for(lambda: w.status_of(vm) == 'Stopped'), 'stopped')
    del seen[:]
    m = w.ask(C_RELAUNCH, (T_VM, vm), (T_WAIT, 'agent'))
    ok(m.type == OK and order(('jail', J_SPAWN), ('jail', J_NETNS), ('netd', ISO_UP)), 'and started again, with its network', says(m))


def test_adoption(w, vm):
    w.kill9()
    del seen[:]
    w.start(config=CONFIG % w.port)
    ok(order(('netd', HOST_UP), ('netd', RANGE_UP), ('jail', J_NETNS), ('netd', ISO_ADOPT), ('netd', SYNC)), 'a new core: it is adopted before netd tidies up',
       [(a, b) for a, b, _ in seen])
    ok(w.status_of(vm) == 'Running' and asked('netd', ISO_ADOPT)[0].str(N_GUEST4) == '10.88.0.2/30', 'with the address it had')
    w.kill9()
    refuse[ISO_ADOPT] = 500, 'netd is not in the mood'
    w.start(config=CONFIG % w.port)
    ok(w.status_of(vm) == 'Running' and any('not in the mood' in x and 'under the rules it had' in x for x in w.lines),
       'a refusal is told, the VM goes on', w.lines)


def test_broken(w, vm):
    """netd only answers: one that says something else or nothing that can be read is given up, and nobody waits for it."""
    for what, data in (('a request', frame(28, 7, (N_VM, vm))), ('a frame that is cut', frame(OK, 1, (TEXT, 'x'))[:-3]), ('junk', b'\xff' * 40)):
        w.netd.sock.send(data)
        w.core.wait(20)
        w.read_lines()
        ok(any('netd is gone' in x for x in w.lines), f'{what} of netd: core gives it up', w.lines)
        w.kill9()
        w.start(config=CONFIG % w.port)
        ok(w.status_of(vm) == 'Running', 'the next one goes on with the VM')


def test_end(w, vm):
    w.ask(C_DELETE, (T_VM, vm))
    del seen[:]
    w.core.terminate()
    w.core.wait(10)
    ok(w.wait_for(lambda: asked('netd', HOST_DOWN)), 'the last one takes the tables away')


def main():
    w = World()
    with core_fake.told(w):
        w.start(config=CONFIG % w.port)
        test_start(w)
        vm = test_life(w)
        test_refusals(w)
        test_relaunch(w, vm)
        test_adoption(w, vm)
        test_broken(w, vm)
        test_end(w, vm)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
