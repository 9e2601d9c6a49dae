#!/usr/bin/env python3
"""bench.py PART...: what a VM costs, ours beside QEMU's microvm with the same kernel, image and memory, in the same run.

Run in a folder that holds vmm, vmlinux, min.ext4, firstrun, vmmctl.py. Parts:
  start   exec of the monitor to its guest's first instruction: time, system calls, user instructions
  boot    to the agent's hello over vsock: time, userspace exits, kicks; then private memory of the idle VM
  net     TCP through a tap both ways, request and response: net.py, nettool
  blk     fio on a second disk, sequential and random: blk.py, fio, blk.ext4
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

sys.dont_write_bytecode = True
import vmmctl as vc  # noqa: E402  tests/guest/vmmctl.py, copied beside this file

RAM_MIB = 128
HELLO_PORT = 1025
AGENT_PORT = 1024
LIMIT_S = 120
STEPS_MAX = 2000000
RUNS = int(os.environ.get("BENCH_RUNS", "11"))
CMDLINE = "console=ttyS0 root=/dev/vda rw reboot=k panic=-1 quiet spec_rstack_overflow=off"  # the last as core gives it: api/core/cmdline.c



def boot_frame():
    """The V_BOOT for firstrun; its descriptors: kernel, disk, console, report."""
    body = b"".join((vc.field(vc.T_VCPUS, 1), vc.field(vc.T_RAM_BYTES, RAM_MIB << 20), vc.field(vc.T_CMDLINE, CMDLINE),
                     vc.field(vc.T_KERNEL_FD, 0), vc.field(vc.T_CONSOLE_FD, 2), vc.field(vc.T_REPORT_FD, 3),
                     vc.field(vc.T_DISK, vc.field(vc.T_FD, 1) + vc.field(vc.T_ID, "root")), vc.field(vc.T_CID, 3)))
    return struct.pack("<IHHI", len(body), vc.BOOT, 0, 1) + body


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
        shutil.copyfile("min.ext4", name)


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

    def __init__(self, wrap=(), line=None, data=None):
        self.start = time.monotonic()
        self.vmm = vc.Vmm("./vmm", wrap=wrap)
        self.proc = self.vmm.proc
        self.vmm.listen(HELLO_PORT)
        self.vmm.boot("vmlinux", CMDLINE + (line.words if line else ""), RAM_MIB << 20, disks=[("disk.vmm", False, "root")] + ([(data, False, "data")] if data else []),
                      nets=[(line.fd, line.mac)] if line else ())

    def wait_hello(self):
        _, self.stream = self.vmm.accept(LIMIT_S)
        self.stream.settimeout(LIMIT_S)
        self.stream.recv(1)
        return time.monotonic() - self.start

    def stats(self):
        return self.vmm.stats()

    def connect(self):
        return self.vmm.connect(AGENT_PORT)

    def pid(self):
        return child_named(self.proc.pid, "vmm")


class Qemu:
    name = "qemu"

    def __init__(self, wrap=(), line=None, data=None):
        self.listener = socket.socket(socket.AF_VSOCK)
        self.listener.bind((socket.VMADDR_CID_ANY, HELLO_PORT))
        self.listener.listen(4)
        self.listener.settimeout(LIMIT_S)
        self.start = time.monotonic()
        argv = qemu_argv(True)
        if line:
            argv[argv.index("-append") + 1] += line.words
            argv += ["-global", "virtio-mmio.force-legacy=false", "-netdev", "tap,id=n,fd=%d,vhost=off" % line.fd,
                     "-device", "virtio-net-device,netdev=n,mrg_rxbuf=on,mac=" + ":".join("%02x" % b for b in line.mac)]
        if data:
            argv += ["-global", "virtio-mmio.force-legacy=false", "-object", "iothread,id=io", "-drive", "if=none,id=b,file=%s,format=raw" % data,
                     "-device", "virtio-blk-device,drive=b,iothread=io"]
        self.proc = subprocess.Popen([*wrap, *argv], stdin=subprocess.DEVNULL, pass_fds=[line.fd] if line else [])

    def wait_hello(self):
        self.stream, _ = self.listener.accept()
        self.stream.settimeout(LIMIT_S)
        self.stream.recv(1)
        return time.monotonic() - self.start

    def stats(self):
        return {}

    def connect(self):
        s = socket.socket(socket.AF_VSOCK)
        s.connect((3, AGENT_PORT))
        return s

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
    else:
        vm.vmm.close()


def private_kib(pid):
    """KiB of every mapping but the guest's memory: (what one more VM costs, that and the pages of program files that only this
    process maps now). Guest memory is where the memfd says: what a monitor maps over a part of it (a kernel's pages, say)
    belongs to the guest too."""
    maps = []
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
                words = line.split()
                low, high = (int(x, 16) for x in words[0].split("-"))
                maps.append([low, high, int(words[2], 16), line, 0, 0])
            elif line.startswith(("Private_Clean:", "Private_Dirty:")):
                maps[-1][5] += int(line.split()[1])
            elif line.startswith("Anonymous:"):
                maps[-1][4] = int(line.split()[1])
    ram = max((m for m in maps if "memfd:" in m[3]), key=lambda m: m[1] - m[0])
    base = ram[0] - ram[2]
    outside = [m for m in maps if not base <= m[0] < base + (RAM_MIB << 20)]
    own = sum(m[5] if "anon_inode:" in m[3] else m[4] for m in outside)
    return own, sum(m[5] for m in outside)


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
    say("private memory, idle VM", "%d KiB" % ours[1][0], "%d KiB" % theirs[1][0], "smaps: Anonymous of all mappings but guest RAM, 3 s after the hello")
    say("  with program files nobody else maps", "%d KiB" % ours[1][1], "%d KiB" % theirs[1][1], "smaps: Private_Clean + Private_Dirty")
    for name, value in sorted(ours[2].items()):
        if name.startswith("exits.") or name in ("kicks", "irqs"):
            say("  vmm counter " + name, value, "", "V_STATS 3 s after the hello")
    ours, theirs = boot_traced(Ours), boot_traced(Qemu)
    say("userspace exits until the agent is ready", ours[0], theirs[0], "strace: returns of KVM_RUN without EINTR")
    say("eventfd reads until then (kicks)", ours[1], theirs[1], "strace: 8-byte reads from eventfds; other wake-ups are among them")


# -- net

def part_net():
    import net
    fresh_disks()
    vms, rounds = [], ([], [])
    try:
        for number, kind in enumerate((Ours, Qemu)):
            line = net.Line(number)
            vms.append((kind(line=line), line))
            os.close(line.fd)
        for vm, _ in vms:
            vm.wait_hello()
            net.prepare(vm)
        for _ in range(net.ROUNDS):
            for (vm, line), results in zip(vms, rounds):
                results.append(net.measure(vm, line))
    finally:
        for vm, _ in vms:
            end(vm)
    net.rows(say, *(net.best(results) for results in rounds))


# -- blk

def part_blk():
    import blk
    fresh_disks()
    folder = blk.Folder()
    vms, rounds = [], ([], [])
    try:
        for kind in (Ours, Qemu):
            vms.append(kind(data=folder.file(kind.name)))
        for vm in vms:
            vm.wait_hello()
        least = blk.floor()
        devices = [blk.prepare(vm) for vm in vms]
        for _ in range(blk.ROUNDS):
            for vm, dev, results in zip(vms, devices, rounds):
                results.append(blk.measure(vm, dev))
    finally:
        for vm in vms:
            end(vm)
        folder.done()
    blk.rows(say, *(blk.best(results) for results in rounds), least)


def main():
    say("", "vmm", "qemu microvm", "how")
    for part in sys.argv[1:]:
        {"start": part_start, "boot": part_boot, "net": part_net, "blk": part_blk}[part]()


if __name__ == "__main__":
    main()
