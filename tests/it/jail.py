#!/usr/bin/env python3
"""jail with the real vmm program: the cage, its end, adoption after jail's death, refusals.

usage: jail.py PATH-OF-jail PATH-OF-vmm   (needs /dev/kvm)
"""
import os, select, signal, socket, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Chan, Tap, start, ERR, OK, TEXT

SPAWN, KILL, ADOPT, EXITED, DESCRIBE, NETNS = 16, 17, 18, 19, 20, 21
NAME, SLOT, RAM, VCPUS, PID, STATUS, DESCRIPTION = 16, 17, 18, 19, 20, 21, 22
V_HELLO = 16
UID_FIRST = 1835597824 + 16


def proc(pid, name):
    with open(f'/proc/{pid}/{name}') as f:
        return f.read()


def status(pid, key):
    return next(l for l in proc(pid, 'status').splitlines() if l.startswith(key + ':')).split()[1:]


def listener(folder, name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(os.path.join(folder, name))
    s.listen(4)
    os.chmod(os.path.join(folder, name), 0o666)
    return s


def hello(folder, name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(os.path.join(folder, name))
    return Chan(s).recv()


def check_cage(t, pid):
    root = os.geteuid() == 0
    t.ok(int(status(pid, 'CapEff')[0], 16) == 0 and int(status(pid, 'CapPrm')[0], 16) == 0, 'vmm has no capabilities')
    t.ok(status(pid, 'NoNewPrivs') == ['1'], 'and cannot gain any')
    t.ok([os.stat(f'/proc/{pid}/fd/{n}').st_rdev for n in range(3)] == [os.makedev(1, 3)] * 3,
         'its standard descriptors are /dev/null')
    if not root:
        t.skip('uid and namespaces', 'not root')
        return
    t.ok(status(pid, 'Uid') == [str(UID_FIRST + 7)] * 4 and status(pid, 'Groups') == [], 'it has the uid of its slot and no groups')
    for ns in ('mnt', 'pid', 'net', 'ipc', 'uts'):
        t.ok(os.readlink(f'/proc/{pid}/ns/{ns}') != os.readlink(f'/proc/self/ns/{ns}'), f'its own {ns} namespace')
    mounts = proc(pid, 'mountinfo').splitlines()
    t.ok(len(mounts) == 1 and ' / / ro,' in mounts[0] and os.listdir(f'/proc/{pid}/root') == [], 'its root is empty and read-only')


def check_netns(t, c, pid):
    if os.geteuid() != 0:
        t.ok(c.ask(NETNS, [(NAME, 'demo-1')]).kind == ERR, 'without root there is no network namespace to open')
        return
    t.ok(c.ask(NETNS, [(NAME, 'nobody')]).kind == ERR, 'the namespace of an unknown VM is refused')
    m = c.ask(NETNS, [(NAME, 'demo-1')])
    if not t.ok(m.kind == OK and len(m.fds) == 6, f'the network namespace is opened: {m.text(TEXT) or m.text(DESCRIPTION) or ""}'):
        return
    t.ok(os.fstat(m.fds[3]).st_ino == os.stat(f'/proc/{pid}/ns/net').st_ino, 'it is the vmm\'s')
    route, udp = socket.socket(fileno=m.fds[0]), socket.socket(fileno=m.fds[4])
    t.ok(route.family == socket.AF_NETLINK and udp.getsockname()[1] == 53, 'sockets of netlink, and port 53')
    inside = ['nsenter', '-t', str(pid), '-n', '--']
    got = subprocess.run(inside + ['sh', '-c', 'ip -br link; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; ss -lun'], capture_output=True, text=True).stdout
    t.ok('LOOPBACK,UP' in got and got.splitlines()[1:3] == ['1', '1'] and ':53' in got, f'lo is up, it forwards, somebody listens at 53: {got!r}')
    t.ok(c.ask(NETNS, [(NAME, 'demo-1')]).kind == ERR, 'a second time while the DNS sockets are held is refused')
    route.close(), udp.close()
    for fd in m.fds[1:4] + m.fds[5:]:
        os.close(fd)
    again = c.ask(NETNS, [(NAME, 'demo-1')])
    t.ok(again.kind == OK, 'and given once they are closed')
    for fd in again.fds:
        os.close(fd)


def main(jail, vmm):
    t = Tap()
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        t.skip('jail', 'no usable /dev/kvm')
        return t.done()
    folder = tempfile.mkdtemp(prefix='mica-jail-')
    program = os.open(vmm, os.O_RDONLY)
    p, c = start([jail], [program])
    m = c.ask(DESCRIBE)
    t.ok(m.kind == OK and 'each vmm' in m.text(DESCRIPTION), 'it says what the cage holds: ' + m.text(DESCRIPTION))
    t.ok(c.ask(KILL, [(NAME, 'nobody')]).kind == ERR, 'killing an unknown VM is refused')
    ctl = listener(folder, 'ctl')
    begun = time.monotonic()
    m = c.ask(SPAWN, [(NAME, 'demo-1'), (SLOT, 7), (RAM, 64 << 20)], [ctl.fileno()])
    if not t.ok(m.kind == OK and len(m.fds) == 1, f'a vmm starts ({(time.monotonic() - begun) * 1000:.1f} ms): {m.text(TEXT) or ""}'):
        return t.done()
    pid = m.num(PID)
    h = hello(folder, 'ctl')
    t.ok(h is not None and h.kind == V_HELLO, 'it answers on its socket')
    check_cage(t, pid)
    check_netns(t, c, pid)
    t.ok(c.ask(SPAWN, [(NAME, 'demo-1'), (SLOT, 8), (RAM, 64 << 20)], [ctl.fileno()]).kind == ERR, 'a second of that name is refused')

    c.close()
    t.ok(p.wait(5) == 0, 'jail ends with its channel')
    h = hello(folder, 'ctl')
    t.ok(h is not None and h.kind == V_HELLO, 'the vmm lives on')
    p, c = start([jail], [program])
    t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 7), (PID, os.getpid())]).kind == ERR, 'a process that is no vmm is not adopted')
    if os.geteuid() == 0:
        t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 8), (PID, pid)]).kind == ERR, 'nor one of another slot')
    t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 7), (PID, pid)]).kind == OK, 'a new jail adopts it')
    t.ok(c.ask(KILL, [(NAME, 'demo-1')]).kind == OK, 'kill')
    m = c.recv()
    t.ok(m.kind == EXITED and m.text(NAME) == 'demo-1', 'its end is told')
    t.ok(not os.path.exists(f'/proc/{pid}') or status(pid, 'State')[0] in 'ZX', 'it is gone')

    m = c.ask(SPAWN, [(NAME, 'demo-2'), (SLOT, 9), (RAM, 64 << 20)], [ctl.fileno()])
    os.kill(m.num(PID), signal.SIGKILL)
    e = c.recv()
    t.ok(e.kind == EXITED and e.num(STATUS) == 2 * 256 + 9, 'a vmm that is killed by somebody is told with its signal')
    # core sees an end by itself and may start that VM again before jail has had the time to look
    old = c.ask(SPAWN, [(NAME, 'demo-3'), (SLOT, 9), (RAM, 64 << 20)], [ctl.fileno()])
    os.kill(p.pid, signal.SIGSTOP)
    c.send(DESCRIBE)
    os.kill(old.num(PID), signal.SIGKILL)
    select.select(old.fds, [], [], 10)
    again = c.send(SPAWN, [(NAME, 'demo-3'), (SLOT, 9), (RAM, 64 << 20)], fds=[ctl.fileno()])
    os.kill(p.pid, signal.SIGCONT)
    said = [c.recv() for _ in range(3)]
    t.ok([m.kind for m in said] == [OK, EXITED, OK] and said[2].id == again, 'a VM that has ended starts again, its end told first: ' +
         str([m.text(TEXT) or m.kind for m in said]))
    c.ask(KILL, [(NAME, 'demo-3')])
    c.recv()
    c.send(SPAWN, [(NAME, '../../x'), (SLOT, 1)], fds=[ctl.fileno()])
    t.ok(c.recv() is None, 'a bad name cuts core off')
    t.ok(p.wait(5) == 0, 'and jail ends')
    return t.done()


sys.exit(main(sys.argv[1], sys.argv[2]))
