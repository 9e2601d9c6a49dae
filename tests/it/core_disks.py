#!/usr/bin/env python3
"""core_disks.py CORE: disks of VMs in the real core between the made-up front, jail, netd and vmm: what they take, growing (with kill -9 between its
steps), export, zeros, extra disks. TAP on stdout."""
import os, random, sys, struct, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import (C_CREATE, C_DELETE, C_DESCRIBE, C_LOGS, C_PAUSE, C_RELAUNCH, C_SHUTDOWN, ERR, OK, T_ACTION, T_CTEXT, T_GROUP, T_IMAGE, T_PERSISTENT,  # noqa: E402
                       T_STATUS, T_TIMEOUT, T_VM, T_WAIT, VT_DISK, World, frame, ok, refused, says)
from core_images import NAMES, builder, fields, keep  # noqa: E402

C_DISK_LIST, C_DISK_DF, C_DISK_GROW, C_DISK_EXPORT, C_DISK_SPARSIFY = range(192, 197)
T_SIZE, T_STORED, T_SHARED, T_TOTAL, T_FREE, T_PROMISED, T_FREED, T_DISK, T_ERROR = 64, 208, 272, 273, 274, 275, 276, 277, 278
V_RESIZE, V_DISK = 28, 29
MIB = 1 << 20


class Vmm(core_fake.Vmm):
    """Host group: ok; stale: its guest needs some looks to see the new size; blind: never sees it; odd: its root is no ext4; gone: ends when it hears;
    full: its host has no room until it is paused, as two words say that come thrice."""

    def boot(self, m):
        self.disk_fds, lines = [], []
        for d in [v for t, v in m.fields if t == VT_DISK]:
            f = {t: struct.unpack('<Q', v)[0] for t, v in fields(d).items() if len(v) == 8}
            fd = os.dup(m.fds[f[NAMES['V_T_FD']]])
            self.disk_fds.append(fd)
            limits = f'{f.get(NAMES["V_T_BYTES_S"], 0)} {f.get(NAMES["V_T_OPS_S"], 0)}'
            try:
                os.pwrite(fd, os.pread(fd, 1, 0), 0)
                can = 'rw'
            except OSError:
                can = 'ro'
            lines.append(f'disk {len(self.disk_fds) - 1} {os.fstat(fd).st_size} {can} flag {f.get(NAMES["V_T_READONLY"], 0)} limits {limits}')
        self.looks, self.seen = 0, os.fstat(self.disk_fds[0]).st_size
        super().boot(m)
        os.write(self.console, ('\n'.join(lines) + '\n').encode())
        for index, err in ((0, 28), (2, 28), (0, 28), (8, 28), (0, 1 << 40)) * 3 if self.kind == 'full' else ():
            core_fake.Vmm.tell(self, frame(V_DISK, 0, (NAMES['V_T_DISK_INDEX'], index), (NAMES['V_T_DISK_ERRNO'], err)))

    def tell(self, data, fds=()):
        m = core_fake.Msg(data)
        if m.type == ERR and self.last.type == V_RESIZE: # the one above does not know it
            self.looks = 0
            if self.kind == 'gone':
                os._exit(9)
            data = frame(OK, m.id, (NAMES['V_T_DISK_BYTES'], os.fstat(self.disk_fds[0]).st_size))
        super().tell(data, fds)
        if self.kind == 'full' and m.type == OK and self.last.type == core_fake.V_PAUSE:
            for i in 0, 2:
                super().tell(frame(V_DISK, 0, (NAMES['V_T_DISK_INDEX'], i), (NAMES['V_T_DISK_ERRNO'], 0)))

    def on_core(self):
        real = core_fake.recv

        def keep(sock):
            self.last = real(sock)
            return self.last
        core_fake.recv = keep
        try:
            super().on_core()
        finally:
            core_fake.recv = real

    def on_stream(self, s):
        real = core_fake.frame

        def grown(kind, ident, *more):
            if self.kind == 'odd':
                return real(ERR, ident, (1, 501), (2, 'not ext4'))
            self.looks += 1
            if self.kind in ('ok', 'data') or (self.kind == 'stale' and self.looks > 3):
                self.seen = os.fstat(self.disk_fds[0]).st_size
            return real(kind, ident, (44, self.seen), *more)  # A_T_SIZE
        core_fake.frame = grown if s.recv(70000, 2)[4:6] == struct.pack('<H', core_fake.A_GROW) else real
        try:
            super().on_stream(s)
        finally:
            core_fake.frame = real


core_fake.Vmm = Vmm


def console(w, vm):
    m = w.ask(C_LOGS, (T_VM, vm))
    text = os.pread(m.fds[0], 65536, 0).decode()
    os.close(m.fds[0])
    return text


def disk(w, vm, name='disk.img'):
    return os.path.join(w.state, 'vm', vm, name)


def size_of(w, vm):
    record = open(disk(w, vm, 'record')).read()
    return os.stat(disk(w, vm)).st_size, int(record.split('disk_bytes=')[1].split()[0])


def grow(w, vm, size):
    return w.ask(C_DISK_GROW, (T_VM, vm), (T_SIZE, size))


def stop(w, vm):
    return w.ask(C_SHUTDOWN, (T_VM, vm), (T_ACTION, 'shutdown'))


def start(w, vm):
    return w.ask(C_RELAUNCH, (T_VM, vm), (T_WAIT, 'agent'), (T_TIMEOUT, 8000))


def test_grow(w):
    vm = w.create('ok', (T_PERSISTENT, 1)).str(T_VM)
    m = grow(w, vm, 8 * MIB)
    ok(m.type == OK and m.num(T_SIZE) == 8 * MIB and 'file system have grown' in m.str(T_CTEXT), 'a running VM grows', says(m))
    ok(size_of(w, vm) == (8 * MIB, 8 * MIB), 'file and record have the size', size_of(w, vm))
    m = grow(w, vm, 8 * MIB + 1)
    ok(m.type == OK and m.num(T_SIZE) == 8 * MIB + 4096, 'an odd size is made whole', says(m))
    ok(grow(w, vm, 8 * MIB + 4096).type == OK, 'to the size that it has: again, as after a failure')
    for size, status, word in ((4 * MIB, 409, 'not shrink'), (0, 400, "'size' must be"), (1 << 60, 400, 'at most 16T')):
        m = grow(w, vm, size)
        ok(refused(m, status, word) and size_of(w, vm)[0] == 8 * MIB + 4096, f'{size} bytes are refused', says(m))
    w.ask(C_PAUSE, (T_VM, vm))
    ok(refused(grow(w, vm, 9 * MIB), 409, 'resume it'), 'a paused VM is')
    w.ask(core_fake.C_RESUME, (T_VM, vm))
    stop(w, vm)
    m = grow(w, vm, 16 * MIB)
    ok(m.type == OK and 'next start' in m.str(T_CTEXT) and size_of(w, vm) == (16 * MIB,) * 2, 'a stopped one grows for its next start', says(m))
    ok(start(w, vm).type == OK and f'disk 0 {16 * MIB}' in console(w, vm), 'which has it', console(w, vm))
    m = grow(w, w.create('stale').str(T_VM), 8 * MIB)
    ok(m.type == OK and m.num(T_SIZE) == 8 * MIB, 'a guest that hears of it late is waited for', says(m))
    m = grow(w, w.create('odd').str(T_VM), 8 * MIB)
    ok(m.type == OK and 'not one that grows' in m.str(T_CTEXT), 'a root that does not grow by itself is told of', says(m))
    m = grow(w, w.create('gone', (T_PERSISTENT, 1)).str(T_VM), 8 * MIB)
    ok(m.type == ERR and 'its file system did not follow' in m.str(2), 'a VM that ends meanwhile', says(m))
    blind = w.create('blind').str(T_VM)
    ident = w.post(C_DISK_GROW, (T_VM, blind), (T_SIZE, 8 * MIB))
    ok(refused(grow(w, blind, 9 * MIB), 409, 'try again'), 'one at a time')
    m = w.answer(ident)[-1]
    ok(refused(m, 504, 'old size'), 'a guest that never sees it', says(m))
    for group in ('stale', 'odd', 'blind'):
        w.ask(C_DELETE, (T_GROUP, group), (T_VM, group + '-1'))
    return vm


def test_full(w):
    """What vmm tells of the host's errors: said once, shown while it lasts."""
    vm = w.create('full', (T_PERSISTENT, 1)).str(T_VM)
    line = w.wait_line(f"NOTE {vm}: the host cannot do what its disk")
    ok(line and '/dev/vda asks for: No space left on device' in line and 'until there is room' in line, 'a full host is said aloud', w.lines)
    want = '/dev/vda: No space left on device; /dev/vdc: No space left on device'
    shown = lambda: [next(m for m in w.items(C_DISK_LIST) if m.str(T_VM) == vm), w.ask(C_DESCRIBE, (T_VM, vm))]
    end = time.monotonic() + 20
    while [m.str(T_ERROR) for m in shown()] != [want] * 2 and time.monotonic() < end:
        time.sleep(0.05)
    ok([m.str(T_ERROR) for m in shown()] == [want] * 2, 'and stands in the list and the description', [m.fields for m in shown()])
    ok(sum('the host cannot do' in x for x in w.lines) == 1, 'once', w.lines)
    w.ask(C_PAUSE, (T_VM, vm))
    end = time.monotonic() + 20
    while any(m.str(T_ERROR) for m in shown()) and time.monotonic() < end:
        time.sleep(0.05)
    ok(not any(m.str(T_ERROR) for m in shown()), 'until it is over', [m.fields for m in shown()])
    w.ask(C_DELETE, (T_GROUP, 'full'), (T_VM, vm))


def test_crash(w, vm):
    """kill -9 between the steps, as files show it: only the record; record and file; neither."""
    stop(w, vm)
    for record, file, want in ((24, 16, 24), (32, 32, 32), (32, 40, 40)):
        w.kill9()
        path = disk(w, vm, 'record')
        text = open(path).read()
        old = text.split('disk_bytes=')[1].split()[0]
        open(path, 'w').write(text.replace('disk_bytes=' + old, f'disk_bytes={record * MIB}'))
        os.truncate(disk(w, vm), file * MIB)
        w.start()
        m = start(w, vm)
        ok(m.type == OK and f'disk 0 {want * MIB}' in console(w, vm), f'record {record}M, file {file}M: it starts with {want}M', says(m) + console(w, vm))
        stop(w, vm)


def test_killed(w, vm):
    """kill -9 of core at any moment while a running VM grows: record and file are of the old or the new size, and asking again helps."""
    start(w, vm)
    size, rnd = 40 * MIB, random.Random(7)
    grow(w, vm, size)  # the record that test_crash left says less than its file has
    bad = []
    for i in range(8):
        old = size_of(w, vm)[1]
        size += MIB
        w.post(C_DISK_GROW, (T_VM, vm), (T_SIZE, size))
        time.sleep(rnd.random() * 0.006)
        w.kill9()
        file, record = size_of(w, vm)
        if not old <= file <= record <= size:
            bad.append((old, file, record, size))
        w.start()
        m = grow(w, vm, size)
        if m.type != OK or size_of(w, vm) != (size, size):
            bad.append((says(m), size_of(w, vm)))
    ok(not bad, 'killed while growing, eight times: a good disk, and growing goes on', bad)
    stop(w, vm)
    m = grow(w, vm, 48 * MIB)
    ok(m.type == OK, 'and ends', says(m))


def test_overlay(w):
    """A VM over an image of the store: what it shares, and its disk as one."""
    w.more = '  - { name: over, count: 0, vcpu: 1, ram_mb: 64, storage_size: 96M, image: "big:1", network: { mode: none } }\n'
    w.start()
    b = builder(w).str(T_VM)
    store = os.path.join(w.state, 'images')
    with open(next(os.path.join(store, i, 'disk.img') for i in os.listdir(store) if i[0] == '.'), 'r+b') as f:
        f.write(os.urandom(20 * MIB))
    ok(not any(m.str(T_VM) == b for m in w.items(C_DISK_LIST)) and refused(grow(w, b, 1 << 37), 409, 'builder'), 'builders are not listed and do not grow')
    image = keep(w, b, 'big:1').str(T_IMAGE)
    path = os.path.join(store, image, 'disk.img')
    vm = w.create('over', (T_PERSISTENT, 1)).str(T_VM)
    m = next(m for m in w.items(C_DISK_LIST) if m.str(T_VM) == vm)
    ok(m.num(T_SHARED) == os.stat(path).st_blocks * 512 and m.num(T_STORED) < MIB and m.str(T_IMAGE) == 'big:1', 'it shares all of the image', m.fields)
    ok(w.ask(C_DISK_DF).num(T_SHARED) == os.stat(path).st_blocks * 512, 'which df counts once')
    ok(grow(w, vm, 128 * MIB).type == ERR and size_of(w, vm)[0] == 128 * MIB, 'it grows, though nothing in it answers')
    stop(w, vm)
    os.rename(path, path + '.away')
    m = start(w, vm)
    ok(m.type == ERR and image in m.str(2), 'an image removed behind our back: refused, and named', says(m))
    os.rename(path + '.away', path)
    ok(w.wait_for(lambda: any(m.str(T_VM) == vm and m.str(T_STATUS) == 'Stopped' for m in w.items(C_DISK_LIST))), 'it stands still')
    st = os.stat(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns + 1))
    m = w.ask(C_DISK_EXPORT, (T_VM, vm))
    data = read_all(m.fds[0]) if m.type == OK else b''
    ok(len(data) < 128 * MIB, 'an image written to behind our back is not exported', (says(m), len(data)))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    # the export that failed ends a moment after its pipe
    ok(w.wait_for(lambda: start(w, vm).type == OK), 'with the old one in place it starts')
    stop(w, vm)
    m = w.ask(C_DISK_EXPORT, (T_VM, vm))
    ok(m.type == OK and read_all(m.fds[0]) == open(path, 'rb').read().ljust(128 * MIB, b'\0'), 'its export is image and zeros', says(m))
    w.ask(C_DELETE, (T_GROUP, 'over'), (T_VM, vm))
    ok(w.term() == 0, 'ends well')


def test_use(w, vm):
    listed = {m.str(T_VM): m for m in w.items(C_DISK_LIST)}
    m = listed[vm]
    own = os.stat(disk(w, vm)).st_blocks * 512
    ok(m.num(T_SIZE) == 48 * MIB and 0 < m.num(T_STORED) + m.num(T_SHARED) == own and m.str(T_STATUS) == 'Stopped' and m.str(T_IMAGE) == 'min', 'a list', (m.fields, own))
    m = w.ask(C_DISK_DF)
    fs = os.statvfs(w.state)
    ok(m.num(T_TOTAL) == fs.f_blocks * fs.f_frsize and 0 < m.num(T_FREE) <= m.num(T_TOTAL), 'df tells of the file system', m.fields)
    ok(m.num(T_STORED) == sum(x.num(T_STORED) for x in listed.values()) and
       m.num(T_PROMISED) == sum(max(0, x.num(T_SIZE) - x.num(T_STORED)) for x in listed.values()), 'and sums up the list', m.fields)


def read_all(fd):
    out = b''
    while True:
        piece = os.read(fd, 1 << 20)
        if not piece:
            os.close(fd)
            return out
        out += piece


def test_export(w, vm):
    path = disk(w, vm)
    with open(path, 'r+b') as f:
        f.seek(5 * MIB)
        f.write(b'here')
        f.write(bytes(3 * MIB))
    want = open(path, 'rb').read()
    m = w.ask(C_DISK_EXPORT, (T_VM, vm))
    ok(m.type == OK and m.num(T_SIZE) == len(want) and len(m.fds) == 1, 'an export', says(m))
    ok(refused(w.ask(C_DISK_EXPORT, (T_VM, vm)), 409, 'try again'), 'one at a time')
    ok(refused(start(w, vm), 409, 'try again') and refused(grow(w, vm, 64 * MIB), 409), 'meanwhile it does not start or grow')
    ok(read_all(m.fds[0]) == want, 'its bytes are the disk')
    m = w.ask(C_DISK_EXPORT, (T_VM, vm))
    for _ in range(200):
        if m.type == OK:
            break
        time.sleep(0.01) # the first one's child may still be seen to end
        m = w.ask(C_DISK_EXPORT, (T_VM, vm))
    os.close(m.fds[0])
    ok(w.wait_for(lambda: w.ask(C_DISK_SPARSIFY, (T_VM, vm)).type == OK), 'a reader who goes away ends it')
    with open(path, 'r+b') as f:
        f.seek(12 * MIB)
        f.write(bytes(4 * MIB))
    before = os.stat(path).st_blocks
    m = w.ask(C_DISK_SPARSIFY, (T_VM, vm))
    after = os.stat(path).st_blocks
    ok(m.type == OK and m.num(T_STORED) == after * 512 and m.num(T_FREED) == (before - after) * 512 >= 4 * MIB, 'zeros go back to the host', (says(m), before, after))
    ok(open(path, 'rb').read() == want, 'and the disk reads as before')
    m = start(w, vm)
    ok(m.type == OK and refused(w.ask(C_DISK_EXPORT, (T_VM, vm)), 409, 'shut it down') and refused(w.ask(C_DISK_SPARSIFY, (T_VM, vm)), 409, 'fstrim'),
       'a running VM has neither', says(m))
    m = w.create('ok')
    ok(w.ask(C_DISK_EXPORT, (T_VM, 'nobody')).num(1) == 404, 'nor one that is not there')


def test_extra(w):
    """Files of the host and disks of a size; two VMs on one file that can be written are refused, also over a kill -9 of core."""
    raw, ro = os.path.join(w.root, 'data.img'), os.path.join(w.root, 'set.img')
    for path in (raw, ro):
        with open(path, 'wb') as f:
            f.write(b'!' * 512)
            f.truncate(MIB)
    group = '  - { name: %s, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: { mode: none }, %s }\n'
    w.more = (group % ('data', f'disks: [{{ size: 2M }}, {{ file: "{raw}" }}, {{ file: "{ro}", read_only: true }}], disk_bytes_per_s: 1M, disk_iops: 50') +
              group % ('rival', f'disks: [{{ file: "{raw}", read_only: true }}]') + group % ('reader', f'disks: [{{ file: "{ro}", read_only: true }}]'))
    w.start()
    m = w.create('data', (T_PERSISTENT, 1))
    vm = m.str(T_VM)
    text = console(w, vm)
    limits = 'limits 1048576 50'
    ok(m.type == OK and all(x in text for x in (f'disk 0 {4 * MIB} rw flag 0 {limits}', f'disk 1 {2 * MIB} rw flag 0 {limits}', f'disk 2 {MIB} rw flag 0 {limits}',
                                                f'disk 3 {MIB} ro flag 1 {limits}')), 'root, new disk, file, read-only file; with limits', says(m) + text)
    shown = [fields(v) for t, v in w.ask(C_DESCRIBE, (T_VM, vm)).fields if t == T_DISK]
    ok([d[18] for d in shown] == [b'/dev/vdb', b'/dev/vdc', b'/dev/vdd'] and shown[1][58] == raw.encode(), 'are described', shown)
    m = w.create('data')
    ok(m.type == ERR and f"in use by VM '{vm}'" in m.str(2) and 'data-2' not in w.names(), 'a second VM on the file is refused', says(m))
    m = w.create('rival')
    ok(m.type == ERR and f"in use by VM '{vm}'" in m.str(2), 'and one that would read it', says(m))
    ok(w.create('reader').type == OK, 'what all only read may be shared')
    m = w.create('data', wait=None)
    ok(refused(m, 409, f"in use by VM '{vm}'") and 'data-2' not in w.names(), 'also when nobody waits for it', says(m))
    df, left = w.ask(C_DISK_DF), sum(m.num(T_SIZE) - m.num(T_STORED) for m in w.items(C_DISK_LIST))
    ok(df.num(T_PROMISED) == left + 2 * MIB, 'df counts the new disk', (df.fields, left))
    b = builder(w, (T_GROUP, 'data')).str(T_VM)
    ok('disk 1' in console(w, b) and 'disk 2' not in console(w, b), 'a builder with that network has none of them', console(w, b))
    w.ask(C_DELETE, (T_GROUP, 'data'), (T_VM, b))
    w.kill9()
    w.start()
    m = w.create('data')
    ok(m.type == ERR and f"in use by VM '{vm}'" in m.str(2), 'the same after core was killed', says(m))
    stop(w, vm)
    m = w.create('rival')
    ok(m.type == OK, 'a file is free once its VM has stopped', says(m))
    m = start(w, vm)
    ok(m.type == ERR and "in use by VM 'rival-1'" in m.str(2), 'and then others hold it', says(m))
    ok(refused(w.ask(C_RELAUNCH, (T_VM, vm)), 409, "in use by VM 'rival-1'"), 'which is no relaunch that nobody waits for')
    w.ask(C_DELETE, (T_GROUP, 'rival'), (T_VM, 'rival-1'))
    m = start(w, vm)
    ok(m.type == OK and 'disk 3' in console(w, vm), 'until they go', says(m))
    import fcntl
    stop(w, vm)
    with open(raw, 'r+b') as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        m = start(w, vm)
        ok(m.type == ERR and 'another process' in m.str(2), 'a file that another process has locked', says(m))
        fcntl.lockf(f, fcntl.LOCK_SH)
        ok(start(w, vm).type == ERR, 'or reads')
    with open(ro, 'r+b') as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = False
        except OSError:
            locked = True
        ok(locked, 'what a VM reads nobody else may write')
    ok(os.path.exists(disk(w, vm, 'disk1.img')), 'a new disk is in its folder')
    ok(w.term() == 0, 'ends well')
    with open(disk(w, vm, 'disk1.img'), 'r+b') as f:
        f.write(b'mine')
    w.more = w.more.replace(f'[{{ size: 2M }}, {{ file: "{raw}" }}, ', f'[{{ file: "{raw}" }}, {{ size: 2M }}, ')
    w.start()
    m = start(w, vm)
    ok(m.type == OK and f'disk 1 {MIB} rw' in console(w, vm) and f'disk 2 {2 * MIB} rw' in console(w, vm) and
       open(disk(w, vm, 'disk1.img'), 'rb').read(4) == b'mine' and not os.path.exists(disk(w, vm, 'disk2.img')),
       'a file that comes before it in the list does not take its place', (says(m), console(w, vm)))
    w.ask(C_DELETE, (T_GROUP, 'data'), (T_VM, vm))
    ok(vm not in w.folders() and os.path.exists(raw), 'and goes with it; files stay', w.folders())
    ok(w.term() == 0, 'ends well')
    for bad, word in (('{ }', 'either a size'), ('{ size: 1M, file: x }', 'either a size'), (f'{{ file: "{w.root}" , read_only: true }}', 'not a regular file'), ('{ file: /nowhere }', 'No such file'),
                      ('{ size: 1000 }', 'multiple of 4096'), ('{ size: 1M, read_only: true }', 'of no use'), (f'{{ file: "{raw}" }}, {{ file: "{raw}" }}', 'twice'),
                      (', '.join(['{ size: 1M }'] * 7), '6')):
        w.more = group % ('data', f'disks: [{bad}]')
        w.start(wait=False)
        line = w.wait_line('FATAL')
        ok(line and word in line and w.core.wait() == 1, f'refused: {word}', line)
        w.close()
    w.more = group.replace('count: 0', 'count: 2') % ('data', f'disks: [{{ file: "{raw}" }}]')
    w.start(wait=False)
    line = w.wait_line('FATAL')
    ok(line and 'one VM only' in line and w.core.wait() == 1, 'refused: two VMs of one group', line)
    w.close()


CONFIG = 'config:\n  host_groups:\n' + ''.join(
    '  - { name: %s, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: { mode: none } }\n' % g for g in ('ok', 'stale', 'blind', 'odd', 'gone', 'full')) + '%s  api: { port: %d }\n'


class DiskWorld(World):
    more = ''

    def start(self, *args, **how):
        return super().start(config=CONFIG % (self.more, self.port), **how)


def main():
    core_fake.CORE = sys.argv[1]
    w = DiskWorld()
    with core_fake.told(w):
        w.start()
        vm = test_grow(w)
        test_full(w)
        test_crash(w, vm)
        test_killed(w, vm)
        test_use(w, vm)
        test_export(w, vm)
        ok(w.term() == 0, 'ends well')
        test_extra(w)
        test_overlay(w)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
