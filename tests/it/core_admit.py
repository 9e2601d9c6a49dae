#!/usr/bin/env python3
"""core_admit.py CORE: what the real core refuses for want of room (RAM, disk, places of a group), and the shares that it tells jail, between the made-up
front, jail, netd and vmm of core_fake.py. TAP."""
import os, signal, socket, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import C_DELETE, C_RELAUNCH, C_SHUTDOWN, OK, T_VM, World, ok, refused, says  # noqa: E402

J_SPAWN, J_ADOPT, J_RAM, J_VCPUS, J_WEIGHT = 16, 18, 18, 19, 23
J_IO_MAJOR, J_IO_MINOR, J_IO_BYTES, J_IO_OPS = 30, 31, 32, 33
C_DISK_GROW, T_SIZE = 194, 64
asked, io = [], []


class Jail(core_fake.Jail):
    def serve(self, m):
        if m.type in (J_SPAWN, J_ADOPT):
            asked.append((m.type, m.str(16), m.num(J_RAM), m.num(J_VCPUS), m.num(J_WEIGHT)))
            io.append((m.type, m.str(16), m.num(J_IO_MAJOR), m.num(J_IO_MINOR), m.num(J_IO_BYTES), m.num(J_IO_OPS)))
        super().serve(m)


def flood(self):
    """Hellos as fast as it can: on a machine that is slow today, too, more than 16 come within a second of core's."""
    for _ in range(600):
        a, b = socket.socketpair()
        self.tell(core_fake.frame(core_fake.V_INCOMING, 0, (core_fake.VT_PORT, 1025)), [a.fileno()])
        a.close()
        b.close()


core_fake.Jail = Jail
core_fake.Vmm.rave = flood


def config(w, keys, *groups):
    text = 'config:\n%s  host_groups:%s\n' % (''.join('  %s\n' % k for k in keys), '' if groups else ' []')
    for g in groups:
        text += '  - {count: 0, ram_mb: 64, network: {mode: none}, %s}\n' % g
    return text + '  api: {port: %d}\n' % w.port


def mem_total():
    with open('/proc/meminfo') as f:
        return next(int(l.split()[1]) << 10 for l in f if l.startswith('MemTotal'))


def test_groups():
    w = World()
    w.start(config=config(w, [], 'name: ok, max_vms: 2', 'name: mute, cpu_weight: 250, vcpu: 3'))
    try:
        got = [w.create('ok') for _ in range(3)]
        ok([m.type == OK for m in got[:2]] == [True] * 2 and refused(got[2], 409, "host group 'ok' has 2 VMs, and max_vms is 2"), 'max_vms', says(got[2]))
        ok(w.ask(C_DELETE, (T_VM, got[0].str(T_VM))).type == OK and w.create('ok').type == OK, 'after a deletion there is a place')
        ok(w.create('mute', wait='').type == OK and w.wait_for(lambda: any(a[1] == 'mute-1' for a in asked)), 'another group has its own')
        ok({a[1:] for a in asked if a[0] == J_SPAWN} >= {('ok-1', 64 << 20, 2, 100), ('mute-1', 64 << 20, 3, 250)}, 'jail is told RAM, vCPUs and shares', asked)
        w.kill9()
        asked.clear()
        w.start(config=config(w, [], 'name: ok, max_vms: 1', 'name: mute, cpu_weight: 70, vcpu: 3'))
        ok(w.wait_for(lambda: (J_ADOPT, 'mute-1', 64 << 20, 3, 70) in asked), 'and once more when it adopts, as the file says now', asked)
        ok(refused(w.create('ok'), 409, 'has 2 VMs, and max_vms is 1'), 'VMs above a lowered max_vms are kept, no new one is made')
        ok(w.term() == 0, 'stopped')
    finally:
        w.done()


def test_quotas():
    w = World()
    group = 'name: ok, vcpu: 2, storage_size: 4M, disks: [{size: 2M}], %s'
    for quota, want in (('max_vcpus: 3', "the VMs of host group 'ok' have 2 vCPUs together, this wants 2 more, and max_vcpus is 3"), ('max_ram: 100M', 'max_ram is 100'),
                        ('max_disk: 11M', 'have 6 MiB of disks together, this wants 6 more, and max_disk is 11')):
        w.start(config=config(w, [], group % quota, 'name: mute'))
        names = w.names()
        first = w.create('ok') if not names else None
        m = w.create('ok')
        ok((not first or first.type == OK) and refused(m, 409, want) and 'raise it in the host group' in says(m) and 'E_QUOTA' in says(m), quota, says(m))
        w.kill9()
    w.start(config=config(w, [], group % 'max_vcpus: 4', 'name: mute'))
    ok(w.create('ok').type == OK and w.term() == 0, 'raised: there is room')
    w.done()


def test_io():
    io.clear()
    w = World()
    at = os.stat(w.root).st_dev
    where = (os.major(at), os.minor(at))
    w.start(config=config(w, ['vm_io_iops: 150'], 'name: ok, disk_bytes_per_s: 1M, disk_iops: 100, disks: [{size: 1M}]', 'name: mute'))
    try:
        ok(w.create('ok').type == OK and w.create('mute', wait='').type == OK, 'two VMs')
        ok(w.wait_for(lambda: len(io) == 2) and io[0] == (J_SPAWN, 'ok-1', *where, 2621440, 150) and io[1] == (J_SPAWN, 'mute-1', *where, None, 150),
           'jail is told the disk under the state folder, and what all disks of a VM may do there', io)
        w.kill9()
        io.clear()
        w.start(config=config(w, [], 'name: ok', 'name: mute, disk_iops: 20'))
        ok(w.wait_for(lambda: {(J_ADOPT, 'ok-1', *where, None, None), (J_ADOPT, 'mute-1', *where, None, 40)} <= set(io)), 'and as the file says now when it adopts', io)
        ok(w.term() == 0, 'stopped')
    finally:
        w.done()


def test_ram():
    w = World()
    mib = mem_total() // 10 * 2 // 5 >> 20
    w.start(config=config(w, ['ram_overcommit: 10'], 'name: ok').replace('ram_mb: 64', 'ram_mb: %d' % mib))
    try:
        got = [w.create('ok') for _ in range(3)]
        ok([m.type == OK for m in got[:2]] == [True] * 2 and refused(got[2], 503, 'have %d MiB of RAM together, the VM wants %d MiB' % (2 * mib, mib)),
           'ram_overcommit counts what was promised', says(got[2]))
        vm = got[0].str(T_VM)
        ok(w.ask(C_DELETE, (T_VM, vm)).type == OK and w.create('ok').type == OK, 'a VM that went gives its promise back')
        ok(w.term() == 0, 'stopped')
    finally:
        w.done()


def test_disk():
    w = World()
    s = os.statvfs(w.root)
    size = s.f_blocks * s.f_frsize // 10 * 2 // 5 // 4096 * 4096
    w.start(config=config(w, ['disk_overcommit: 10'], 'name: ok, storage_size: %d' % size))
    try:
        got = [w.create('ok') for _ in range(3)]
        ok([m.type == OK for m in got[:2]] == [True] * 2 and refused(got[2], 507, 'all disks would promise %d MiB together' % (3 * size >> 20)),
           'disk_overcommit counts sizes, not blocks', says(got[2]))
        m = w.ask(C_DISK_GROW, (T_VM, got[0].str(T_VM)), (T_SIZE, 2 * size))
        ok(refused(m, 507, 'all disks would promise'), 'nor may one grow beyond it', says(m))
        ok(w.folders() == sorted(m.str(T_VM) for m in got[:2]), 'nothing of the refused one is left', w.folders())
        ok(w.term() == 0, 'stopped')
    finally:
        w.done()


def test_hellos():
    w = World()
    w.start(config=config(w, [], 'name: evil', 'name: ok'))
    try:
        begin = time.monotonic()
        w.create('evil', wait='')
        ok(w.wait_line('NOTE evil-1: its guest opens streams to the daemon more than 16 times a second'), 'a guest that says hello in a loop is told of and dropped', w.lines)
        ok(sum('more than 16' in l for l in w.lines) <= 2 + time.monotonic() - begin, 'once a second at most', w.lines)
        ok(w.create('ok').type == OK, 'others go on')
        ok(w.term() == 0, 'stopped')
    finally:
        w.done()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for test in (test_groups, test_quotas, test_io, test_ram, test_disk, test_hellos):
        test()
    print('1..%d' % core_fake.count)
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
