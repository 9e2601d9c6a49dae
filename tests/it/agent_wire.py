"""A client of the agent's frames (lib/wire/agent.h) for tests: python's standard library alone."""
import os
import socket
import struct
import subprocess
import tempfile
import time

ERR, OK = 1, 2
HELLO, SHUTDOWN, IDENTITY, PING = 16, 17, 18, 19
(EXEC, SHELL, CP_IN, CP_OUT, HEALTH, STATS, FORWARD, FS_READDIR, FS_STAT, FS_MKDIR, FS_REMOVE, GROW, SECRET_PUT,
 USERDATA) = range(32, 46)
BG_START, BG_LIST, BG_INFO, BG_LOGS, BG_KILL, BG_WAIT, BG_REAP = range(48, 55)
FS_WATCH = 56
STDIN, STDIN_EOF, SIGNAL_, WINSIZE = 64, 65, 66, 67
STARTED, STDOUT, STDERR, EXIT = 70, 71, 72, 73
DATA, DATA_EOF, CP_META = 80, 81, 82
HEALTH_IS, STATS_IS, FS_ENTRY, BG_IS, GAP, FS_EVENT = range(90, 96)

T_STATUS, T_TEXT, T_ERRNO, T_CODE_WORD = 1, 2, 3, 4
(T_PROTO, T_VERSION, T_UPTIME_NS, T_SYS_UPTIME_NS, T_BOOT_ID, T_ACTION, T_HOSTNAME, T_TIME_NS, T_ENTROPY, T_CMD, T_ARG, T_ENV,
 T_CWD, T_UID, T_GID, T_SHELL, T_STDIN, T_DATA, T_PID, T_CODE, T_SIGNAL, T_COLS, T_ROWS, T_TERM, T_PATH, T_MODE, T_PERM,
 T_EXCLUDE, T_SIZE, T_V1, T_SOURCE_NAME, T_SOURCE_TYPE, T_CONTENTS, T_RECURSIVE, T_USERDATA_RAN, T_USERDATA_CODE, T_UPSTREAM,
 T_NAME) = range(16, 54)
(T_EXEC_ID, T_RING_BYTES, T_FROM_ID, T_FOLLOW, T_FRAME_ID, T_SIGNAL_NAME, T_GRACE_MS, T_TIMEOUT_MS, T_TIMED_OUT, T_RUNNING, T_END_NS,
 T_BYTES_WRITTEN, T_BYTES_DROPPED, T_NEXT_ID, T_DROPPED_BYTES, T_DROPPED_FRAMES, T_PATTERN, T_EVENT, T_ONE_SHOT, T_DEBOUNCE_MS,
 T_MAX_EVENTS, T_IS_DIR) = range(112, 134)


def frame(kind, fields=(), ident=0):
    body = b""
    for tag, v in fields:
        if isinstance(v, int):
            v = struct.pack("<Q", v)
        elif isinstance(v, str):
            v = os.fsencode(v)
        body += struct.pack("<HHI", tag, 0, len(v)) + v
    return struct.pack("<IHHI", len(body), kind, 0, ident) + body


class Msg:
    def __init__(self, kind, ident, body):
        self.kind, self.id, self.fields = kind, ident, []
        while body:
            tag, _, n = struct.unpack_from("<HHI", body)
            self.fields.append((tag, body[8:8 + n]))
            body = body[8 + n:]

    def get(self, tag, default=None):
        return next((v for t, v in self.fields if t == tag), default)

    def num(self, tag, default=None):
        v = self.get(tag)
        return default if v is None else struct.unpack("<Q", v)[0]

    def text(self, tag, default=""):
        v = self.get(tag)
        return default if v is None else v.decode("utf-8", "replace")

    def __repr__(self):
        return f"Msg({self.kind}, {self.fields})"


class Stream:
    """One stream to the agent."""

    def __init__(self, path, timeout=20):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.s.settimeout(timeout)
        for _ in range(1000):
            try:
                self.s.connect(path)
                break
            except BlockingIOError:  # the backlog is full
                time.sleep(0.005)
        self.rest = b""

    def send(self, kind, fields=(), ident=0):
        self.s.sendall(frame(kind, fields, ident))

    def _need(self, n):
        parts, have = [self.rest], len(self.rest)
        while have < n:
            got = self.s.recv(max(65536, n - have))
            if not got:
                return False
            parts.append(got)
            have += len(got)
        self.rest = b"".join(parts)
        return True

    def recv(self):
        """Next frame; None at the end of the stream."""
        try:
            if not self._need(12):
                return None
            n, kind, zero, ident = struct.unpack_from("<IHHI", self.rest)
            assert zero == 0 and n <= 65536, "broken frame from the agent"
            if not self._need(12 + n):
                return None
        except ConnectionResetError:
            return None
        body, self.rest = self.rest[12:12 + n], self.rest[12 + n:]
        return Msg(kind, ident, body)

    def close(self):
        self.s.close()


class Agent:
    """The agent program on unix sockets in a temporary folder."""

    def __init__(self, program, hello=False):
        self.dir = tempfile.TemporaryDirectory(prefix="mica-agent-")
        self.path = self.dir.name + "/agent.sock"
        self.prefix = self.dir.name + "/root"
        os.mkdir(self.prefix)
        args = [program, "--listen", "unix:" + self.path, "--prefix", self.prefix]
        if hello:
            args += ["--hello", "unix:" + self.dir.name + "/hello.sock"]
        self.p = subprocess.Popen(args)
        for _ in range(500):
            if os.path.exists(self.path):
                break
            time.sleep(0.01)

    def open(self, **kw):
        return Stream(self.path, **kw)

    def ask(self, kind, fields=()):
        s = self.open()
        try:
            s.send(kind, fields)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was asked
        m = s.recv()
        s.close()
        return m

    def exec(self, cmd, args=(), stdin=None, more=()):
        """Runs to the end: (exit message or refusal, stdout, stderr)."""
        s = self.open()
        fields = [(T_CMD, cmd)] + [(T_ARG, a) for a in args] + list(more)
        if stdin is not None:
            fields.append((T_STDIN, 1))
        s.send(EXEC, fields)
        try:
            for i in range(0, len(stdin or b""), 32768):
                s.send(STDIN, [(T_DATA, stdin[i:i + 32768])])
            if stdin is not None:
                s.send(STDIN_EOF)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the command ended first; what it said is still to be read
        out, err = [], []
        while True:
            m = s.recv()
            if m is None or m.kind in (EXIT, ERR):
                s.close()
                return m, b"".join(out), b"".join(err)
            if m.kind == STDOUT:
                out.append(m.get(T_DATA))
            if m.kind == STDERR:
                err.append(m.get(T_DATA))

    def cp_in(self, path, mode, data, more=(), end=True):
        s = self.open()
        s.send(CP_IN, [(T_PATH, path), (T_MODE, mode)] + list(more))
        m = s.recv()
        if m is None or m.kind != OK:
            s.close()
            return m
        try:
            for i in range(0, len(data), 32768):
                s.send(DATA, [(T_DATA, data[i:i + 32768])])
            if end:
                s.send(DATA_EOF)
        except (BrokenPipeError, ConnectionResetError):
            pass
        m = s.recv() if end else None
        s.close()
        return m

    def cp_out(self, path, mode, more=()):
        """(meta or refusal, bytes, complete)"""
        s = self.open()
        s.send(CP_OUT, [(T_PATH, path), (T_MODE, mode)] + list(more))
        meta, data, end = s.recv(), [], None
        m = meta
        while m is not None and m.kind not in (ERR, DATA_EOF):
            if m.kind == DATA:
                data.append(m.get(T_DATA))
            m = end = s.recv()
        s.close()
        return meta, b"".join(data), end is not None and end.kind == DATA_EOF

    def stop(self):
        self.p.kill()
        self.p.wait()
        self.dir.cleanup()
