#!/usr/bin/env python3
"""bench.py PART...: what a VM costs, ours beside QEMU's microvm with the same kernel, image and memory, in the same run.

Run in a folder that holds vmm, vmlinux, min.ext4, firstrun. Parts:
  start   exec of the monitor to its guest's first instruction: time, system calls, user instructions
  boot    to the agent's hello over vsock: time, userspace exits, kicks; then private memory of the idle VM
Each figure says how it was taken. Standard library only.
"""
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

RAM_MIB = 128
HELLO_PORT = 1025
LIMIT_S = 120
STEPS_MAX = 2000000
RUNS = int(os.environ.get("BENCH_RUNS", "11"))
CMDLINE = "console=ttyS0 root=/dev/vda rw reboot=k panic=-1 quiet"

# lib/wire/wire.h and lib/wire/vmm.h
V_HELLO, V_BOOT, V_LISTEN, V_INCOMING, V_STATS, V_QUIT, V_EXITED, WIRE_OK = 16, 17, 19, 20, 23, 24, 25, 2
(T_VERSION, T_STATE, T_VCPUS, T_RAM_BYTES, T_CMDLINE, T_KERNEL_FD, T_INITRD_FD, T_CONSOLE_FD, T_REPORT_FD, T_DISK, T_NET, T_CID, T_FD,
 T_READONLY, T_ID, T_MAC, T_PORT, T_GUEST_PORT, T_REASON, T_TEXT, T_STAT, T_NAME, T_VALUE) = range(16, 39)


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack("<Q", value)
    elif isinstance(value, str):
        value = value.encode()
    return struct.pack("<HHI", tag, 0, len(value)) + value


def frame(kind, number, *fields):
    payload = b"".join(fields)
    return struct.pack("<IHHI", len(payload), kind, 0, number) + payload


def fields(payload):
    while payload:
        tag, _, size = struct.unpack_from("<HHI", payload)
        yield tag, payload[8:8 + size]
        payload = payload[8 + size:]


def boot_frame():
    """Descriptors in this order: kernel, disk, console, report."""
    return frame(V_BOOT, 1, field(T_VCPUS, 1), field(T_RAM_BYTES, RAM_MIB << 20), field(T_CMDLINE, CMDLINE), field(T_KERNEL_FD, 0),
                 field(T_CONSOLE_FD, 2), field(T_REPORT_FD, 3), field(T_DISK, field(T_FD, 1) + field(T_ID, "root")), field(T_CID, 3))


def qemu_argv(vsock):
    argv = [shutil.which("qemu-system-x86_64"), "-M", "microvm,accel=kvm,rtc=off,pit=off,pic=off,isa-serial=on,memory-backend=ram",
            "-object", "memory-backend-memfd,id=ram,size=%dM" % RAM_MIB, "-cpu", "host", "-m", str(RAM_MIB), "-smp", "1", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-kernel", "vmlinux", "-append", CMDLINE, "-serial", "file:console.qemu",
            "-drive", "if=none,id=d,file=disk.qemu,format=raw,cache=unsafe", "-device", "virtio-blk-device,drive=d",
            "-device", "virtio-rng-device"]
    return argv + (["-device", "vhost-vsock-device,guest-cid=3"] if vsock else [])


def say(what, ours, theirs, how):
    print("%-42s %14s %14s   %s" % (what, ours, theirs, how), flush=True)


def fresh_disks():
    for name in ("disk.vmm", "disk.qemu"):
        subprocess.run(["cp", "--sparse=always", "min.ext4", name], check=True)


# -- start

def firstrun(options, ours):
    if ours:
        with open("boot.frame", "wb") as f:
            f.write(boot_frame())
        argv = ["./firstrun", *options, "-m", "boot.frame", "-f", "vmlinux", "-f", "disk.vmm", "-f", "+console.vmm", "-f", "+report.vmm", "--", "./vmm"]
    else:
        argv = ["./firstrun", *options, "--", *qemu_argv(False)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if done.returncode:
        return ["failed: " + (done.stderr.strip().split("\n") or [""])[-1][:60]]
    return done.stdout.split()


def median_ms(values):
    try:
        return "%.2f ms" % (statistics.median(float(v) for v in values) / 1000)
    except ValueError:
        return values[0]


def part_start():
    fresh_disks()
    say("exec to first guest instruction", median_ms(firstrun(["-n", str(RUNS)], True)), median_ms(firstrun(["-n", str(RUNS)], False)),
        "median of %d; a seccomp filter reports the first KVM_RUN" % RUNS)
    say("system calls until then", firstrun(["-c"], True)[0], firstrun(["-c"], False)[0], "ptrace, all threads, after the exec")
    if not os.environ.get("BENCH_NO_STEPS"):
        say("user instructions until then", firstrun(["-s", str(STEPS_MAX)], True)[0], firstrun(["-s", str(STEPS_MAX)], False)[0],
            "ptrace single steps, given up at %d" % STEPS_MAX)


# -- boot

class Ours:
    name = "vmm"

    def __init__(self, prefix=()):
        path = "vmm-%d.sock" % os.getpid()
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(1)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(path)
        os.dup2(listener.fileno(), 3, inheritable=True)
        os.dup2(os.open("/dev/kvm", os.O_RDWR), 4, inheritable=True)
        listener.close()
        fds = [os.open("vmlinux", os.O_RDONLY), os.open("disk.vmm", os.O_RDWR), os.open("console.vmm", os.O_RDWR | os.O_CREAT | os.O_TRUNC),
               os.open("report.vmm", os.O_RDWR | os.O_CREAT | os.O_TRUNC)]
        self.start = time.monotonic()
        self.proc = subprocess.Popen([*prefix, "./vmm"], pass_fds=(3, 4), stdin=subprocess.DEVNULL)
        self.send(boot_frame(), fds)
        self.send(frame(V_LISTEN, 2, field(T_PORT, HELLO_PORT)))
        for fd in fds:
            os.close(fd)

    def send(self, data, fds=()):
        socket.send_fds(self.sock, [data], list(fds))

    def next(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 70000, 8)
        if len(data) < 12:
            raise SystemExit("bench: vmm went away; report: " + open("report.vmm").read()[:500])
        _, kind, _, number = struct.unpack_from("<IHHI", data)
        return kind, number, data[12:], fds

    def wait_hello(self):
        while True:
            kind, number, payload, fds = self.next()
            if kind == V_EXITED or (kind == 1 and number == 1):
                raise SystemExit("bench: vmm: %r" % list(fields(payload)))
            if kind == V_INCOMING:
                with socket.socket(fileno=fds[0]) as stream:
                    stream.settimeout(LIMIT_S)
                    stream.recv(1)
                    self.stream = stream.dup()
                return time.monotonic() - self.start

    def stats(self):
        self.send(frame(V_STATS, 9))
        while True:
            kind, number, payload, _ = self.next()
            if number == 9:
                break
        found = {}
        for tag, record in fields(payload):
            if tag == T_STAT:
                one = dict(fields(record))
                found[one[T_NAME].decode()] = struct.unpack("<Q", one[T_VALUE])[0]
        return found

    def pid(self):
        return child_named(self.proc.pid, "vmm")


class Qemu:
    name = "qemu"

    def __init__(self, prefix=()):
        self.listener = socket.socket(socket.AF_VSOCK)
        self.listener.bind((socket.VMADDR_CID_ANY, HELLO_PORT))
        self.listener.listen(4)
        self.listener.settimeout(LIMIT_S)
        self.start = time.monotonic()
        self.proc = subprocess.Popen([*prefix, *qemu_argv(True)], stdin=subprocess.DEVNULL)

    def wait_hello(self):
        self.stream, _ = self.listener.accept()
        self.stream.settimeout(LIMIT_S)
        self.stream.recv(1)
        return time.monotonic() - self.start

    def stats(self):
        return {}

    def pid(self):
        return child_named(self.proc.pid, "qemu-system")


def child_named(pid, word):
    """pid itself, or the child of it (under strace) with that name."""
    todo = [pid]
    while todo:
        one = todo.pop()
        with open("/proc/%d/comm" % one) as f:
            if word in f.read():
                return one
        with open("/proc/%d/task/%d/children" % (one, one)) as f:
            todo += [int(p) for p in f.read().split()]
    return pid


def end(vm):
    for pid in {vm.pid(), vm.proc.pid}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    vm.proc.wait()
    if isinstance(vm, Qemu):
        vm.listener.close()


def private_kib(pid):
    """(private, of it dirty) KiB of every mapping but the guest's memory."""
    private = dirty = 0
    skip = False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
                low, high = (int(x, 16) for x in line.split()[0].split("-"))
                skip = "memfd:" in line and high - low >= (RAM_MIB << 20) // 4
            elif not skip and line.startswith(("Private_Clean:", "Private_Dirty:")):
                kib = int(line.split()[1])
                private += kib
                dirty += kib if line.startswith("Private_Dirty") else 0
    return private, dirty


def boot_once(kind):
    fresh_disks()
    vm = kind()
    took = vm.wait_hello()
    time.sleep(3)
    memory = private_kib(vm.pid())
    stats = vm.stats()
    end(vm)
    return took, memory, stats


def boot_traced(kind):
    """(KVM_RUN returns, kicks taken from eventfds) until the hello."""
    fresh_disks()
    log = "strace." + kind.name
    vm = kind(("strace", "-f", "-q", "-y", "-e", "trace=ioctl,read", "-e", "signal=none", "-s", "0", "-o", log))
    vm.wait_hello()
    end(vm)
    exits = kicks = 0
    with open(log, errors="replace") as f:
        for line in f:
            if "KVM_RUN" in line and "unfinished" not in line or "ioctl resumed" in line:
                exits += "EINTR" not in line and "KVM_RUN" in line or "ioctl resumed" in line
            kicks += "eventfd]" in line and line.rstrip().endswith("= 8")
    return exits, kicks


def part_boot():
    ours, theirs = boot_once(Ours), boot_once(Qemu)
    say("exec to the agent's hello", "%.2f s" % ours[0], "%.2f s" % theirs[0], "one boot each, vsock port %d" % HELLO_PORT)
    say("private memory, idle VM", "%d KiB" % ours[1][0], "%d KiB" % theirs[1][0], "smaps: private pages of all mappings but guest RAM, 3 s after the hello")
    say("  of it dirty", "%d KiB" % ours[1][1], "%d KiB" % theirs[1][1], "smaps: Private_Dirty")
    for name, value in sorted(ours[2].items()):
        say("  vmm counter " + name, value, "", "V_STATS 3 s after the hello")
    ours, theirs = boot_traced(Ours), boot_traced(Qemu)
    say("userspace exits until the agent is ready", ours[0], theirs[0], "strace: returns of KVM_RUN without EINTR")
    say("eventfd reads until then (kicks)", ours[1], theirs[1], "strace: 8-byte reads from eventfds; other wake-ups are among them")


def main():
    while os.open("/dev/null", os.O_RDONLY) < 4:
        pass  # 3 and 4 belong to the vmm we start
    say("", "vmm", "qemu microvm", "how")
    for part in sys.argv[1:]:
        {"start": part_start, "boot": part_boot}[part]()


main()
