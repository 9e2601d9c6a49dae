"""Rows for what is no virtio device: serial port, power ports, all ports, the IO-APIC, the hole, the processor. Afterwards a
disk must be read. See hostile.py."""
import struct

from bare import CALL, FLOOD, INS, IOAPIC, IRQ_ON, JUMP, MOVE, MSRS, OUTS, SPIN, SWEEP_IN, SWEEP_OUT, SWEEP_READ, SWEEP_WRITE, TRIPLE, VIRTIO
from hostile_dev import pauses
from hostile_kit import ARENA, BLK, RAM, Row, device
from vmmctl import PAUSE, RESUME, Refused

CODE, LAPIC, HOLE = 0x3e0000, 0xfee00000, 0xc0000000
ANY = "PASS end:any stops spins"  # the guest may do to itself what it likes
TABLE = []


def row(dev, name, does, expect="PASS", **more):
    def take(f):
        TABLE.append((dev, name, does, expect, f, more))
        return f
    return take


def rows(times):
    """times: 1, or more for a long run."""
    return [Row(dev, name, does, expect, (lambda f: lambda s: f(s, times))(f), index=None if set(expect.split()) - {"PASS"} else BLK, **more)
            for dev, name, does, expect, f, more in TABLE]


def run(s, code):
    """Machine code; it may change all but esi, ebp and esp."""
    s.put(CODE, code + b"\xc3")
    s.op(CALL, CODE)


def d32(n):
    return struct.pack("<I", n & 0xffffffff)


# ---- serial port

def uart_back(s):
    for port, value in ((0x3fb, 0), (0x3fc, 0), (0x3f9, 0), (0x3fa, 0)):
        s.out(port, value)


@row("uart", "every register, every value", "in loop-back, with and without the divisor latch")
def uart_values(s, times):
    s.out(0x3fc, 0x10)
    for lcr in (0, 0x80, 0xff):
        for value in range(0, 256, 1 if times > 1 else 17):
            s.out(0x3fb, lcr)
            for port in (0x3f8, 0x3f9, 0x3fa, 0x3fd, 0x3fe, 0x3ff):
                s.out(port, value)
            s.op(SWEEP_IN, 1, 0x3f8, 8, 1)
            s.out(0x3fc, 0x10)
    for value in range(16):
        s.out(0x3fc, 0xf0 | value)
    s.out(0x3fb, 0)
    uart_back(s)


@row("uart", "any width", "words and long words at every register and over the end")
def uart_widths(s, times):
    s.out(0x3fc, 0x10)
    for width in (1, 2, 4):
        for port in range(0x3f0, 0x402):
            if port + width <= 0x3fd or port > 0x3ff:
                s.op(SWEEP_IN, width, port, 3, 0)
        for port in range(0x3f8, 0x400):
            s.out(0x3fc, 0x10)
            s.out(port, 0x10101010, width)
    uart_back(s)


@row("uart", "interrupt storm", "transmit interrupts asked for and taken back, loop-back bytes, all unread")
def uart_irqs(s, times):
    for ier in (2, 0, 3, 1, 0xf):
        mark = s.count(150 * times)
        s.out(0x3f9, ier)
        s.out(0x3fc, 0x10)
        s.out(0x3f8, 7)
        s.op(SWEEP_IN, 1, 0x3fa, 1, 0)
        s.out(0x3f9, 0)
        s.repeat(mark, 0)
    uart_back(s)


@row("uart", "flood", "thousands of bytes, then lines, zeros, ones")
def uart_flood(s, times):
    for byte in (b"x", b"\n", b"\0", b"\xff"):
        s.op(FLOOD, 0x3f8, byte[0], 3000 * times)
    s.say("\n")


@row("uart", "words of the kernel", "'Kernel panic' and 'Restarting system' a hundred times, cut and nested")
def uart_words(s, times):
    words = b"Kernel panic - Kernel panic - not syncing: " * 3 + b"Restarting Restarting system\n" + b"Kernel panic - not syncing: " + b"q" * 3000 + b"\n"
    for _ in range(4):
        s.op(OUTS, 0x3f8, s.blob(words), len(words))


@row("uart", "flood that is paused", "bytes without end while vmm is told to pause, go on and end", "stops spins", during=pauses)
def uart_for_ever(s, times):
    s.op(FLOOD, 0x3f8, ord("y"), 1000).again(len(s.ops) - 1)


# ---- the ports by which a guest ends

for name, port, value, width, end in (("power off", 0x600, 0x34, 1, "poweroff"), ("power off, a word", 0x600, 0xff34, 2, "poweroff"), ("reset register",
    0x602, 1, 1, "reboot"),
                                      ("keyboard controller", 0x64, 0xfe, 1, "reboot"), ("keyboard controller, a word", 0x64, 0xfffe, 2, "reboot"),
                                      ("chipset", 0xcf9, 0xff, 1, "reboot"),
                                      ("panic", 0x505, 0xff, 1, "panic")):
    @row("power", name, "port 0x%x, %d bytes, 0x%x" % (port, width, value), "end:" + end)
    def power(s, times, port=port, value=value, width=width):
        s.out(port, value, width).out(port, value, width)


def pauses_to_the_end(g):
    """A pause that meets the end is told so at once; it does not wait for a vCPU that has gone."""
    try:
        while g.exited is None:
            g.call(PAUSE)
            g.call(RESUME)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except Refused as e:
        if e.status != 409:
            raise


for n in range(4):
    @row("power", "end in a storm of pauses, %d" % n, "a triple fault while vmm is told to pause and go on", "end:triple-fault", during=pauses_to_the_end)
    def power_pauses(s, times, n=n):
        s.op(SPIN, 3000 + 1000 * n).op(TRIPLE)


@row("power", "every other value", "all 256 values that do not mean the end, in each width")
def power_values(s, times):
    for port, ends in ((0x600, lambda v: v & 0x20 and v >> 2 & 7 == 5), (0x601, lambda v: False), (0x602, lambda v: v == 1), (0x60, lambda v: False), (0x64,
        lambda v: v == 0xfe),
                       (0x67, lambda v: False), (0xcf9, lambda v: v & 4), (0x505, lambda v: v & 1)):
        for v in range(0, 256, 1 if times > 1 else 5):
            if not ends(v):
                s.out(port, v | 0xa5a5a500, (1, 2, 4)[v % 3])


@row("power", "panic, then a storm", "pvpanic, then exits without end", "end:panic")
def panic_storm(s, times):
    s.out(0x505, 1).op(FLOOD, 0x80, 0, 50).again(1)


@row("power", "many words at a reset port", "a string instruction to the reset register", "end:reboot")
def reset_string(s, times):
    s.op(OUTS, 0x602, s.blob(b"\0" * 500 + b"\1" * 500), 1000)


# ---- all ports

def spaces(times):
    return ((0, 65536, 1),) if times > 1 else ((0, 0x800, 1), (0xcf0, 0x20, 1), (0x800, 1400, 45), (0xfff0, 16, 1))


for width in (1, 2, 4):
    @row("ports", "reads of width %d" % width, "the whole of the 64 K ports (a part of them in a short run)")
    def ports_in(s, times, width=width):
        for first, n, step in spaces(times):
            s.op(SWEEP_IN, width, first, n, step)

    @row("ports", "zeros of width %d" % width, "to the whole of the 64 K ports")
    def ports_zero(s, times, width=width):
        for first, n, step in spaces(times):
            s.op(SWEEP_OUT, width, first, n, step)

    @row("ports", "ones of width %d" % width, "to the whole of the 64 K ports, but for the two where that means the end")
    def ports_ones(s, times, width=width):
        for first, last in ((0, 0x3f7), (0x400, 0x504), (0x506, 0xcf8), (0xcfa, 0xffff)):
            step = 1 if times > 1 or first < 0x506 else 61
            s.op(SWEEP_OUT, width | 0xffffff00, first, (last - width - first) // step + 1, step)


@row("ports", "strings", "64 K bytes from and to ports that are there and that are not")
def ports_strings(s, times):
    s.given(ARENA, 0x10000)
    for port in (0x71, 0x3ff, 0x601, 0xffff, 0x505):
        s.op(INS, port, ARENA, 5000 * times)
    at = s.blob(b"\0" * 5000)
    for port in (0x70, 0x80, 0x3ff, 0x601, 0x505, 0xffff):
        s.op(OUTS, port, at, 5000)


@row("ports", "strings over device memory", "string input into a register window, the hole and the end of RAM's neighbour",
    "PASS end:kvm-error end:triple-fault")
def ports_strings_hole(s, times):
    for addr in (VIRTIO, HOLE, IOAPIC, 0xfffffff0 - 64):
        s.op(INS, 0x71, addr, 40)


@row("ports", "flood of exits", "thousands of long words to a port that nobody has")
def ports_flood(s, times):
    s.op(SWEEP_OUT, 4 | 0xffffff00, 0xeeee, 10000 * times, 0).op(SWEEP_IN, 4, 0xeeee, 5000 * times, 0)


# ---- the IO-APIC

@row("ioapic", "every register", "all 256 numbers, with ones, zeros and noise; all masked after")
def ioapic_all(s, times):
    for select in range(256):
        s.write(IOAPIC, select)
        for value in (0x00010000, 0xffffffff, 0x5a01a5a5):
            s.write(IOAPIC + 0x10, value)
        s.op(SWEEP_READ, 4, IOAPIC + 0x10, 1, 0)


@row("ioapic", "any width, any offset", "its page, byte by byte")
def ioapic_widths(s, times):
    s.write(IOAPIC, 1)
    for width in (1, 2, 4):
        for first, n in ((0, 0x40), (0x40, 20), (0xff0, 16)):
            s.op(SWEEP_READ, width, IOAPIC + first, n, 1 if n != 20 else 191)
            s.op(SWEEP_WRITE, width | 0x100, IOAPIC + first, n, 1 if n != 20 else 191)


@row("ioapic", "route storm", "vectors, modes and destinations of every pin, changed hundreds of times")
def ioapic_storm(s, times):
    for n in range(120 * times):
        pin = n % 24
        s.write(IOAPIC, 0x11 + 2 * pin).write(IOAPIC + 0x10, (n * 37 & 0xff) << 24)
        s.write(IOAPIC, 0x10 + 2 * pin).write(IOAPIC + 0x10, (n * 11 & 0xff) | (n % 2) << 8 | (n & 1) << 11 | (n & 2) << 14)
    for pin in range(24):  # vectors that nobody takes, of a processor that is not there
        s.write(IOAPIC, 0x11 + 2 * pin).write(IOAPIC + 0x10, 0x7f000000)
        s.write(IOAPIC, 0x10 + 2 * pin).write(IOAPIC + 0x10, 0x41)


for mode, what in ((2, "SMI"), (4, "NMI"), (5, "INIT"), (7, "ExtINT"), (3, "reserved")):
    @row("ioapic", "a device that raises %s" % what, "the serial port's and the disk's lines with delivery mode %d" % mode, ANY)
    def ioapic_mode(s, times, mode=mode):
        for pin in (0, 1):
            s.write(IOAPIC, 0x11 + 2 * pin).write(IOAPIC + 0x10, 0).write(IOAPIC, 0x10 + 2 * pin).write(IOAPIC + 0x10, mode << 8 | 0x40)
        s.out(0x3f9, 2)
        d = device(s, BLK)
        d.add(0, [(d.buffer(0, 0), 16, False), (d.buffer(0, 1), 1, True)])
        d.kick(0)
        s.op(SPIN, 20000)


# ---- memory that is none

for width in (1, 2, 4):
    @row("hole", "reads of width %d" % width, "the gigabyte below 4 GiB, and what is between RAM and it")
    def hole_read(s, times, width=width):
        s.op(SWEEP_READ, width, HOLE, 1000 * times, 0xffff3 // times + 1)
        s.op(SWEEP_READ, width, RAM, 700 * times, 0x400001 // times)
        s.op(SWEEP_READ, width, VIRTIO + 0x4000, 300, 0xffd)

    @row("hole", "writes of width %d" % width, "the same")
    def hole_write(s, times, width=width):
        s.op(SWEEP_WRITE, width | 0xffffff00, HOLE + 0x2000, 900 * times, 0xf7ff3 // times + 1)
        s.op(SWEEP_WRITE, width | 0xffffff00, RAM + 64, 700 * times, 0x400001 // times)
        s.op(SWEEP_WRITE, width | 0xffffff00, VIRTIO + 0x4000, 300, 0xffd)


@row("hole", "over edges", "long words over the ends of RAM, windows, the IO-APIC, all memory")
def edges(s, times):
    for edge in (RAM, HOLE, VIRTIO, VIRTIO + 0x1000, VIRTIO + 0x4000, IOAPIC, IOAPIC + 0x1000, LAPIC, LAPIC + 0x1000):
        for off in (1, 2, 3):
            s.read(edge - off, 4)
            if edge != RAM:
                s.write(edge - off, 0, 4)
    s.read(0xffffffff, 1).read(0xfffffffe, 2).read(0xfffffffc, 4)


@row("hole", "string moves", "from windows to windows, over the hole, into the IO-APIC", "PASS end:kvm-error")
def moves(s, times):
    s.given(ARENA, 4096)
    for to, source, n in ((VIRTIO + 0x1100, VIRTIO, 64), (HOLE, HOLE + 4096, 64), (IOAPIC, VIRTIO, 32), (VIRTIO + 0xff0, ARENA, 32), (ARENA, VIRTIO, 4096),
        (ARENA, HOLE, 100)):
        s.op(MOVE, to, source, n)


def tries(name, does, *codes, expect="PASS end:kvm-error end:triple-fault"):
    for where, addr in (("the hole", HOLE), ("a window", VIRTIO + 0x70), ("the IO-APIC", IOAPIC + 0x10), ("over two windows", VIRTIO + 0xffe)):
        @row("hole", "%s in %s" % (name, where), does, expect)
        def payload(s, times, addr=addr):
            for code in codes:
                run(s, code(d32(addr)))


tries("exchange", "xchg, lock xadd, lock or", lambda a: b"\x87\x05" + a, lambda a: b"\xf0\x0f\xc1\x05" + a, lambda a: b"\xf0\x09\x05" + a)
tries("compare and exchange", "lock cmpxchg and cmpxchg8b", lambda a: b"\xf0\x0f\xb1\x0d" + a, lambda a: b"\x53\xf0\x0f\xc7\x0d" + a + b"\x5b")
tries("stack", "push and pop there", lambda a: b"\x89\xe7\xbc" + a + b"\x50\x58\x60\x61\x89\xfc")
tries("eight bytes", "movq of MMX, fst of the FPU", lambda a: b"\x0f\x7f\x05" + a, lambda a: b"\x0f\x6f\x05" + a, lambda a: b"\xdd\x1d" + a)
tries("descriptor tables", "sidt, sgdt there", lambda a: b"\x0f\x01\x0d" + a, lambda a: b"\x0f\x01\x05" + a,
    expect=ANY)  # some KVMs do not come back by themselves
for name, addr in (("the hole", HOLE), ("a window", VIRTIO), ("the IO-APIC", IOAPIC), ("the local APIC", LAPIC), ("the reset vector", 0xfffffff0), ("zeros",
    0x300000),
                   ("the end of RAM", RAM - 2), ("beyond RAM", RAM + 0x100000)):
    @row("hole", "jump to " + name, "goes on at 0x%x" % addr, ANY)
    def jump(s, times, addr=addr):
        s.op(JUMP, addr)

for name, code in (("page tables in the hole", b"\xb8" + d32(HOLE) + b"\x0f\x22\xd8\x0f\x20\xc0\x0d\0\0\0\x80\x0f\x22\xc0"),
                   ("page tables in a window", b"\xb8" + d32(VIRTIO) + b"\x0f\x22\xd8\x0f\x20\xc0\x0d\0\0\0\x80\x0f\x22\xc0"),
                   ("interrupt table in the hole", b"\x68" + d32(HOLE) + b"\x66\x68\xff\x07\x0f\x01\x1c\x24\xcd\x21"),
                   ("segments in a window", b"\x68" + d32(VIRTIO) + b"\x66\x68\xff\x07\x0f\x01\x14\x24\xb8\x08\0\0\0\x8e\xd8")):
    @row("hole", name, "and on with it", ANY)
    def tables(s, times, code=code):
        run(s, code)


# ---- the processor

for name, code in (("endless loop", b"\xeb\xfe"), ("endless loop with interrupts on", b"\xfb\xeb\xfe"), ("halt for ever", b"\xfa\xf4\xeb\xfd"), ("VMCALL",
    b"\xb8\x07\0\0\0\x0f\x01\xc1"),
                   ("VMMCALL", b"\xb8\x07\0\0\0\x0f\x01\xd9"), ("VMXON", b"\xf3\x0f\xc7\x34\x24"), ("VMRUN", b"\x31\xc0\x0f\x01\xd8"), ("INT3", b"\xcc"),
                   ("UD2", b"\x0f\x0b"),
                   ("SYSENTER", b"\x0f\x34"), ("SYSCALL", b"\x0f\x05"), ("IRET to nowhere", b"\x6a\xff\x6a\xff\x6a\xff\xcf"), ("RSM", b"\x0f\xaa"),
                   ("real mode", b"\x0f\x20\xc0\x24\xfe\x0f\x22\xc0\xea\0\0\0\xf0\0\0"),
                   ("reserved bits of CR0", b"\xb8\xff\xff\xff\x7f\x0f\x22\xc0"), ("reserved bits of CR4", b"\xb8\xff\xff\xff\xff\x0f\x22\xe0"),
                   ("CR8 and CR3 of ones", b"\xb8\xff\xff\xff\xff\x0f\x22\xd8"),
                   ("debug registers", b"\xb8\xff\xff\xff\xff\x0f\x23\xc0\x0f\x23\xf8"), ("task gate", b"\xb8\x18\0\0\0\x0f\x00\xd8\xea\0\0\0\0\x18\0"),
                   ("WBINVD and INVD", b"\x0f\x09\x0f\x08"),
                   ("MONITOR and MWAIT", b"\x31\xc9\x31\xd2\x0f\x01\xc8\x0f\x01\xc9"), ("XSETBV", b"\x31\xc9\x31\xd2\x31\xc0\x0f\x01\xd1"), ("divide by zero",
                   b"\x31\xc9\xf7\xf1"),
                   ("a stack that faults", b"\x31\xe4\x50\xcd\x80")):
    @row("cpu", name, "and nothing after it", ANY, during=pauses if "loop" in name or "VMCALL" == name else None)
    def cpu(s, times, code=code):
        run(s, code)


@row("cpu", "triple fault", "no interrupt table, then UD2", "end:triple-fault")
def triple(s, times):
    s.op(TRIPLE)


@row("cpu", "CPUID", "every leaf near the four beginnings")
def cpuid(s, times):
    for first in (0, 0x40000000, 0x80000000, 0xffffffd0):
        run(s, b"\x53\xbf" + d32(first) + b"\x89\xf8\x89\xf9\x0f\xa2\x47\x81\xff" + d32(first + 0x2f) + b"\x75\xf1\x5b")


RANGES = ((0, 0x800), (0x800, 0x100), (0x1000, 0x100), (0x40000000, 0x120), (0x4b564d00, 0x20), (0xc0000000, 0x200), (0xc0010000, 0x200), (0xfffffff0, 15))
for what, mode, expect in (("reads", 0, "PASS"), ("what was read, written", 1, ANY), ("ones", 2, ANY), ("zeros", 3, ANY)):
    for first, n in RANGES:
        @row("msr", "%s from 0x%x" % (what, first), "%d registers" % n, expect, watch=mode == 0)
        def msrs(s, times, first=first, n=n, mode=mode):
            s.op(MSRS, first, n, mode)


# ---- the local APIC

@row("lapic", "every register", "ones and zeros of every width over its page", ANY)
def lapic_all(s, times):
    for width in (1, 2, 4):
        for value in (0xffffff00, 0x5500):
            for off in range(0x20, 0x400, 0x10):
                if off not in (0x300, 0x310):
                    s.write(LAPIC + off, value >> 8, width)


for mode in range(8):
    @row("lapic", "message %d to itself" % mode, "every delivery mode: fixed, SMI, NMI, INIT, start-up …, to itself, to all, to nobody", ANY)
    def icr(s, times, mode=mode):
        s.write(LAPIC + 0xf0, 0x1ff)
        for dest, short in ((0x7f000000, 0), (0xff000000, 0), (0, 3), (0, 1), (0, 2), (0, 0)):
            s.write(LAPIC + 0x310, dest).write(LAPIC + 0x300, short << 18 | 1 << 14 | mode << 8 | 0x40)


@row("lapic", "timer storm", "the shortest period, interrupts on", ANY)
def timer(s, times):
    s.op(IRQ_ON)
    s.write(LAPIC + 0x3e0, 0xb).write(LAPIC + 0x320, 0x20040).write(LAPIC + 0x380, 1)
    s.op(SPIN, 20000)
