#!/usr/bin/env python3
"""net.py: TCP through a tap, ours beside QEMU's microvm with its own back end (no vhost): the same kernel, image, memory, tap set-up and
programs, both VMs at once and measured in turn, the best of some rounds of each (a shared machine disturbs). For bench.py (part net)."""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import agent_wire as aw  # noqa: E402  tests/it/agent_wire.py

TUNSETIFF = 0x400454CA
TUNSETVNETHDRSZ = 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 2, 0x1000, 0x4000, 0x100
MIB = int(os.environ.get("BENCH_NET_MIB", "128"))
ROUNDS = int(os.environ.get("BENCH_NET_ROUNDS", "3"))
ASKS = int(os.environ.get("BENCH_NET_ASKS", "1000"))


class Line:
    """A tap, up, with the host's address; what the guest at its other end is told."""

    def __init__(self, number):
        self.guest, self.host = "10.77.%d.2" % number, "10.77.%d.1" % number
        self.mac = bytes((2, 0x6D, 0x69, 0, 0, number))
        self.words = " MICA_HOST=bench MICA_IP=%s/24 MICA_GW=%s" % (self.guest, self.host)
        self.fd = make_tap("bench%d" % number, self.host)


def make_tap(name, host, queues=1):
    """Its descriptor, or a list of them."""
    fds = []
    for _ in range(queues):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", 12))
        fds.append(fd)
    subprocess.run(["ip", "addr", "add", host + "/24", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return fds if queues > 1 else fds[0]


class Guest(aw.Stream):
    """A command in the guest, by its agent."""

    def __init__(self, sock, cmd, *args, more=()):
        self.s, self.rest = sock, b""
        self.s.settimeout(600)
        self.send(aw.EXEC, [(aw.T_CMD, cmd)] + [(aw.T_ARG, a) for a in args] + list(more))

    def wait(self):
        out = b""
        while True:
            m = self.recv()
            if m is None:
                raise EOFError("the agent's stream ended")
            if m.kind in (aw.STDOUT, aw.STDERR):
                out += m.get(aw.T_DATA)
            elif m.kind == aw.EXIT:
                if m.num(aw.T_CODE, 0):
                    raise RuntimeError("in the guest: %r" % out)
                return out
            elif m.kind == aw.ERR:
                raise RuntimeError(m.text(aw.T_TEXT))


def put_file(sock, path, data):
    s = aw.Stream.__new__(aw.Stream)
    s.s, s.rest = sock, b""
    s.send(aw.CP_IN, [(aw.T_PATH, path), (aw.T_MODE, "binary"), (aw.T_PERM, 0o755)])
    m = s.recv()
    if m is None or m.kind != aw.OK:
        raise RuntimeError("copy into the guest: %r" % (m and m.fields))
    for i in range(0, len(data), 32768):
        s.send(aw.DATA, [(aw.T_DATA, data[i:i + 32768])])
    s.send(aw.DATA_EOF)
    m = s.recv()
    if m is None or m.kind != aw.OK:
        raise RuntimeError("copy into the guest: %r" % (m and m.fields))
    s.close()


def cpu_s(pid):
    """Of all its threads so far, those that have ended too: the process's CPU clock, in ns (/proc/PID/stat counts in 10 ms)."""
    return time.clock_gettime((~pid << 3) | 2)


def kvm_counts(pid):
    """KVM's own counters of that process's VM, the same for any monitor; {} where debugfs is not to be had."""
    top = "/sys/kernel/debug/kvm"
    if not os.path.isdir(top):
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], stderr=subprocess.DEVNULL)
    out = {}
    for name in os.listdir(top) if os.path.isdir(top) else ():
        if name.startswith("%d-" % pid):
            for key in ("exits", "mmio_exits", "io_exits", "halt_exits", "irq_injections"):
                try:
                    with open(os.path.join(top, name, key)) as f:
                        out[key] = out.get(key, 0) + int(f.read())
                except OSError:
                    pass
    return out


def prepare(vm):
    with open("nettool", "rb") as f:
        put_file(vm.connect(), "/tmp/nettool", f.read())


def measure(vm, line):
    """{what: figures} of one running guest, one round."""
    pid, connect, out = vm.pid(), vm.connect, {}

    def timed(name, units, fn):
        cpu, counts, start = cpu_s(pid), kvm_counts(pid), time.monotonic()
        ns = fn()
        out[name] = {"s": ns / 1e9, "wall": time.monotonic() - start, "cpu": (cpu_s(pid) - cpu) / units, "units": units}
        for key, value in kvm_counts(pid).items():
            out[name][key] = (value - counts.get(key, 0)) / units

    def guest_sends():
        sink = subprocess.Popen(["./nettool", "sink", "5001"])
        try:
            return int(Guest(connect(), "/tmp/nettool", "send", line.host, "5001", str(MIB)).wait())
        finally:
            sink.wait(60)

    def host_sends():
        sink = Guest(connect(), "/tmp/nettool", "sink", "5002")
        ns = int(subprocess.run(["./nettool", "send", line.guest, "5002", str(MIB)], capture_output=True, check=True, timeout=600).stdout)
        sink.wait()
        return ns

    def host_asks():
        echo = Guest(connect(), "/tmp/nettool", "echo", "5003")
        ns = int(subprocess.run(["./nettool", "ask", line.guest, "5003", str(ASKS)], capture_output=True, check=True, timeout=600).stdout)
        echo.wait()
        return ns

    timed("out", MIB, guest_sends)
    timed("in", MIB, host_sends)
    timed("ask", ASKS, host_asks)
    return out


def best(rounds):
    """Of each thing measured, the round that took least."""
    return {key: min((r[key] for r in rounds), key=lambda figures: figures["s"]) for key in rounds[0]}


def row_of(say, ours, theirs):
    """The function that says one row: what, how a figure is picked from either's measurements, its form, how it was taken."""
    def one(what, pick, form, how):
        cells = []
        for m in (ours, theirs):
            try:
                cells.append(form % pick(m))
            except (KeyError, TypeError, ZeroDivisionError):
                cells.append("-")
        say(what, cells[0], cells[1], how)
    return one


def rows(say, ours, theirs):
    one = row_of(say, ours, theirs)
    for key, word in (("out", "guest to host"), ("in", "host to guest")):
        one("TCP %s" % word, lambda m: MIB / m[key]["s"], "%.1f MiB/s", "%d MiB, one connection, to the receiver's answer; best of %d" % (MIB, ROUNDS))
        one("  exits per MiB that reach the monitor", lambda m: m[key]["mmio_exits"] + m[key]["io_exits"], "%.1f", "KVM's mmio_exits + io_exits")
        one("  exits per MiB, all kinds", lambda m: m[key]["exits"], "%.1f", "KVM's exits: kicks, interrupts, halts too")
        one("  CPU of the VM's process per GiB", lambda m: m[key]["cpu"] * 1024, "%.2f s", "the process's CPU clock, guest code included")
    one("request and response over TCP", lambda m: m["ask"]["s"] / ASKS * 1e6, "%.0f us", "1 byte there and back, mean of %d; best of %d" % (ASKS, ROUNDS))
    one("  exits of all kinds for one", lambda m: m["ask"]["exits"], "%.1f", "KVM's exits")
