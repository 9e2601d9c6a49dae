"""blk.py: a second disk, a raw file, ours beside QEMU's microvm (an I/O thread, its own back end, default caching): the same kernel, image, memory and fio,
both VMs at once and measured in turn, the best of some rounds of each (a shared machine disturbs). For bench.py (part blk).

fio runs in the guest, O_DIRECT, over io_uring. Every figure is the difference of a run and of a short run of the same kind, so that starting fio counts for
nothing. The file lies in an ext4 of the host's, written before, so the host's page cache answers: what is measured is the way there and back. The copy from or into
the page cache both pay; what it costs a plain program is told beside them, as it bounds what either can reach.

In the rig the two must be measured on its deterministic clock (rig.sh -I 0: a CPU second is a thousand million instructions). On the other one a CPU second of L1 is one
of the host's wall, with all that the host does meanwhile in it: starting fio alone then takes 0.6 s or 2.3 s, what is measured 1.5 s, and the ratio came out
as 0.33 and as 1.56 for one and the same program."""
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import net  # noqa: E402

MIB = int(os.environ.get("BENCH_BLK_MIB", "128"))
ROUNDS = int(os.environ.get("BENCH_BLK_ROUNDS", "2"))
FILE_MIB = 96
SHORT = 16  # the short run is that part of the run
KINDS = (  # name, words, fio's rw, block KiB, depth, part of MIB
    ("seqread", "sequential reads of 1 MiB", "read", 1024, 4, 1), ("seqwrite", "sequential writes of 1 MiB", "write", 1024, 4, 1),
    ("randread", "random reads of 4 KiB", "randread", 4, 32, 8), ("randwrite", "random writes of 4 KiB", "randwrite", 4, 32, 8))


class Folder:
    """Where the files lie: an ext4 in the file blk.ext4 where that can be mounted, else here."""

    def __init__(self):
        os.makedirs("blk", exist_ok=True)
        self.mounted = subprocess.run(["mount", "-o", "loop", "blk.ext4", "blk"], stderr=subprocess.DEVNULL).returncode == 0

    def file(self, name):
        path = os.path.join("blk", name)
        with open(path, "wb") as f:
            for _ in range(FILE_MIB):
                f.write(os.urandom(1 << 20))
            f.flush()
            os.fsync(f.fileno())
        return path

    def done(self):
        if self.mounted:
            subprocess.run(["umount", "-l", "blk"])


def script(vm, text):
    return net.Guest(vm.connect(), "/bin/sh", "-c", text, more=[(net.aw.T_UID, 0)]).wait().decode()


def prepare(vm):
    """The device of the data disk: found by its size."""
    with open("fio", "rb") as f:
        net.put_file(vm.connect(), "/tmp/fio", f.read())
    dev = script(vm, "for d in /sys/block/vd*; do [ $(cat $d/size) = %d ] && echo ${d##*/}; done; true" % (FILE_MIB * 2048)).split()[0]
    fio(vm, dev, "read", 1024, 4, 8)  # what comes first is slow
    return dev


def floor():
    """CPU seconds per MiB of a program that reads or writes such a file, in the host, by pieces of 1 MiB."""
    piece, pieces, out = bytearray(os.urandom(1 << 20)), 32, {}
    with open(os.path.join("blk", "floor"), "w+b", buffering=0) as f:
        for _ in range(pieces):
            f.write(piece)
        for name, move in (("seqread", os.preadv), ("seqwrite", os.pwritev)):
            os.sync()
            start = time.thread_time()
            for i in range(pieces):
                move(f.fileno(), [piece], i << 20)
            out[name] = (time.thread_time() - start) / pieces
    return out


def fio(vm, dev, rw, block_kib, depth, mib):
    text = script(vm, "/tmp/fio --name=b --filename=/dev/%s --rw=%s --bs=%dk --iodepth=%d --size=%dM --io_size=%dK --direct=1 --ioengine=io_uring "
                  "--thread --randseed=7 --output-format=json" % (dev, rw, block_kib, depth, FILE_MIB, int(mib * 1024)))
    job = json.loads(text[text.index("{"):])["jobs"][0]["write" if "write" in rw else "read"]
    return job["runtime"] / 1000, job["io_bytes"] / (1 << 20)


def measure(vm, dev):
    pid, out = vm.pid(), {}
    for name, _, rw, block_kib, depth, part in KINDS:
        runs = []
        for mib in (MIB / part / SHORT, MIB / part):
            os.sync()  # what the run before has left to write is not this one's
            cpu, counts = net.cpu_s(pid), net.kvm_counts(pid)
            seconds, moved = fio(vm, dev, rw, block_kib, depth, mib)
            run = {"s": seconds, "mib": moved, "cpu": net.cpu_s(pid) - cpu}
            for key, value in net.kvm_counts(pid).items():
                run[key] = value - counts.get(key, 0)
            runs.append(run)
        out[name] = {key: runs[1][key] - runs[0][key] for key in runs[1]}
    return out


def best(rounds):
    """Of each kind, the round that took the least CPU."""
    return {key: min((r[key] for r in rounds), key=lambda figures: figures["cpu"]) for key in rounds[0]}


def rows(say, ours, theirs, least):
    one = net.row_of(say, ours, theirs)
    for name, words, rw, block_kib, depth, part in KINDS:
        one(words, lambda m: m[name]["mib"] / m[name]["s"], "%.1f MiB/s", "fio, %g MiB, %d in flight, O_DIRECT; best of %d" % (MIB / part, depth, ROUNDS))
        one("  per CPU second of the VM's process", lambda m: m[name]["mib"] / m[name]["cpu"], "%.1f MiB", "the process's CPU clock, guest code included")
        try:
            say("  that is, beside QEMU", "%.2f x" % (ours[name]["mib"] / ours[name]["cpu"] / (theirs[name]["mib"] / theirs[name]["cpu"])), "1", "")
        except (KeyError, ZeroDivisionError):
            pass
        if name in least:
            say("  a program in the host, per CPU second", "%.1f MiB" % (1 / least[name]), "", "the same without a VM: 1 MiB at a time, page cache, the thread's CPU clock")
        one("  exits per MiB that reach the monitor", lambda m: (m[name]["mmio_exits"] + m[name]["io_exits"]) / m[name]["mib"], "%.2f", "KVM's mmio_exits + io_exits; notifications are eventfds")
        one("  exits per MiB, all kinds", lambda m: m[name]["exits"] / m[name]["mib"], "%.1f", "KVM's exits: kicks, interrupts, halts too")
