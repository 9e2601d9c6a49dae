#!/usr/bin/env python3
"""cage.py JAIL VMM: what the walls around one VM cost: from core's request to jail until vmm's program is executed in its cage. Needs /dev/kvm, as root for the whole cage.

What vmm itself does from there to its guest's first instruction is `exec to first guest instruction` of bench.py; the aim (1 ms, 150 system calls) is of that.
"""
import os
import re
import socket
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "it"))
from frames import OK, start  # noqa: E402

SPAWN, KILL = 16, 17  # lib/wire/jail.h
NAME, SLOT, RAM, VCPUS = 16, 17, 18, 19
RUNS = int(os.environ.get("BENCH_RUNS", "15"))


def one(chan, folder, n):
    """milliseconds of a VM's spawn; the VM is ended again"""
    name = "bench-%d" % n
    ctl = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ctl.bind(os.path.join(folder, name))
    ctl.listen(4)
    begin = time.monotonic()
    m = chan.ask(SPAWN, [(NAME, name), (SLOT, 9000 + n), (RAM, 64 << 20), (VCPUS, 1)], [ctl.fileno()])
    took = (time.monotonic() - begin) * 1000
    assert m.kind == OK, m.text(2)
    chan.ask(KILL, [(NAME, name)])
    chan.recv()
    ctl.close()
    return took


def counted(log):
    """(calls of the child from its first to execveat, calls of jail from the request to the reply)"""
    child, jail, first, done = 0, 0, None, False
    asked = False
    with open(log, errors="replace") as f:
        for line in f:
            m = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)", line)
            if not m:
                continue
            pid, call, begins = m[1], m[2], m[3] == "("
            first = first or pid
            if pid == first:
                if call == "recvmsg" and "SCM_RIGHTS" in line:
                    asked = True
                elif asked and not done and begins:
                    jail += 1
                    done = call == "sendmsg"
            elif not done and begins:
                child += 1
                if call == "execveat":
                    break
    return child, jail


def main(jail, vmm):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("   cage: no usable /dev/kvm here")
        return
    program = os.open(vmm, os.O_RDONLY)
    with tempfile.TemporaryDirectory(prefix="mica-cage-") as folder:
        p, chan = start([jail], [program])
        times = [one(chan, folder, n) for n in range(RUNS)]
        chan.close()
        p.wait(10)
        log = os.path.join(folder, "strace")
        p, chan = start(["strace", "-f", "-q", "-s", "0", "-o", log, jail], [program])
        one(chan, folder, RUNS)
        chan.close()
        p.wait(10)
        child, own = counted(log)
    print("%-42s %14s   median of %d, request to jail until its reply, which comes after the exec (least %.2f)" % ("cage: request to exec of vmm", "%.2f ms" % statistics.median(times), RUNS,
                                                                                                            min(times)))
    print("%-42s %14d   strace -f, one VM: of the new process until execveat" % ("cage: system calls", child))
    print("%-42s %14d   the same run: of jail between request and reply" % ("cage: system calls of jail beside it", own))


main(*sys.argv[1:])
