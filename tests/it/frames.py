"""Frames of lib/wire over SOCK_SEQPACKET, for tests that stand in for one of mica's processes.

A program under test gets one end of a pair as descriptor 3 (more by `fds`); the test speaks on the other.
"""
import array, os, socket, struct, subprocess

ERR, OK = 1, 2
STATUS, TEXT, ERRNO, CODE = 1, 2, 3, 4


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack('<Q', value)
    elif isinstance(value, str):
        value = value.encode()
    elif isinstance(value, list):  # a nested record
        value = b''.join(field(t, v) for t, v in value)
    return struct.pack('<HHI', tag, 0, len(value)) + value


def frame(kind, ident, fields=()):
    body = b''.join(field(t, v) for t, v in fields)
    return struct.pack('<IHHI', len(body), kind, 0, ident) + body


def fields(body):
    out, at = [], 0
    while at < len(body):
        tag, zero, n = struct.unpack_from('<HHI', body, at)
        assert zero == 0 and at + 8 + n <= len(body), 'broken field'
        out.append((tag, body[at + 8:at + 8 + n]))
        at += 8 + n
    return out


class Msg:
    def __init__(self, kind, ident, body, fds):
        self.kind, self.id, self.fds, self.list = kind, ident, fds, fields(body)

    def get(self, tag):
        return next((v for t, v in self.list if t == tag), None)

    def num(self, tag):
        v = self.get(tag)
        return None if v is None else struct.unpack('<Q', v)[0]

    def text(self, tag):
        v = self.get(tag)
        return None if v is None else v.decode()

    def all(self, tag):
        return [v.decode() for t, v in self.list if t == tag]


class Chan:
    def __init__(self, sock):
        self.sock, self.last = sock, 0
        sock.settimeout(20)

    def send(self, kind, fields=(), ident=None, fds=()):
        if ident is None:
            self.last += 1
            ident = self.last
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.sendmsg([frame(kind, ident, fields)], control)
        return ident

    def recv(self):
        """The next frame, or None at the end."""
        data, control, _, _ = self.sock.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 32) + 64)
        if not data:
            return None
        got = array.array('i')
        for level, kind, body in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got.frombytes(body[:len(body) - len(body) % 4])
        n, kind, _, ident = struct.unpack_from('<IHHI', data)
        assert n == len(data) - 12
        return Msg(kind, ident, data[12:], list(got))

    def ask(self, kind, fields=(), fds=()):
        ident = self.send(kind, fields, fds=fds)
        while True:
            m = self.recv()
            if m is None or m.id == ident:
                return m

    def close(self):
        self.sock.close()


def start(argv, extra_fds=(), **kw):
    """Starts a program with a channel as descriptor 3 and extra_fds from 4 on. (process, Chan)"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    high = [os.dup2(fd, 200 + i, inheritable=True) for i, fd in enumerate([theirs.fileno(), *extra_fds])]
    place = '; '.join(f'exec {3 + i}<&{fd}- ' for i, fd in enumerate(high))
    p = subprocess.Popen(['bash', '-c', place + '; exec "$@"', 'start', *argv], pass_fds=high, **kw)
    for fd in high:
        os.close(fd)
    theirs.close()
    return p, Chan(ours)


class Tap:
    """Counts TAP lines; finish with done()."""
    n = failed = 0

    def ok(self, good, what):
        self.n += 1
        self.failed += not good
        print(f'{"" if good else "not "}ok {self.n} - {what}', flush=True)
        return good

    def skip(self, what, why):
        self.n += 1
        print(f'ok {self.n} - {what} # SKIP {why}', flush=True)

    def done(self):
        print(f'1..{self.n}')
        return 1 if self.failed else 0
