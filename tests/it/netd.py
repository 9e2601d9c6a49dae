#!/usr/bin/env python3
"""netd against a real kernel, inside a network namespace of its own: bridge, tap, address translation, refusals.

usage: netd.py PATH-OF-netd [PATH-OF-jail…]   (needs root; re-executes itself under `unshare -n`)
"""
import os, subprocess, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap, start, ERR, OK, TEXT

BRIDGE_UP, BRIDGE_DOWN, TAP_UP, TAP_DOWN, LIST = 16, 17, 18, 19, 20
BRIDGE, GATEWAY, TAP, QUEUES = 16, 17, 18, 19


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True)


def main(program):
    t = Tap()
    if os.geteuid() != 0:
        t.skip('netd', 'needs root to make a network namespace')
        return t.done()
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-n', sys.executable, os.path.abspath(__file__), program])
    run('ip', 'link', 'add', 'theirs', 'type', 'veth', 'peer', 'name', 'theirs2')
    p, c = start([program])
    m = c.ask(BRIDGE_UP, [(BRIDGE, 'theirs'), (GATEWAY, '10.77.0.1/24')])
    t.ok(m.kind == ERR and 'theirs' in m.text(TEXT), 'an interface that is not ours is refused: ' + (m.text(TEXT) or ''))
    for bad in ('../x', 'a b', '', 'abcdefghijklmnop', '.'):
        m = c.ask(BRIDGE_UP, [(BRIDGE, bad), (GATEWAY, '10.77.0.1/24')])
        t.ok(m.kind == ERR, f'bridge name {bad!r} is refused')
    for bad in ('10.77.0.1', '10.77.0.1/33', '10.77.0.256/24', '10.77.0.1/0'):
        m = c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, bad)])
        t.ok(m.kind == ERR, f'gateway {bad!r} is refused')
    m = c.ask(TAP_UP, [(TAP, 'vmtap1'), (BRIDGE, 'brmica0')])
    t.ok(m.kind == ERR, 'a tap without its bridge is refused: ' + (m.text(TEXT) or ''))

    for _ in range(2):
        m = c.ask(BRIDGE_UP, [(BRIDGE, 'brmica0'), (GATEWAY, '10.77.0.1/24')])
        t.ok(m.kind == OK, 'bridge up, once and again: ' + (m.text(TEXT) or ''))
    t.ok('inet 10.77.0.1/24' in run('ip', 'addr', 'show', 'brmica0').stdout, 'it has the address')
    t.ok(open('/proc/sys/net/ipv4/ip_forward').read().strip() == '1', 'forwarding is on')
    m = c.ask(TAP_UP, [(TAP, 'vmtap1'), (BRIDGE, 'brmica0')])
    t.ok(m.kind == OK and len(m.fds) == 1, 'a tap: ' + (m.text(TEXT) or ''))
    t.ok('master brmica0' in run('ip', 'link', 'show', 'vmtap1').stdout, 'it is on the bridge')
    t.ok(c.ask(TAP_UP, [(TAP, 'vmtap1'), (BRIDGE, 'brmica0')]).kind == ERR, 'the same tap twice is refused while its fd lives')
    m2 = c.ask(LIST)
    t.ok(m2.all(BRIDGE) == ['brmica0'] and m2.all(TAP) == ['vmtap1'], f'the list knows both, and nothing else: {m2.list}')
    if run('sh', '-c', 'command -v nft').returncode == 0:
        rules = run('nft', 'list', 'table', 'inet', 'mica').stdout
        t.ok('oifname != "brmica0" ip saddr 10.77.0.0/24 masquerade' in rules and rules.count('masquerade') == 1 and 'elements = { "brmica0" }' in rules, 'one rule translates')
    else:
        t.skip('the rule as nft shows it', 'no nft program')
    status = open(f'/proc/{p.pid}/status').read()
    caps = int(next(l for l in status.splitlines() if l.startswith('CapEff')).split()[1], 16)
    t.ok(caps & ~(1 << 12 | 1 << 1) == 0 and 'Seccomp:\t2' in status and '\nUid:\t0\t' not in status, f'netd has its own user, CAP_NET_ADMIN and a filter (caps {caps:#x})')
    for fd in m.fds:
        os.close(fd)
    t.ok('vmtap1' not in run('ip', 'link').stdout, 'the tap goes with its descriptor')
    for bad in (0, 5, 1 << 40):
        t.ok(c.ask(TAP_UP, [(TAP, 'vmtap2'), (BRIDGE, 'brmica0'), (QUEUES, bad)]).kind == ERR, f'{bad} queues are refused')
    m = c.ask(TAP_UP, [(TAP, 'vmtap2'), (BRIDGE, 'brmica0'), (QUEUES, 4)])
    t.ok(m.kind == OK and len(m.fds) == 4, 'a tap with four queues: ' + (m.text(TEXT) or ''))
    for fd in m.fds[1:]:
        os.close(fd)
    t.ok('vmtap2' in run('ip', 'link').stdout, 'it stays while one of them does')
    os.close(m.fds[0])
    for _ in range(100):  # netd closes its own a moment after it has sent them
        if 'vmtap2' not in run('ip', 'link').stdout:
            break
        time.sleep(0.05)
    t.ok('vmtap2' not in run('ip', 'link').stdout, 'and goes with the last')
    t.ok(c.ask(TAP_DOWN, [(TAP, 'vmtap1')]).kind == OK, 'taking down a tap that is gone is fine')
    t.ok(c.ask(BRIDGE_DOWN, [(BRIDGE, 'brmica0')]).kind == OK and 'brmica0' not in run('ip', 'link').stdout, 'bridge down')
    t.ok(c.ask(BRIDGE_DOWN, [(BRIDGE, 'theirs')]).kind == ERR and 'theirs' in run('ip', 'link').stdout, 'not theirs')
    c.send(99)
    t.ok(c.recv() is None and p.wait(5) == 1, 'an unknown frame ends it')
    p, c = start([program])
    c.close()
    t.ok(p.wait(5) == 0, 'it ends with its channel')
    return t.done()


sys.exit(main(sys.argv[1]))
