#!/usr/bin/env python3
"""Drives one vmm over its control socket (lib/wire/vmm.h): as a module for tests, or from the command line.

  vmmctl.py [options] KERNEL       boots it, prints events, the console (-c) and the end; exit 0 for poweroff/reboot/killed, 3 otherwise
    --vmm PROG --kvm PATH (default /dev/kvm) --initrd FILE --cmdline TEXT --ram-mb N (128) --cpus N (1)
    --disk FILE[:ro] (repeat)  --cid N (3; 0 none)  --time SECONDS (30)
    -c show the console   -s show stats at the end   --connect PORT: join stdin/stdout to that guest port once the guest listens
    --listen PORT (repeat): print what arrives   --until TEXT: end the VM when the console says so
  vmmctl.py --state SOCKET STATS|PAUSE|RESUME|QUIT   talks to a vmm that runs
"""
import array, argparse, fcntl, os, select, socket, struct, subprocess, sys, tempfile, time

HELLO, BOOT, CONNECT, LISTEN, INCOMING, PAUSE, RESUME, STATS, QUIT, EXITED = range(16, 26)
ERR, OK = 1, 2
(T_VERSION, T_STATE, T_VCPUS, T_RAM_BYTES, T_CMDLINE, T_KERNEL_FD, T_INITRD_FD, T_CONSOLE_FD, T_REPORT_FD, T_DISK, T_NET, T_CID, T_FD,
 T_READONLY, T_ID, T_MAC, T_PORT, T_GUEST_PORT, T_REASON, T_TEXT, T_STAT, T_NAME, T_VALUE, T_NO_ACPI) = range(16, 40)
NET = 40
(T_NET_INDEX, T_HEAL, T_CUT, T_DELAY_US, T_JITTER_US, T_LOSS_PPM, T_RX_BYTES_S, T_TX_BYTES_S, T_RX_PACKETS_S, T_TX_PACKETS_S) = range(64, 74)
W_STATUS, W_TEXT, W_ERRNO = 1, 2, 3


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack("<Q", value)
    elif isinstance(value, str):
        value = value.encode()
    return struct.pack("<HHI", tag, 0, len(value)) + value


def fields(payload):
    """[(tag, bytes)]"""
    out, at = [], 0
    while at < len(payload):
        tag, _, n = struct.unpack_from("<HHI", payload, at)
        out.append((tag, payload[at + 8:at + 8 + n]))
        at += 8 + n
    return out


def first(payload, tag, kind=str, default=None):
    for t, v in fields(payload):
        if t == tag:
            return v.decode(errors="replace") if kind is str else struct.unpack("<Q", v)[0]
    return default


class Refused(Exception):
    def __init__(self, payload):
        self.status = first(payload, W_STATUS, int, 0)
        self.errno = first(payload, W_ERRNO, int, 0)
        super().__init__(first(payload, W_TEXT) or "refused")


class Frame:
    def __init__(self, kind, ident, payload, fds):
        self.kind, self.id, self.payload, self.fds = kind, ident, payload, fds


class Vmm:
    """A vmm process and one connection to it."""

    def __init__(self, prog=None, kvm="/dev/kvm", wrap=()):
        prog = prog or os.environ.get("VMM") or os.path.join(os.path.dirname(__file__), "../../build/bin/vmm")
        self.dir = tempfile.mkdtemp(prefix="vmmctl.")
        self.path = os.path.join(self.dir, "ctl.sock")
        listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listen.bind(self.path)
        listen.listen(4)
        kvm_fd = os.open(kvm, os.O_RDWR)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in (listen.fileno(), kvm_fd)]  # out of the way of 3 and 4

        def place():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)
            os.closerange(5, 1024)

        self.proc = subprocess.Popen([*wrap, prog], preexec_fn=place, close_fds=False)
        for fd in (*high, kvm_fd):
            os.close(fd)
        listen.close()
        self.sock, self.exited, self.incoming, self.next_id = None, None, [], 1
        self.console_path = os.path.join(self.dir, "console.log")
        self.report_path = os.path.join(self.dir, "report")
        self.attach()

    def attach(self, timeout=5):
        """A new connection, which replaces the one there is."""
        if self.sock:
            self.sock.close()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(self.path)
        hello = self.recv(timeout)
        assert hello and hello.kind == HELLO, "no hello"
        self.state = first(hello.payload, T_STATE)

    def recv(self, timeout):
        """The next frame, None at the time limit, EOFError when vmm is gone."""
        if not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return None
        try:
            data, anc, _, _ = self.sock.recvmsg(70000, socket.CMSG_SPACE(32 * 4))
        except ConnectionResetError:
            data, anc = b"", []
        if not data:
            raise EOFError("vmm closed the connection")
        fds = array.array("i")
        for level, kind, raw in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[:len(raw) - len(raw) % 4])
        n, kind, _, ident = struct.unpack_from("<IHHI", data)
        assert n == len(data) - 12, "frame length"
        return Frame(kind, ident, data[12:], list(fds))

    def send(self, kind, payload=b"", fds=(), ident=None):
        if ident is None:
            ident, self.next_id = self.next_id, self.next_id + 1
        self.sock.sendmsg([struct.pack("<IHHI", len(payload), kind, 0, ident) + payload],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        return ident

    def event(self, frame):
        if frame.kind == EXITED:
            self.exited = (first(frame.payload, T_REASON), first(frame.payload, T_TEXT))
        elif frame.kind == INCOMING:
            self.incoming.append((first(frame.payload, T_PORT, int), socket.socket(fileno=frame.fds[0])))

    def call(self, kind, payload=b"", fds=(), timeout=15):
        """Asks and waits for the answer; what comes unasked is kept. Raises Refused."""
        ident, until = self.send(kind, payload, fds), time.monotonic() + timeout
        while True:
            frame = self.recv(until - time.monotonic())
            if frame is None:
                raise TimeoutError("no answer")
            if frame.id == ident and frame.kind == OK:
                return frame
            if frame.id == ident and frame.kind == ERR:
                raise Refused(frame.payload)
            self.event(frame)

    def boot(self, kernel, cmdline="", ram_bytes=128 << 20, cpus=1, initrd=None, disks=(), cid=3, nets=(), extra=b""):
        """disks: (path, read_only[, id]); nets: (fd, or a list of one for each queue pair; mac bytes). Paths or descriptors."""
        fds, opened = [], []

        def add(what, flags=os.O_RDONLY):
            if not isinstance(what, int):
                what = os.open(what, flags, 0o600)
                opened.append(what)
            fds.append(what)
            return len(fds) - 1

        p = field(T_VCPUS, cpus) + field(T_RAM_BYTES, ram_bytes) + field(T_CMDLINE, cmdline) + field(T_KERNEL_FD, add(kernel))
        if initrd:
            p += field(T_INITRD_FD, add(initrd))
        p += field(T_CONSOLE_FD, add(self.console_path, os.O_RDWR | os.O_CREAT))
        p += field(T_REPORT_FD, add(self.report_path, os.O_RDWR | os.O_CREAT))
        for d in disks:
            p += field(T_DISK, field(T_FD, add(d[0], os.O_RDONLY if d[1] else os.O_RDWR)) + field(T_READONLY, int(d[1])) +
                       (field(T_ID, d[2]) if len(d) > 2 else b""))
        for fd, mac in nets:
            p += field(T_NET, b"".join(field(T_FD, add(one)) for one in (fd if isinstance(fd, list) else [fd])) + field(T_MAC, mac))
        if cid:
            p += field(T_CID, cid)
        try:
            return self.call(BOOT, p + extra, fds)
        finally:
            for fd in opened:
                os.close(fd)

    def connect(self, port, timeout=15):
        return socket.socket(fileno=self.call(CONNECT, field(T_PORT, port), timeout=timeout).fds[0])

    def listen(self, port):
        self.call(LISTEN, field(T_PORT, port))

    def accept(self, timeout=15):
        """(port, socket) of the next guest connection."""
        until = time.monotonic() + timeout
        while not self.incoming:
            frame = self.recv(until - time.monotonic())
            if frame is None:
                raise TimeoutError("no guest connection")
            self.event(frame)
        return self.incoming.pop(0)

    def stats(self):
        out = {}
        for tag, v in fields(self.call(STATS).payload):
            if tag == T_STAT:
                out[first(v, T_NAME)] = first(v, T_VALUE, int)
        return out

    def console(self):
        try:
            with open(self.console_path, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def report(self):
        with open(self.report_path, "r", errors="replace") as f:
            return f.read()

    def wait_end(self, timeout=30):
        """(reason, text) once vmm has said goodbye and is gone."""
        until = time.monotonic() + timeout
        while self.exited is None:
            try:
                frame = self.recv(until - time.monotonic())
            except EOFError:
                break
            if frame is None:
                raise TimeoutError("the VM does not end")
            self.event(frame)
        self.proc.wait(60)
        return self.exited or ("gone", "exit status %d" % self.proc.returncode)

    def close(self):
        if self.sock:
            self.sock.close()
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def follow(vmm, seen, show):
    data = vmm.console()
    if show and len(data) > seen:
        sys.stdout.buffer.write(data[seen:])
        sys.stdout.flush()
    return len(data), data


def join(sock):
    """stdin and stdout on one guest stream until it ends."""
    stdin_open = True
    while True:
        ready = select.select([sock] + ([sys.stdin.buffer] if stdin_open else []), [], [])[0]
        if sock in ready:
            data = sock.recv(65536)
            if not data:
                return
            os.write(1, data)
        if stdin_open and sys.stdin.buffer in ready:
            data = os.read(0, 65536)
            if data:
                sock.sendall(data)
            else:
                stdin_open = False
                sock.shutdown(socket.SHUT_WR)


def ask_running(args):
    vmm = Vmm.__new__(Vmm)
    vmm.path, vmm.sock, vmm.exited, vmm.incoming, vmm.next_id = args.state, None, None, [], 1
    vmm.attach()
    kind = {"STATS": STATS, "PAUSE": PAUSE, "RESUME": RESUME, "QUIT": QUIT}[args.kernel]
    if kind == STATS:
        for name, value in vmm.stats().items():
            print("%-24s %d" % (name, value))
    else:
        vmm.call(kind)
    return 0


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name, default in (("vmm", None), ("kvm", "/dev/kvm"), ("initrd", None), ("cmdline", "console=ttyS0 panic=-1"), ("state", None), ("until", None)):
        p.add_argument("--" + name, default=default)
    for name, default in (("ram-mb", 128), ("cpus", 1), ("cid", 3), ("time", 30), ("connect", None)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--disk", action="append", default=[])
    p.add_argument("--listen", action="append", type=int, default=[])
    p.add_argument("-c", action="store_true", dest="show")
    p.add_argument("-s", action="store_true", dest="stats")
    p.add_argument("kernel")
    args = p.parse_args()
    if args.state:
        return ask_running(args)
    with Vmm(args.vmm, args.kvm) as vmm:
        start = time.monotonic()
        disks = [(d[:-3], True) if d.endswith(":ro") else (d, False) for d in args.disk]
        for port in args.listen:
            vmm.listen(port)
        try:
            vmm.boot(args.kernel, args.cmdline, args.ram_mb << 20, args.cpus, args.initrd, disks, args.cid)
        except Refused as e:
            print("refused: %d %s" % (e.status, e), file=sys.stderr)
            return 3
        if args.connect:
            join(vmm.connect(args.connect))
            return 0
        seen, last = 0, {}
        while vmm.exited is None and time.monotonic() - start < args.time:
            try:
                frame = vmm.recv(0.05)
                if frame:
                    vmm.event(frame)
                if args.stats and vmm.exited is None:
                    last = vmm.stats()
            except (EOFError, BrokenPipeError):
                break
            seen, data = follow(vmm, seen, args.show)
            if args.until and args.until.encode() in data:
                vmm.call(QUIT)
            while vmm.incoming:
                port, sock = vmm.incoming.pop(0)
                sock.settimeout(5)
                print("incoming on port %d: %r" % (port, sock.recv(4096)), file=sys.stderr)
        follow(vmm, seen, args.show)
        if args.stats:
            print(" ".join("%s=%d" % kv for kv in last.items() if kv[1]), file=sys.stderr)
        if vmm.exited is None and vmm.proc.poll() is None:
            print("still running after %.1f s" % (time.monotonic() - start), file=sys.stderr)
            return 124
        reason, text = vmm.wait_end(5)
        print("%.3f s: %s: %s" % (time.monotonic() - start, reason, text), file=sys.stderr)
        return 0 if reason in ("poweroff", "reboot", "killed") else 3


if __name__ == "__main__":
    sys.exit(main())
