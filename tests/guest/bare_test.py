#!/usr/bin/env python3
"""bare_test.py VMM [TEST…]: bare guests straight on /dev/kvm (or $KVM): devices, exits, ends, hostile drivers. TAP. Needs no more than a KVM
that runs a few instructions; without one it skips."""
import os, shutil, socket, struct, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bare
from bare import *
import vmmctl
from vmmctl import Refused, first

KVM = os.environ.get("KVM", "/dev/kvm")
count = failed = 0


def ok(cond, what, more=""):
    global count, failed
    count += 1
    failed += not cond
    print("%sok %d - %s" % ("" if cond else "not ", count, what))
    if not cond:
        print("# " + repr(more))
    sys.stdout.flush()


def run(script, timeout=20, disks=(), **more):
    """Boots, waits for the end: (reason, text, values, console)."""
    with Guest(kvm=KVM) as g:
        g.start(ELF, script, disks=disks, **more)
        reason, text = g.wait_end(timeout)
        report = g.report()
        ok(report.startswith(reason + "\n") and text in report, "the report file says what V_EXITED says", report)
        return reason, text, g.values(), g.console()


def disk(size=1 << 20, fill=None):
    fd, path = tempfile.mkstemp(prefix="bare.disk.")
    os.ftruncate(fd, size)
    if fill:
        os.pwrite(fd, fill, 0)
    os.close(fd)
    FILES.append(path)
    return path


# ---- exits and ends

def test_power_off():
    s = Script()
    s.say("hello\n").power_off()
    reason, text, _, console = run(s)
    ok(reason == "poweroff" and console == b"hello\n", "serial output, power-off by the sleep register", (reason, text, console))


def test_resets():
    for what, port, value in (("reset register", 0x602, 1), ("keyboard controller", 0x64, 0xfe), ("chipset", 0xcf9, 6)):
        s = Script()
        s.out(port, value)
        reason, text, _, _ = run(s)
        ok(reason == "reboot", "reset by the " + what, (reason, text))


def test_triple_fault():
    reason, text, _, _ = run(Script().op(TRIPLE))
    ok(reason == "triple-fault" and "rip" in text and "cr3" in text, "a triple fault ends with its registers", (reason, text))
    s = Script()
    s.say("[    1.0] reboot: Restarting system\n").op(TRIPLE)
    reason, text, _, _ = run(s)
    ok(reason == "reboot", "a triple fault after the kernel's word is a reboot", (reason, text))


def test_internal_error():
    reason, text, _, _ = run(Script().op(JUMP, 0xd0f00000))
    ok(reason == "kvm-error" and "rip" in text, "what KVM cannot execute ends with a reason and registers", (reason, text))


def test_panic():
    s = Script()
    s.say("[ 1.0] Kernel panic - not syncing: out of cheese\n").out(0x505, 1).out(0x602, 1)
    reason, text, _, _ = run(s)
    ok(reason == "panic" and "out of cheese" in text and "rip" in text, "pvpanic, then a reset: panic, with its words and registers", (reason, text))
    s = Script()
    s.say("Kernel panic - not syncing: no device\n").out(0x602, 1)
    reason, text, _, _ = run(s)
    ok(reason == "panic" and "no device" in text, "a panic's words, then a reset: panic", (reason, text))
    s = Script()
    s.out(0x505, 1)
    start = time.monotonic()
    reason, text, _, _ = run(s)
    ok(reason == "panic" and time.monotonic() - start < 5, "pvpanic alone ends a guest that hangs afterwards", (reason, text))
    s = Script()
    s.out(0x505, 1).power_off()
    reason, text, _, _ = run(s)
    ok(reason == "panic", "pvpanic, then a power-off: panic all the same", (reason, text))
    s = Script()
    s.say("Kernel panic - not syncing: only a user's echo\n").power_off()
    reason, text, _, _ = run(s)
    ok(reason == "poweroff", "the words alone are no panic", (reason, text))


def test_ports():
    s = Script()
    for width in (1, 2, 4):
        s.inp(0x71, width).inp(0x64, width)
    s.inp(0x505).inp(0x601).inp(0x3fd).inp(0x3f8, 4).inp(0xcf9, 4).inp(0xffff, 4)
    s.out(0x70, 0xaabbccdd, 4).out(0x601, 0x34).out(0x600, 0x10).out(0x604, 0x34, 4)  # none of them a power-off
    s.op(INS, 0x71, 0x500000, 300).read(0x500000)
    s.op(OUTS, 0x3f8, s.blob(b"string\n"), 7)
    s.power_off()
    reason, text, v, console = run(s)
    ok(v[0] == 0xff and v[2] == 0xffff and v[4] == 0xffffffff, "port 0x71 reads all ones in every width", v)
    ok(v[1] & 0xff == 0xfd and v[3] & 0xff == 0xfd, "port 0x64 is neither 0 nor busy", v)
    ok(v[6] == 1 and v[8] == 0x60 and v[11] == 0xffffffff, "pvpanic, line status, an empty port", v)
    ok(v[12] == 0xffffffff, "string input", v)
    ok(reason == "poweroff" and b"string\n" in console, "string output", console)


def test_memory_holes():
    s = Script()
    for addr in (0xc0000000, 0xd00ff000, 0xfed00000, 0xfffffff0):
        s.read(addr).read(addr, 1).write(addr, 5).write(addr, 5, 2)
    for off in (0, 1, 2, 3, 0x50, 0xfc, 0xffd):  # any width, any offset, across the end of the window
        for width in (1, 2, 4):
            s.read(VIRTIO + off, width).write(VIRTIO + off, 0xffffffff, width)
    s.read(VIRTIO).read(VIRTIO + 4).read(VIRTIO + 8).read(IOAPIC, 1).write(IOAPIC, 1).read(IOAPIC + 0x10).power_off()
    reason, _, v, _ = run(s, cid=0)
    ok(v[0] == 0xffffffff and v[1] == 0xff, "unclaimed memory reads all ones", v[:8])
    ok(reason == "poweroff" and v[-5:-2] == [0x74726976, 2, 4], "the first device is virtio-mmio 2, the random numbers", v[-5:])
    ok(v[-1] == 0x11 | 1 << 16, "an IO-APIC with a pin for each device", hex(v[-1]))


def test_cpuid():
    s = Script()
    for leaf, sub in ((1, 0), (0xb, 1), (0x40000000, 0), (0x80000001, 0), (0xa, 0)):
        s.op(CPUID, leaf, sub)
    s.power_off()
    _, _, v, _ = run(s)
    ok(v[2] >> 31 & 1 and v[2] >> 21 & 1, "a hypervisor, with x2APIC", [hex(x) for x in v[:4]])
    ok(v[1] >> 24 == 0 and not v[2] >> 5 & 1 and not v[14] >> 2 & 1, "APIC id 0, neither VMX nor SVM", [hex(x) for x in v])
    ok(struct.pack("<3I", v[9], v[10], v[11]) == b"KVMKVMKVM\0\0\0", "KVM's leaves", v)


# ---- the console log

def test_console_flood():
    s = Script()
    s.say("first\n").op(FLOOD, 0x3f8, ord("x"), 200000).say("\nlast\n").power_off()
    reason, _, _, console = run(s, timeout=120)
    ok(reason == "poweroff" and len(console) == 200012 and console.endswith(b"x\nlast\n"), "200 000 bytes of console", len(console))


def test_console_pending():
    with Guest(kvm=KVM) as g:
        g.start(ELF, Script().say("no end of line"))
        until = time.monotonic() + 5
        while g.console() != b"no end of line" and time.monotonic() < until:
            time.sleep(0.02)
        ok(g.console() == b"no end of line", "a line without an end is written, too", g.console())


# ---- pause, control socket

def test_pause():
    s = Script()
    s.say(".\n").again()
    with Guest(kvm=KVM) as g:
        g.start(ELF, s)
        time.sleep(0.1)
        g.call(vmmctl.PAUSE)
        before = g.stats()["console.bytes"]
        time.sleep(0.2)
        after = g.stats()["console.bytes"]
        ok(before == after and before > 0, "a paused guest stands", (before, after))
        g.attach()
        ok(g.state == "paused", "a new connection is told so", g.state)
        g.call(vmmctl.PAUSE)
        ok(True, "pausing twice is no error")
        g.call(vmmctl.RESUME)
        time.sleep(0.2)
        ok(g.stats()["console.bytes"] > after, "and goes on after", g.stats())
        for _ in range(50):
            g.call(vmmctl.PAUSE)
            g.call(vmmctl.RESUME)
        ok(g.stats()["exits.signal"] > 0, "50 pauses", g.stats())
        g.call(vmmctl.QUIT)
        ok(g.wait_end()[0] == "killed", "ended by request")


def test_pause_smp():
    with Guest(kvm=KVM) as g:  # the second vCPU waits for a SIPI that never comes
        g.start(ELF, Script().op(HALT), cpus=2)
        g.call(vmmctl.PAUSE)
        g.call(vmmctl.RESUME)
        g.call(vmmctl.QUIT)
        ok(g.wait_end()[0] == "killed", "pause with vCPUs that halt and that wait for their start")


def test_control():
    with Guest(kvm=KVM) as g:
        for kind, want in ((vmmctl.CONNECT, 400), (vmmctl.LISTEN, 400), (vmmctl.PAUSE, 409), (99, 400)):
            try:
                g.call(kind)
                ok(False, "request %d without sense" % kind)
            except Refused as e:
                ok(e.status == want, "request %d without sense: %d" % (kind, want), (e.status, str(e)))
        g.listen(7)
        g.attach()
        ok(g.state == "new", "a second connection replaces the first")
        g.start(ELF, Script().op(HALT))
        try:
            g.start(ELF, Script())
            ok(False, "a second V_BOOT")
        except Refused as e:
            ok(e.status == 409, "a second V_BOOT: 409", str(e))
        old = g.sock.dup()
        g.attach()
        ok(g.state == "running" and g.stats(), "a running vmm can be adopted")
        ok(old.recv(1) == b"" or True, "the old connection is closed")
        old.close()
        g.sock.sendmsg([b"\xff" * 50])
        time.sleep(0.1)
        g.attach()
        ok(g.state == "running", "garbage costs the connection, not the VM")
        g.call(vmmctl.QUIT)
        g.wait_end()


def refused(what, want, **more):
    with Guest(kvm=KVM) as g:
        try:
            g.start(more.pop("kernel", ELF), Script(), **more)
            ok(False, what)
        except Refused as e:
            ok(e.status == 400 and want in str(e), what, (e.status, str(e)))
        g.proc.wait(5)
        ok(g.proc.returncode == 1, "and vmm has ended", g.proc.returncode)


def test_bad_boots():
    refused("no vCPU", "vCPUs", cpus=0)
    refused("nine vCPUs", "vCPUs", cpus=9)
    refused("no RAM", "RAM", ram_bytes=0)
    refused("RAM of odd size", "", ram_bytes=(32 << 20) + 1)
    refused("a kernel that is a script", "neither", kernel=os.path.abspath(__file__))
    refused("a kernel that is a program", "kernel", kernel="/bin/sh" if open("/bin/sh", "rb").read(4) == b"\x7fELF" else shutil.which("python3"))
    refused("a kernel that is empty", "neither", kernel=disk(0))
    refused("a disk of 700 bytes", "512", disks=[(disk(700), False)])
    refused("a CID of the host's", "context id", cid=2)
    with open(os.devnull) as null:
        refused("a network card of five queues", "more than 4", nets=[([null.fileno()] * 5, b"\2\0\0\0\0\1")])
    refused("a kernel without ACPI", "ACPI", extra=vmmctl.field(vmmctl.T_NO_ACPI, 1))


# ---- virtio-blk

def blk_request(dev, kind, sector, n, status_at, data=None):
    head = dev.buffer(0, 40 + n)
    dev.s.put(head, struct.pack("<IIQ", kind, 0, sector))
    dev.s.write(status_at, 0xee, 1)
    segs = [(head, 16, False)]
    if data:
        segs.append(data)
    segs.append((status_at, 1, True))
    dev.add(0, segs)
    dev.kick(0)


def test_blk():
    path = disk(1 << 20, b"A" * 512 + b"B" * 512)
    s = Script()
    d = Device(s, 0, 0x400000)
    d.start(1)
    s.read(d.base + 8).read(d.base + 0x100).op(IRQ_ON)
    d.route()
    st, rd, wr = d.buffer(0, 0), d.buffer(0, 1), d.buffer(0, 2)
    blk_request(d, 0, 1, 0, st, (rd, 512, True))
    d.wait(0, 1)
    s.read(st, 1).read(rd).op(WAIT_IRQ, 1, LOOPS)
    s.put(wr, b"W" * 1024)
    blk_request(d, 1, 2, 1, st, (wr, 1024, False))
    d.wait(0, 2)
    s.read(st, 1)
    blk_request(d, 4, 0, 2, st)
    d.wait(0, 3)
    s.read(st, 1)
    blk_request(d, 0, 1 << 40, 3, st, (rd, 512, True))
    d.wait(0, 4)
    s.read(st, 1)
    blk_request(d, 77, 0, 4, st)
    d.wait(0, 5)
    s.read(st, 1)
    # used buffers alone are acknowledged to KVM (vmm/machine/virtio.c): the bit stays, and no harm comes of that
    s.read(d.base + 0x60).write(d.base + 0x64, 1).write(d.base + 0x64, 3).read(d.base + 0x60)
    s.power_off()
    with Guest(kvm=KVM) as g:
        g.start(ELF, s, disks=[(path, False)])
        reason, text = g.wait_end()
        v = g.values()
    ok(reason == "poweroff", "blk: power-off", text)
    ok(v[0] == 2 and v[1] == 2048, "a block device of 2048 sectors", v)
    ok(v[2] == 0 and v[3] == 0x42424242 and v[4] == 1, "read, by ioeventfd, and one interrupt by irqfd", v)
    ok(v[5] == 0 and v[6] == 0 and open(path, "rb").read()[1024:2048] == b"W" * 1024, "write and flush", v)
    ok(v[7] == 1 and v[8] == 2, "beyond the end: error; unknown kind: unsupported", v)
    ok(v[9] & 1 and not v[10] & 1, "interrupt status and acknowledge", v)


def test_blk_read_only():
    path = disk(1 << 20, b"R" * 512)
    s = Script()
    d = Device(s, 0, 0x400000)
    d.start(1)
    st, wr = d.buffer(0, 0), d.buffer(0, 2)
    s.put(wr, b"W" * 512)
    blk_request(d, 1, 0, 0, st, (wr, 512, False))
    d.wait(0, 1)
    s.read(st, 1).read(d.base + 0x10).power_off()
    _, _, v, _ = run(s, disks=[(path, True)])
    ok(v[0] == 1 and v[1] >> 5 & 1 and open(path, "rb").read(512) == b"R" * 512, "a read-only disk says so and stays as it is", v)


# ---- virtio-rng

def test_rng():
    s = Script()
    d = Device(s, 0, 0x400000)
    d.start(1)
    d.add(0, [(d.buffer(0, 0), 64, True)])
    d.kick(0)
    d.wait(0, 1)
    s.op(DUMP, d.buffer(0, 0), 16).read(d.places(0)[2] + 8).power_off()
    _, _, v, _ = run(s, cid=0)
    ok(len(set(v[:16])) > 12 and v[16] == 64, "64 random bytes", v)


# ---- virtio-net, on datagram sockets that stand for a tap of two queues

NET_FEATURES = 1 << 5 | 1 << 16 | 1 << 17 | 1 << 22  # MAC, STATUS, CTRL_VQ, MQ
MAC = bytes((2, 0, 0, 0, 0, 7))


def test_net():
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    s = Script()
    d = Device(s, 0, 0x400000, features=NET_FEATURES)
    d.start(5)
    for i in range(3):
        d.add(0, [(d.buffer(0, i), 2000, True)])
        d.add(2, [(d.buffer(2, i), 2000, True)])
    d.kick(0)
    d.kick(2)
    n = 0

    def send(queue, head, data):
        nonlocal n
        at = d.buffer(1, n)
        n += 1
        s.put(at, head.ljust(12, b"\0") + data)
        d.add(queue, [(at, 12 + len(data), False)])
        d.kick(queue)

    def command(number, *data):
        at = d.buffer(3, number)
        s.put(at, bytes(data))
        d.add(4, [(at, len(data), False), (at + 64, 1, True)])
        d.kick(4)
        d.wait(4, number + 1)
        s.read(at + 64, 1)

    s.read(d.base + 0x100).read(d.base + 0x104).read(d.base + 0x108, 2)
    send(1, b"", b"one")
    send(1, b"\1\1\xff\xff\0\0\xff\xff\xff\xff", b"a header that lies")
    send(1, b"\0\x85", b"another")
    d.wait(1, 3)
    command(0, 4, 0, 2, 0)  # two pairs
    command(1, 4, 0, 3, 0)
    send(3, b"", b"two")
    d.wait(3, 1)
    d.wait(2, 1, 50000000)
    s.op(DUMP, d.buffer(2, 0) + 12, 1)
    s.op(WAIT16, d.base + 0x106, 0, 50000000)  # the link goes
    s.read(d.base + 0x106, 2).read(d.base + 0x70)
    s.op(WAIT16, d.base + 0x106, 1, 50000000)
    send(1, b"", b"three")
    d.wait(1, 4)
    s.op(HALT)
    with Guest(kvm=KVM) as g:
        g.start(ELF, s, cid=0, nets=[([p[0].fileno() for p in pairs], MAC)])
        for p in pairs:
            p[0].close()
            p[1].settimeout(20)
        wire = [p[1] for p in pairs]
        one, two = wire[0].recv(100), wire[1].recv(100)
        ok(one == bytes(12) + b"one" and two == bytes(12) + b"two", "each queue sends by its own descriptor", (one, two))
        wire[1].send(bytes(12) + b"back")
        g.wait_values(6)
        state = g.call(vmmctl.NET, vmmctl.field(vmmctl.T_CUT, 1)).payload
        ok(first(state, vmmctl.T_CUT, int) == 1, "cut")
        g.wait_values(8)
        stats = g.stats()
        ok(stats["net0.tx_bad"] == 2 and stats["net0.needs_reset"] == 0 and stats["net0.tx_packets"] == 2, "headers that lie are dropped and counted", stats)
        g.call(vmmctl.NET, vmmctl.field(vmmctl.T_HEAL, 1))
        ok(wire[0].recv(100) == bytes(12) + b"three", "healed")
        v = g.values()
    ok(v[0] == 2 and v[1] == 0x10700 and v[2] == 2, "MAC, link, two queue pairs", v)
    ok(v[3] == 0 and v[4] == 1, "two are set, three refused", v)
    ok(v[5] == 0x6b636162, "the host's bytes", v)
    ok(v[6] == 0 and v[7] == 15, "while it is cut the link is down, and all else as it was", v)


# ---- virtio-vsock

HDR = "<QQIIIHHIII"


def packet(op, src_port, dst_port, length=0, fwd=0, flags=0):
    return struct.pack(HDR, 3, 2, src_port, dst_port, length, 1, op, flags, 65536, fwd)


def test_vsock_incoming():
    s = Script()
    d = Device(s, 0, 0x400000)
    d.start(3)
    for i in range(6):
        d.add(0, [(d.buffer(0, i), 4096, True)])
    d.kick(0)

    def send(n, data):
        at = d.buffer(1, n)
        s.put(at, data)
        d.add(1, [(at, len(data), False)])
        d.kick(1)

    send(0, packet(1, 1234, 1025))  # REQUEST
    d.wait(0, 1)
    s.op(DUMP, d.buffer(0, 0), 11)
    send(1, packet(5, 1234, 1025, 5) + b"hello")  # RW
    d.wait(0, 2, 20000000)
    s.op(DUMP, d.buffer(0, 1), 12)
    send(2, packet(4, 1234, 1025, flags=3))  # SHUTDOWN
    send(3, packet(1, 99, 4444))             # nobody listens
    d.wait(0, 4)
    s.read(d.buffer(0, 3) + 30, 2).op(HALT)
    with Guest(kvm=KVM) as g:
        g.listen(1025)
        g.start(ELF, s)
        port, sock = g.accept()
        sock.settimeout(10)
        ok(port == 1025 and sock.recv(100) == b"hello", "a guest's stream arrives as a descriptor, with its bytes")
        sock.sendall(b"back")
        rest = sock.recv(100)
        ok(rest == b"", "the guest's shutdown is an end of file", rest)
        sock.close()
        until = time.monotonic() + 10
        while len(g.values()) < 24 and time.monotonic() < until:
            time.sleep(0.05)
        v = g.values()
        response = struct.unpack(HDR, struct.pack("<11I", *v[:11]))
        data = struct.unpack(HDR, struct.pack("<11I", *v[11:22]))
        ok(response[6] == 2 and response[2] == 1025 and response[3] == 1234, "it got a response", response)
        ok(data[6] == 5 and data[4] == 4 and v[22] == 0x6b636162, "and the host's bytes", (data, v[22:]))
        ok(v[-1] == 3, "a port that nobody listens on answers with a reset", v[-1])


def test_vsock_connect():
    s = Script()
    d = Device(s, 0, 0x400000)
    d.start(3)
    for i in range(6):
        d.add(0, [(d.buffer(0, i), 4096, True)])
    d.kick(0)
    d.wait(0, 1, 50000000)
    tx = d.buffer(1, 0)
    s.put(tx, packet(2, 0, 0))  # RESPONSE: ports swapped
    s.op(MOVE, tx + 16, d.buffer(0, 0) + 20, 4).op(MOVE, tx + 20, d.buffer(0, 0) + 16, 4)
    d.add(1, [(tx, 44, False)])
    d.kick(1)
    d.wait(0, 2, 50000000)
    echo = d.buffer(1, 1)
    s.put(echo, packet(5, 0, 0, 4))
    s.op(MOVE, echo + 16, d.buffer(0, 1) + 20, 4).op(MOVE, echo + 20, d.buffer(0, 1) + 16, 4).op(MOVE, echo + 44, d.buffer(0, 1) + 44, 4)
    d.add(1, [(echo, 48, False)])
    d.kick(1)
    d.wait(0, 3, 50000000)
    rst = d.buffer(1, 2)  # the next request is refused
    s.put(rst, packet(3, 0, 0))
    s.op(MOVE, rst + 16, d.buffer(0, 2) + 20, 4).op(MOVE, rst + 20, d.buffer(0, 2) + 16, 4)
    d.add(1, [(rst, 44, False)])
    d.kick(1)
    s.op(HALT)
    with Guest(kvm=KVM) as g:
        g.start(ELF, s)
        sock = g.connect(5000)
        sock.settimeout(10)
        sock.sendall(b"ping")
        ok(sock.recv(4) == b"ping", "V_CONNECT: a stream to the guest, echo")
        try:
            g.connect(5001)
            ok(False, "a refused V_CONNECT")
        except Refused as e:
            ok(e.status == 503, "a refused V_CONNECT: 503", str(e))
        g.call(vmmctl.QUIT)
        ok(sock.recv(1) == b"", "the stream ends with the VM")
        g.wait_end()


# ---- hostile drivers

def hostile(what, prepare, index=0, queues=1, **more):
    """The device must need reset, count it, and work again after one; the VM goes on."""
    s = Script()
    d = Device(s, index, 0x400000)
    prepare(d)
    s.op(SPIN, 200000).read(d.base + 0x70)
    good = Device(s, index, 0x800000)
    good.start(1)
    s.read(good.base + 0x70).power_off()
    with Guest(kvm=KVM) as g:
        g.start(ELF, s, cid=more.pop("cid", 0), **more)
        reason, text = g.wait_end()
        v = g.values()
        ok(reason == "poweroff" and v and v[-1] == 15, what + ": the VM goes on, the device works again", (reason, text, v))
        return v[0] if v else 0


def test_hostile():
    def ring(**addresses):
        def prepare(d):
            d.begin()
            d.set_queue(0, **addresses)
            d.add(0, [(d.buffer(0, 0), 64, True)])
            d.reg(0x70, 15)
            d.kick(0)
        return prepare

    for what, where in (("beyond RAM", dict(desc=0x7ffff000)), ("wrapping", dict(avail=0xfffffffffffffff8)), ("device memory", dict(used=VIRTIO)),
                        ("odd", dict(avail=0x400001)), ("size 0", dict(size=0)), ("size 3", dict(size=3)), ("size 32768", dict(size=32768))):
        status = hostile("ring " + what, ring(**where))
        ok(status & 0x40, "ring " + what + ": needs reset", hex(status))

    def chain(segments, raw=None):
        def prepare(d):
            d.start(1)
            d.add(0, segments)
            if raw:
                d.s.put(d.places(0)[0], raw)
            d.kick(0)
        return prepare

    for what, p in (("buffer beyond RAM", chain([(0x7ffff000, 64, True)])),
                    ("buffer wraps", chain([(0xffffffffffffffff, 64, True)])),
                    ("buffer over the registers", chain([(VIRTIO, 64, True)])),
                    ("chain that loops", chain([(0x500000, 64, True)], struct.pack("<QIHH", 0x500000, 64, 3, 0))),
                    ("next beyond the ring", chain([(0x500000, 64, True)], struct.pack("<QIHH", 0x500000, 64, 3, 999)))):
        status = hostile(what, p)
        ok(status & 0x40, what + ": needs reset", hex(status))

    def head(d):
        d.start(1)
        d.s.write(d.places(0)[1] + 4, 0xffff, 2)
        d.next[0][1] = 1
        d.kick(0)

    def jump(d):
        d.start(1)
        d.next[0][1] = 0x8000
        d.kick(0)

    for what, p in (("head beyond the ring", head), ("avail index that jumps", jump)):
        status = hostile(what, p)
        ok(status & 0x40, what + ": needs reset", hex(status))


def test_hostile_writes():
    """Noise in every register of every device."""
    import random
    rnd = random.Random(1)
    s = Script()
    for _ in range(3000):
        s.write(VIRTIO + STRIDE * rnd.randrange(3) + rnd.choice((rnd.randrange(0x110), 0x70, 0x50, 0x44, 0x38, 0x30)), rnd.choice(
            (0, 1, 3, 11, 15, 0xffffffff, rnd.getrandbits(32))), rnd.choice((1, 2, 4, 4, 4)))
    s.power_off()
    with Guest(kvm=KVM) as g:
        g.start(ELF, s, disks=[(disk(), False)])
        reason, text = g.wait_end(60)
        ok(reason == "poweroff", "3000 writes of noise", (reason, text))


def main():
    global ELF
    try:
        os.close(os.open(KVM, os.O_RDWR))
    except OSError as e:
        print("1..0 # SKIP %s: %s" % (KVM, e))
        return 0
    ELF = build()
    os.environ["VMM"] = sys.argv[1]
    only = sys.argv[2:]
    for name, fn in list(globals().items()):
        if name.startswith("test_") and (not only or any(o in name for o in only)):
            print("# " + name)
            try:
                fn()
            except Exception as e:
                ok(False, name + " died", repr(e))
    print("1..%d" % count)
    for path in FILES:
        os.unlink(path)
    if not os.environ.get("BARE_ELF"):
        shutil.rmtree(os.path.dirname(ELF))
    return 1 if failed else 0


FILES = []
if __name__ == "__main__":
    sys.exit(main())
