#!/usr/bin/env python3
"""jail with the real vmm program: the cage, its end, adoption after jail's death, refusals.

usage: jail.py PATH-OF-jail PATH-OF-vmm   (needs /dev/kvm)
"""
import os, select, signal, socket, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Chan, Tap, start, ERR, OK, TEXT

SPAWN, KILL, ADOPT, EXITED, DESCRIBE, NETNS = 16, 17, 18, 19, 20, 21
NAME, SLOT, RAM, VCPUS, PID, STATUS, DESCRIPTION, WEIGHT, MORE = 16, 17, 18, 19, 20, 21, 22, 23, 24
IO_MAJOR, IO_MINOR, IO_BYTES_S = 30, 31, 32
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


def hierarchy():
    """where cgroup v2 is mounted, or None"""
    for line in proc('self', 'mountinfo').splitlines():
        left, right = line.split(' - ')
        if right.startswith('cgroup2 ') and left.split()[3] == '/':
            return left.split()[4]
    return None


def group_of(pid):
    return next((l[3:] for l in proc(pid, 'cgroup').splitlines() if l.startswith('0::')), None)


def limits_hold(path, vcpus, ram, weight, more=0, io=''):
    """what the kernel says of this group; a controller that is not there is not asked"""
    want = {'memory.max': str(ram + ram // 32 + (256 << 20) + more), 'memory.oom.group': '1', 'cpu.max': '%d 100000' % ((vcpus + 1) * 100000),
            'cpu.weight': str(weight), 'pids.max': str(vcpus + 32)}
    if io:
        want['io.max'] = io
    said = {}
    for name in want:
        try:
            with open(os.path.join(path, name)) as f:
                said[name] = f.read().strip()
        except FileNotFoundError:
            pass
    return all(want[k] == v for k, v in said.items()), said


def disk_of(folder):
    """"254:0" of the whole disk below a folder; '' for file systems that are on none"""
    at = os.stat(folder).st_dev
    path = '/sys/dev/block/%d:%d' % (os.major(at), os.minor(at))
    if not os.path.exists(path):
        return ''
    path = os.path.realpath(path)
    with open((os.path.dirname(path) if os.path.exists(path + '/partition') else path) + '/dev') as f:
        return f.read().strip()


def check_cgroup(t, pid, said, io):
    top = hierarchy()
    if os.geteuid() != 0 or not top:
        t.ok('rlimits' in said, 'no cgroup to be had, and it says so')
        return
    group = group_of(pid)
    t.ok(group.startswith('/mica/vm-demo-1.') and group.count('/') == 2, 'a cgroup of its own: %s' % group)
    good, found = limits_hold(top + group, 3, 64 << 20, 250, 1 << 30, io)
    t.ok(good and ('rlimits' in said) == (len([n for n in found if n != 'io.max']) < 5), 'its limits: %s; what is missing is said: %s' % (found, said))
    t.ok(('no io.max' in said) != os.path.exists(top + group + '/io.max'), 'whether io is limited is said')


def delegated(t, jail, program, folder):
    """as systemd does with Delegate=yes: a group marked as given away, the daemon's processes in it"""
    top = hierarchy()
    if os.geteuid() != 0 or not top:
        t.skip('delegation', 'needs root and cgroup v2')
        return
    base = '%s/mica-test-%d' % (top, os.getpid())
    os.mkdir(base)
    os.setxattr(base, 'trusted.delegate', b'1')
    try:
        with open(base + '/cgroup.procs', 'w') as f, open(top + group_of('self') + '/cgroup.procs', 'w') as back:
            f.write(str(os.getpid()))
            f.flush()
            p, c = start([jail], [program])
            c.ask(DESCRIBE)
            t.ok(group_of(p.pid) == '/%s/daemon' % os.path.basename(base) == group_of('self'), 'it and its supervisor go one down: %s' % group_of(p.pid))
            ctl = listener(folder, 'ctl-d')
            m = c.ask(SPAWN, [(NAME, 'demo-5'), (SLOT, 7), (RAM, 64 << 20), (VCPUS, 1)], [ctl.fileno()])
            t.ok(group_of(m.num(PID)).startswith('/%s/vm-demo-5.' % os.path.basename(base)), 'a VM beside them')
            t.ok(limits_hold(top + group_of(m.num(PID)), 1, 64 << 20, 100)[0], 'with its limits')
            c.ask(KILL, [(NAME, 'demo-5')])
            c.recv()
            t.ok([n for n in os.listdir(base) if n.startswith('vm-')] == [], 'its group goes with it')
            c.close()
            p.wait(5)
            back.write(str(os.getpid()))
    finally:
        for name in ('daemon', '.'):
            if os.path.isdir(base + '/' + name):
                os.rmdir((base + '/' + name).removesuffix('/.'))


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
    described = m.text(DESCRIPTION)
    at, whole = os.stat(folder).st_dev, disk_of(folder)
    io = whole and whole + ' rbps=1000000 wbps=1000000 riops=max wiops=max'
    m = c.ask(SPAWN, [(NAME, 'demo-1'), (SLOT, 7), (RAM, 64 << 20), (VCPUS, 3), (WEIGHT, 250), (MORE, 1 << 30), (IO_MAJOR, os.major(at)), (IO_MINOR, os.minor(at)),
                      (IO_BYTES_S, 1000000)], [ctl.fileno()])
    if not t.ok(m.kind == OK and len(m.fds) == 1, f'a vmm starts ({(time.monotonic() - begun) * 1000:.1f} ms): {m.text(TEXT) or ""}'):
        return t.done()
    pid = m.num(PID)
    h = hello(folder, 'ctl')
    t.ok(h is not None and h.kind == V_HELLO, 'it answers on its socket')
    check_cage(t, pid)
    check_cgroup(t, pid, described, io)
    check_netns(t, c, pid)
    t.ok(c.ask(SPAWN, [(NAME, 'demo-1'), (SLOT, 8), (RAM, 64 << 20)], [ctl.fileno()]).kind == ERR, 'a second of that name is refused')

    c.close()
    t.ok(p.wait(5) == 0, 'jail ends with its channel')
    h = hello(folder, 'ctl')
    t.ok(h is not None and h.kind == V_HELLO, 'the vmm lives on')
    ours = hierarchy() + '/mica/' if hierarchy() and os.geteuid() == 0 else None
    if ours:
        os.mkdir(ours + 'vm-left.1')
        os.mkdir(ours + 'other')
    p, c = start([jail], [program])
    t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 7), (PID, os.getpid())]).kind == ERR, 'a process that is no vmm is not adopted')
    if os.geteuid() == 0:
        t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 8), (PID, pid)]).kind == ERR, 'nor one of another slot')
    t.ok(c.ask(ADOPT, [(NAME, 'demo-1'), (SLOT, 7), (PID, pid), (RAM, 128 << 20), (VCPUS, 1), (WEIGHT, 90)]).kind == OK, 'a new jail adopts it')
    if ours:
        t.ok(not os.path.exists(ours + 'vm-left.1') and os.path.exists(ours + 'other'), 'the group of a VM that is gone is removed, no other')
        os.rmdir(ours + 'other')
        group = hierarchy() + group_of(pid)
        t.ok(limits_hold(group, 1, 128 << 20, 90)[0], 'its limits are set once more')
    t.ok(c.ask(KILL, [(NAME, 'demo-1')]).kind == OK, 'kill')
    m = c.recv()
    t.ok(m.kind == EXITED and m.text(NAME) == 'demo-1', 'its end is told')
    t.ok(not os.path.exists(f'/proc/{pid}') or status(pid, 'State')[0] in 'ZX', 'it is gone')
    if ours:
        t.ok(not os.path.exists(group), 'with its cgroup')

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
    delegated(t, jail, program, folder)
    return t.done()


sys.exit(main(sys.argv[1], sys.argv[2]))
