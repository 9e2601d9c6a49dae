#!/usr/bin/env python3
"""back.py BLKBACK: what 1 MiB through a disk's back end costs this machine's own kernel and CPUs, where no guest can be had: our device with its threads
(blkback) beside QEMU's block layer (qemu-img bench, its thread pool), one after another in a file of the host's page cache. Each figure is the difference
of a long and a short run, the least CPU of some rounds. As root both run before anything else (SCHED_FIFO), as if the machine were idle: what threads of
several CPUs do to each other on one file shows only then."""
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROUNDS, FILE_MIB = 5, 96
KINDS = (  # words, way, bytes of one, in flight, how many
    ("writes of 1 MiB", "w", 1 << 20, 4, 480), ("reads of 1 MiB", "r", 1 << 20, 4, 480), ("writes of 64 KiB", "w", 1 << 16, 8, 4800),
    ("reads of 64 KiB", "r", 1 << 16, 8, 4800), ("writes of 4 KiB", "w", 4096, 32, 32000), ("reads of 4 KiB", "r", 4096, 32, 32000))


def first():
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def run(argv):
    def spent():
        r = resource.getrusage(resource.RUSAGE_CHILDREN)
        return r.ru_utime + r.ru_stime
    cpu, start = spent(), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, preexec_fn=first, timeout=100)
    return spent() - cpu, time.monotonic() - start


def least(argv, mib, count):
    """(CPU, time) in us per MiB"""
    def once():
        os.sync()
        short, whole = run(argv(count // 16)), run(argv(count))
        return tuple((b - a) * 1e6 / (mib * 15 / 16) for a, b in zip(short, whole))
    return min(once() for _ in range(ROUNDS))


def main():
    folder = tempfile.mkdtemp(prefix="mica-back.")
    path = os.path.join(folder, "disk")
    try:
        with open(path, "wb", buffering=0) as f:
            for _ in range(FILE_MIB):
                f.write(os.urandom(1 << 20))
        for words, way, block, depth, count in KINDS:
            mib = count * block / (1 << 20)
            ours = least(lambda n: [sys.argv[1], path, way, str(block), str(depth), str(n)], mib, count)
            line = "%-18s ours %.0f us of CPU per MiB (%.0f us pass)" % (words, *ours)
            if shutil.which("qemu-img"):
                theirs = least(lambda n: ["qemu-img", "bench", "-f", "raw", "-t", "writeback", "-c", str(n), "-d", str(depth), "-s", str(block),
                                          *(["-w"] if way == "w" else []), path], mib, count)
                line += ", QEMU %.0f (%.0f): %.2f x its throughput per CPU second" % (*theirs, theirs[0] / ours[0])
            print("%s; %d in flight, %d CPUs" % (line, depth, len(os.sched_getaffinity(0))), flush=True)
    finally:
        shutil.rmtree(folder)


main()
