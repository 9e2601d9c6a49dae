#!/usr/bin/env python3
"""hostile.py VMM [--jail JAIL] [-n WORDS…] [-v] [-l] [--full]: guests that do every forbidden thing to every device, straight on /dev/kvm (or $KVM).

One row is one guest: hostile_ring.py (registers, queues, chains: every virtio device), hostile_dev.py and hostile_vsock.py (requests), hostile_cpu.py (ports,
memory, processor).
The guest does its payload; what the device answers is judged from outside, then the device must serve a correct request: on the same queues when the row
says that it must not have minded (live), and after a reset always. Verdicts:
  PASS    the device goes on; or the guest ended itself, with the reason that the row expects
  REJECT  DEVICE_NEEDS_RESET is set, and after a reset the device works
  FAIL    vmm died or was killed by its filter, a sanitizer spoke, the guest's memory changed outside of what it gave to devices, a read gave a wrong
          value, the correct request failed, the control socket broke
  WEDGED  the guest gets no further in bounded time, vmm does not answer, does not pause, does not end, or spins after the guest has stopped
--jail: every vmm is started by jail, in its cage. With a vmm of `make asan-vmm` its reports count. TAP; FAIL, WEDGED and an unexpected verdict are failures.
--full: whole sweeps of ports and memory, ten times the storms, and a guest for each row (else some share one, as long as all goes well).
"""
import argparse, glob, mmap, os, select, shutil, signal, socket, sys, tempfile, time, traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../it")]
import bare, frames, vmmctl
from bare import Guest
from hostile_kit import ARENA, ARENA_END, FILL, FRAME, GO, LISTEN_PORT, MAC, RAM, script

LIMIT_S = 60


def changed(memory, want, free):
    """Addresses that hold what they must not; the first few."""
    if bytes(memory[ARENA:ARENA_END]) == want:
        return []
    bad = []
    for page in range(0, len(want), 4096):
        have = memory[ARENA + page:ARENA + page + 4096]
        if have != want[page:page + 4096]:
            bad += [ARENA + page + i for i in range(4096) if have[i] != want[page + i] and not free[page + i]]
    return bad[:8]


# ---- a vmm in jail's cage

class Caged:
    """What subprocess.Popen is to a vmm of our own: the process that jail started."""

    def __init__(self, cages, name, pid, pidfd):
        self.cages, self.name, self.pid, self.pidfd, self.returncode = cages, name, pid, pidfd, None

    def poll(self):
        if self.returncode is None and select.select([self.pidfd], [], [], 0)[0]:
            self.returncode = self.cages.end_of(self.name)
            os.close(self.pidfd)
        return self.returncode

    def wait(self, timeout=60):
        select.select([self.pidfd] if self.returncode is None else [], [], [], timeout)
        if self.poll() is None:
            raise TimeoutError("the process does not end")
        return self.returncode

    def kill(self):
        self.cages.ask(17, [(16, self.name)])


class Cages:
    """One jail. Frames: lib/wire/jail.h."""

    def __init__(self, jail, vmm):
        fd = os.open(vmm, os.O_RDONLY)
        self.proc, self.chan = frames.start([jail], [fd])
        os.close(fd)
        self.chan.sock.settimeout(60)  # a busy machine
        self.n, self.ends = 0, {}

    def spawn(self, listen):
        self.n += 1
        name = "hostile-%d" % self.n
        got = self.ask(16, [(16, name), (17, self.n % 200), (18, RAM), (19, 1)], [listen.fileno()])
        if got.kind != frames.OK:
            raise RuntimeError("jail: %s" % got.text(frames.TEXT))
        return Caged(self, name, got.num(20), got.fds[0])

    def ask(self, kind, fields, fds=()):
        ident = self.chan.send(kind, fields, fds=fds)
        while True:
            m = self.recv()
            if m.id == ident:
                return m

    def recv(self):
        """The next frame; ends are kept."""
        m = self.chan.recv()
        if m is None:
            raise RuntimeError("jail is gone")
        if m.kind == 19:
            self.ends[m.text(16)] = m.num(21)
        return m

    def end_of(self, name):
        """As subprocess has it: the exit status, or minus the signal."""
        while name not in self.ends:
            self.recv()
        status = self.ends.pop(name)
        return -(status & 0xff) if status >> 8 else status

    def close(self):
        self.chan.close()
        self.proc.wait(10)


class CagedGuest(Guest):
    def __init__(self, cages):
        self.dir = tempfile.mkdtemp(prefix="hostile.")
        self.path = os.path.join(self.dir, "ctl.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listen:
            listen.bind(self.path)
            listen.listen(4)
            self.proc = cages.spawn(listen)
        self.sock, self.exited, self.incoming, self.next_id = None, None, [], 1
        self.console_path, self.report_path = os.path.join(self.dir, "console.log"), os.path.join(self.dir, "report")
        self.attach(20)


# ---- one row

class Bad(Exception):
    """(verdict, why)"""


class Judge:
    def __init__(self, elf, disk, kvm, cages=None, log=None):
        self.elf, self.disk, self.kvm, self.cages, self.log = elf, disk, kvm, cages, log
        self.root = os.geteuid() == 0

    def guest(self):
        return CagedGuest(self.cages) if self.cages else Guest(kvm=self.kvm)

    def verdicts(self, rows):
        """[(row, verdict, why)]. Several guests' work in one vmm as long as nothing is wrong; else each has its own, to see which it is."""
        if len(rows) > 1:
            together = self.judge(rows)
            if len(together) == len(rows) and all(v in r.expect for r, (v, _) in zip(rows, together)):
                return [(r, *v) for r, v in zip(rows, together)]
            print("# one after the other, because together: %s" % ": ".join(next((v for r, v in zip(rows, together) if v[0] not in r.expect), together[0])))
        return [(r, *self.judge([r])[0]) for r in rows]

    def judge(self, rows):
        """[(verdict, why)] of each row, or of what ended all of them."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        try:
            with self.guest() as g:
                try:
                    return self.run(rows, g, pairs)
                except Bad as e:
                    return [self.spoken() or e.args]
                except (OSError, EOFError, TimeoutError, AssertionError, vmmctl.Refused) as e:
                    return [self.spoken() or ("FAIL" if g.proc.poll() is not None else "WEDGED", "%s: %s%s" % (type(e).__name__, e, self.fate(g)))]
        except Exception as e:  # of this harness, or of jail
            return [("FAIL", "%s: %s: %s" % (type(e).__name__, e, traceback.format_exc(-3).replace("\n", "\n# ")))]
        finally:
            for one in (s for p in pairs for s in p):
                one.close()

    @staticmethod
    def fate(g):
        code = g.proc.poll()
        return "" if code is None else "; vmm is gone: %s" % (signal.Signals(-code).name if code < 0 else code)

    def spoken(self):
        """What a sanitizer said; it ends the process, so this is FAIL."""
        for path in glob.glob(self.log + "*") if self.log else ():
            with open(path, errors="replace") as f:
                text = f.read()
            os.unlink(path)
            if text.strip():
                return "FAIL", "sanitizer: " + "\n# ".join(l for l in text.splitlines()[:25])
        return None

    def memory(self, g):
        folder = "/proc/%d/fd" % g.proc.pid
        for name in os.listdir(folder):
            try:
                if os.readlink(os.path.join(folder, name)).startswith("/memfd:guest-ram"):
                    fd = os.open(os.path.join(folder, name), os.O_RDWR)
                    try:
                        return mmap.mmap(fd, RAM)
                    finally:
                        os.close(fd)
            except FileNotFoundError:
                pass
        raise Bad("FAIL", "no guest memory to be found")

    def run(self, rows, g, pairs):
        row, s = rows[0], script(rows, self.root)
        wire = [p[1] for p in pairs]
        for w in wire:
            w.setblocking(False)
        g.listen(LISTEN_PORT)
        self.feed(g, wire)
        g.start(self.elf, s, **{"ram_bytes": RAM, "disks": [(self.disk, False)], "nets": [([p[0].fileno() for p in pairs], MAC)], **self.extra(row)})
        memory = None
        if self.root:
            memory = self.memory(g)
            memory[ARENA:ARENA_END] = bytes([FILL]) * (ARENA_END - ARENA)
            memory[GO:GO + 2] = b"go"
        if row.during:
            row.during(g)
        until = time.monotonic() + LIMIT_S
        ends = all(e.startswith("end:") for e in row.expect)
        while (ends or not g.console().endswith(b"end\n")) and g.exited is None:
            self.feed(g, wire)
            if time.monotonic() > until:
                g.call(vmmctl.STATS)
                if "stops" in row.expect:
                    break
                raise Bad("WEDGED", "the guest got no further: %r" % g.console()[-300:])
            frame = g.recv(0.004)
            if frame:
                g.event(frame)
            elif "stops" in row.expect and time.monotonic() > until - LIMIT_S + 0.3:
                break  # it is not meant to get anywhere; vmm must answer all the same
        if g.exited is not None:
            return [self.ended(row, g)]
        g.stats()
        verdicts = [self.answers(r, s, g) if "stops" not in r.expect else ("PASS", "") for r in rows]
        if "spins" not in row.expect:
            self.quiet(g)
        if memory and row.watch:
            bad = changed(memory, *s.model())
            if bad:
                raise Bad("FAIL", "memory changed that no device was given: " + " ".join("%x" % a for a in bad))
        if not self.stop(g):
            return [self.ended(row, g)]
        said = self.spoken()
        return [said] if said else verdicts

    def extra(self, row):
        """The row's own wishes; a read-only disk is this one."""
        return {**{k: v for k, v in row.boot.items() if k != "read_only"}, **({"disks": [(self.disk, True)]} if row.boot.get("read_only") else {})}

    def stop(self, g):
        """Pause, resume, end. False: it has ended by itself meanwhile, which a guest that was not waited for may."""
        try:
            for kind in (vmmctl.PAUSE, vmmctl.RESUME, vmmctl.QUIT):
                g.call(kind)
        except (EOFError, BrokenPipeError):
            pass
        except vmmctl.Refused as e:
            if e.status != 409:
                raise Bad("WEDGED", "it does not stop: %s%s" % (e, self.fate(g)))
        return g.wait_end(30)[0] == "killed"

    def feed(self, g, wire):
        """Frames wait for the guest, and what it sends is taken away."""
        for w in wire:
            try:
                while True:
                    w.send(FRAME)
            except OSError:
                pass
            try:
                while True:
                    w.recv(70000)
            except OSError:
                pass
        for _, sock in g.incoming:
            sock.close()
        g.incoming.clear()

    def ended(self, row, g):
        reason, text = g.wait_end(30)
        said = self.spoken()
        if said:
            return said
        if g.proc.poll() != 0:
            raise Bad("FAIL", "%s%s" % (text, self.fate(g)))
        if "end:" + reason in row.expect or "end:any" in row.expect:
            return "PASS", "ended: " + reason
        raise Bad("FAIL", "the VM ended: %s: %s" % (reason, text.splitlines()[0]))

    def answers(self, row, s, g):
        values = g.values()
        if len(values) < len(s.wants):
            raise Bad("FAIL", "%d values of %d" % (len(values), len(s.wants)))
        for (what, want), got in list(zip(s.wants, values))[row.first_want:row.end_want]:
            if want and got not in want:
                raise Bad("FAIL", "%s: 0x%x, not %s" % (what, got, " ".join("0x%x" % w for w in want)))
        if row.index is None:
            return "PASS", ""
        status = values[row.status_at]
        return ("REJECT" if status & 0x40 else "PASS"), "status 0x%x" % status

    def quiet(self, g):
        """The guest has stopped: all of vmm's threads sleep, ten looks in a row. One that spins is ready to run, however busy the machine is."""
        until, asleep, awake = time.monotonic() + 30, 0, set()
        while asleep < 10:
            folder = "/proc/%d/task" % g.proc.pid
            states = {}
            for task in os.listdir(folder):
                with open("%s/%s/stat" % (folder, task)) as f:
                    states[task] = f.read().rpartition(")")[2].split()[0]
            awake = {t for t, state in states.items() if state != "S"}
            asleep = 0 if awake else asleep + 1
            if time.monotonic() > until:
                raise Bad("WEDGED", "vmm is busy after the guest has stopped: %d of %d threads" % (len(awake), len(states)))
            time.sleep(0.001)


def rows(full):
    import hostile_cpu, hostile_dev, hostile_ring, hostile_vsock
    return [r for m in (hostile_ring, hostile_dev, hostile_cpu) for r in m.rows(10 if full else 1)]


def batches(rows, most):
    now = []
    for r in rows:
        if r.alone() or len(now) == most:
            if now:
                yield now
            now = []
        if r.alone():
            yield [r]
        else:
            now.append(r)
    if now:
        yield now


def table(verdicts):
    """Verdicts by device."""
    names = ("PASS", "REJECT", "FAIL", "WEDGED")
    by = {}
    for dev, verdict in verdicts:
        by.setdefault(dev, dict.fromkeys(names, 0))[verdict] += 1
    print("# %-10s %s" % ("device", " ".join("%7s" % n for n in names)))
    for dev, counts in by.items():
        print("# %-10s %s" % (dev, " ".join("%7d" % counts[n] for n in names)))
    print("# %-10s %s" % ("all", " ".join("%7d" % sum(c[n] for c in by.values()) for n in names)))


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("vmm")
    p.add_argument("--jail")
    p.add_argument("-n", nargs="*", default=[])
    for flag in ("-v", "-l", "--full"):
        p.add_argument(flag, action="store_true")
    args = p.parse_args()
    kvm = os.environ.get("KVM", "/dev/kvm")
    chosen = [r for r in rows(args.full) if not args.n or any(w in r.dev + ": " + r.name for w in args.n)]
    if args.l:
        for r in chosen:
            print("%-8s %-40s %-14s %s" % (r.dev, r.name, "/".join(r.expect), r.does))
        return 0
    try:
        os.close(os.open(kvm, os.O_RDWR))
    except OSError as e:
        print("1..0 # SKIP %s: %s" % (kvm, e))
        return 0
    top = tempfile.mkdtemp(prefix="hostile.")
    os.environ.update(VMM=args.vmm, TMPDIR=top, ASAN_OPTIONS="log_path=%s/san:detect_leaks=0" % top, UBSAN_OPTIONS="log_path=%s/san:print_stacktrace=1" % top)
    tempfile.tempdir = None
    disk = os.path.join(top, "disk")
    with open(disk, "wb") as f:
        f.write(b"A" * 512 + b"B" * 512 + b"C" * 1023 * 1024)
    elf = bare.build()
    cages = Cages(args.jail, args.vmm) if args.jail and os.geteuid() == 0 else None
    print("# %s%s; %s" % (args.vmm, " in jail's cage" if cages else "", "memory is watched" if os.geteuid() == 0 else "not root: memory is not watched"))
    judge, verdicts, failed = Judge(elf, disk, kvm, cages, os.path.join(top, "san")), [], 0
    for together in batches(chosen, 1 if args.full else 8):
        begun = time.monotonic()
        for row, verdict, why in judge.verdicts(together):
            verdicts.append((row.dev, verdict))
            good = verdict in ("PASS", "REJECT") and (verdict in row.expect or why.startswith("ended") or "stops" in row.expect)
            failed += not good
            print("%sok %d - %s: %s: %s" % ("" if good else "not ", len(verdicts), row.dev, row.name, verdict))
            if args.v or not good:
                print("#   %s; expected %s; %s" % (row.does, "/".join(row.expect), why))
        if args.v:
            print("#   %.0f ms for %d" % (1000 * (time.monotonic() - begun), len(together)))
        sys.stdout.flush()
    print("1..%d" % len(verdicts))
    table(verdicts)
    if cages:
        cages.close()
    shutil.rmtree(top)
    if not os.environ.get("BARE_ELF"):
        shutil.rmtree(os.path.dirname(elf), ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
