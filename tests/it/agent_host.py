#!/usr/bin/env python3
"""The guest's agent on unix sockets, driven frame by frame: no guest needed. usage: agent_host.py AGENT"""
import grp
import hashlib
import io
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import sys
import tarfile
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_wire import *  # noqa: E402,F403

count = failed = 0


def ok(cond, what, more=""):
    global count, failed
    count += 1
    failed += not cond
    print(("ok" if cond else "not ok"), count, "-", what)
    if not cond and more != "":
        print("#", str(more)[:600])
    sys.stdout.flush()


def refused(m, status, word=""):
    return m is not None and m.kind == ERR and m.num(T_STATUS) == status and word in m.text(T_TEXT)


def wait_for(cond, seconds=5):
    end = time.time() + seconds
    while time.time() < end:
        if cond():
            return True
        time.sleep(0.02)
    return cond()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


ROOT = os.getuid() == 0


def owner_args(uid=0):
    """Folders of the test belong to whoever runs it."""
    return [(T_UID, uid)] if ROOT else []


def test_start(a):
    m, _, _ = a.exec("no-such-command")
    ok(refused(m, 404, "not found") and m.text(T_CODE_WORD) == "127", "a command that is not there: 127", m)
    m, _, _ = a.exec("/etc/passwd")
    ok(m.kind == ERR and m.text(T_CODE_WORD) == "126", "a file that is not executable: 126", m)
    d = tempfile.mkdtemp(prefix="mica-agent-")
    os.chmod(d, 0o755)
    with open(d + "/text", "w") as f:
        f.write("neither ELF nor script\n")
    with open(d + "/script", "w") as f:
        f.write("#!/no/such/interpreter\n")
    os.chmod(d + "/text", 0o755)
    os.chmod(d + "/script", 0o755)
    m, _, _ = a.exec(d + "/text")
    ok(m.text(T_CODE_WORD) == "126" and "#!" in m.text(T_TEXT), "no program format: 126", m)
    m, _, _ = a.exec(d + "/script")
    ok(m.text(T_CODE_WORD) == "127" and "interpreter" in m.text(T_TEXT), "an interpreter that is missing is named as such", m)
    shutil.rmtree(d)
    m, _, _ = a.exec("true", more=[(T_CWD, "/tmp/../etc")])
    ok(refused(m, 400, ".."), "cwd with '..' is refused", m)
    m, _, _ = a.exec("true", more=[(T_CWD, "/no/such/folder")])
    ok(refused(m, 400, "working directory") and m.get(T_CODE_WORD) is None, "cwd that is not there is refused", m)
    m, _, _ = a.exec("true", more=[(T_ENV, "NOVALUE")])
    ok(refused(m, 400, "NAME=VALUE"), "env without '=' is refused", m)
    m, _, _ = a.exec("true", more=[(T_ENV, "=x")])
    ok(refused(m, 400), "env without a name is refused", m)
    m, _, _ = a.exec("")
    ok(refused(m, 400), "an empty command is refused", m)
    m, _, _ = a.exec("true\0x")
    ok(refused(m, 400, "NUL"), "NUL in a command is refused", m)
    m, _, _ = a.exec("true", more=[(T_ARG, "x")] * 1025)
    ok(refused(m, 400), "1025 arguments are refused", m)
    m, _, _ = a.exec("true", more=[(T_UID, b"abc")])
    ok(refused(m, 400, "uid"), "a uid that is no number is refused", m)
    m = a.ask(99)
    ok(refused(m, 501), "an unknown request is refused", m)
    s = a.open()
    s.s.sendall(b"GET / HTTP/1.1\r\n\r\n")
    m = s.recv()
    ok(refused(m, 400), "bytes that are no frame are refused", m)
    ok(s.recv() is None, "and the stream is closed")
    for kind, fields in ((SHUTDOWN, []), (GROW, [])):
        m = a.ask(kind, fields)
        ok(refused(m, 501), f"request {kind} leaves a machine alone that is no guest", m)


def test_exec(a):
    m, out, err = a.exec("sh", ["-c", "echo hi; echo no >&2; exit 3"])
    ok(m.kind == EXIT and m.num(T_CODE) == 3 and out == b"hi\n" and err == b"no\n", "output, error output and exit code", (m, out, err))
    m, _, _ = a.exec("sh", ["-c", "kill -TERM $$"])
    ok(m.num(T_CODE) == 143 and m.num(T_SIGNAL) == 15, "a signal is 128+n and named", m)
    m, out, _ = a.exec("cat")
    ok(m.num(T_CODE) == 0 and out == b"", "without stdin a command reads an end of file", m)
    data = os.urandom(3 << 20)
    out = []
    s = a.open()
    s.send(EXEC, [(T_CMD, "cat"), (T_STDIN, 1)])

    def feed():
        for i in range(0, len(data), 32768):
            s.send(STDIN, [(T_DATA, data[i:i + 32768])])
        s.send(STDIN_EOF)
    t = threading.Thread(target=feed)
    t.start()
    while (m := s.recv()) is not None and m.kind != EXIT:
        if m.kind == STDOUT:
            out.append(m.get(T_DATA))
    t.join()
    ok(b"".join(out) == data and m.num(T_CODE) == 0, "stdin is full duplex: 3 MiB through cat while reading")
    s = a.open()
    s.send(EXEC, [(T_CMD, "cat"), (T_STDIN, 1)])
    s.send(STDIN, [(T_DATA, b"early")])
    s.recv()
    m = s.recv()
    ok(m.kind == STDOUT and m.get(T_DATA) == b"early", "output comes before stdin has ended")
    s.send(SIGNAL_, [(T_SIGNAL, int(signal.SIGINT))])
    m = s.recv()
    ok(m.kind == EXIT and m.num(T_SIGNAL) == 2, "A_SIGNAL reaches the process group", m)
    m, out, _ = a.exec("head", ["-c", "5"], stdin=b"x" * (4 << 20))
    ok(m.num(T_CODE) == 0 and out == b"xxxxx", "a command that stops reading its stdin is no fault", m)
    m, out, _ = a.exec("sh", ["-c", 'echo "$A$B"; pwd; echo $PATH'], more=[(T_ENV, "A=x"), (T_ENV, "B="), (T_ENV, "A=y z"), (T_CWD, "/"),
                                                                         (T_ENV, "PATH=/bin:/usr/bin")])
    ok(out == b"y z\n/\n/bin:/usr/bin\n", "env overrides, cwd is set", out)
    m, out, _ = a.exec("echo", ["a b", "it's", "$HOME", ""], more=[(T_SHELL, "/bin/sh")])
    ok(out == b"a b it's $HOME \n", "with a shell, arguments stay as they are", out)
    m, out, _ = a.exec("echo one && exit 4", more=[(T_SHELL, "" if ROOT else "/bin/sh")])
    ok(out == b"one\n" and m.num(T_CODE) == 4, "with a shell, the command is a script", (m, out))
    if ROOT:
        m, out, _ = a.exec("sh", ["-c", "id -u; id -g; id -G"])
        ok(out.split()[:2] == [b"1000", b"1000"], "absent uid is 1000, its group with it", out)
        m, out, _ = a.exec("id", ["-u"], more=[(T_UID, 0)])
        ok(out == b"0\n", "uid 0 is root", out)
        m, out, _ = a.exec("sh", ["-c", "id -u; id -g; id -G; pwd; echo $HOME"], more=[(T_UID, 54321), (T_GID, 777)])
        ok(out == b"54321\n777\n777\n/\n/\n", "a uid without a name: its own groups dropped, home /", out)


def test_exit_order(a):
    t = time.time()
    m, out, _ = a.exec("sh", ["-c", "sleep 30 & echo done"])
    ok(m.kind == EXIT and out == b"done\n" and time.time() - t < 5, "a background process that holds the pipes does not hold the exit")
    m, out, _ = a.exec("sh", ["-c", "(while :; do echo x; done) & exit 7"])
    ok(m.kind == EXIT and m.num(T_CODE) == 7, "one that goes on writing does not either", m)
    m, out, _ = a.exec("sh", ["-c", "head -c 50000 /dev/zero; exit 1"])
    ok(len(out) == 50000 and m.num(T_CODE) == 1, "what was written right before the end is not lost")


def test_volume(a):
    s = a.open(timeout=120)
    s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, "yes 0123456789abcdef | head -c 268435456")])
    h, n, m = hashlib.sha256(), 0, None
    t = time.time()
    while (m := s.recv()) is not None and m.kind != EXIT:
        if m.kind == STDOUT:
            h.update(m.get(T_DATA))
            n += len(m.get(T_DATA))
    line = b"0123456789abcdef\n"
    want = hashlib.sha256()
    full = line * 65536
    left = 268435456
    while left > 0:
        want.update(full[:left])
        left -= min(left, len(full))
    # the slices start anew at a line each time: 65536 lines is a whole number of lines
    ok(n == 268435456 and m is not None and m.num(T_CODE) == 0 and h.digest() == want.digest(),
       f"256 MiB of output arrive unchanged ({n >> 20} MiB in {time.time() - t:.1f} s)")
    s = a.open()
    s.send(EXEC, [(T_CMD, "yes")])
    s.recv()
    before = rss_kib(a.p.pid)
    time.sleep(1)
    ok(rss_kib(a.p.pid) - before < 512, "a host that does not read costs no memory", rss_kib(a.p.pid) - before)
    m, out, _ = a.exec("echo", ["still"])
    ok(out == b"still\n", "and does not hold up others")
    s.close()
    s = a.open()
    s.send(EXEC, [(T_CMD, "sleep"), (T_ARG, "30"), (T_STDIN, 1)])
    pid = s.recv().num(T_PID)
    s.s.settimeout(1)
    before = rss_kib(a.p.pid)
    try:
        while True:
            s.send(STDIN, [(T_DATA, b"y" * 32768)])
    except socket.timeout:
        pass
    ok(rss_kib(a.p.pid) - before < 1024, "stdin that nobody reads is held back at the host", rss_kib(a.p.pid) - before)
    s.close()
    ok(wait_for(lambda: not alive(pid)), "closing then ends the command though its stdin was full")


def test_kill(a):
    d = tempfile.mkdtemp(prefix="mica-agent-")
    os.chmod(d, 0o777)
    s = a.open()
    s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, f"trap 'echo hup > {d}/hup; exit' HUP; echo $$; while :; do sleep 0.05; done")])
    pid = s.recv().num(T_PID)
    s.recv()
    s.close()
    ok(wait_for(lambda: os.path.exists(d + "/hup")), "a closed stream sends HUP")
    s = a.open()
    script = f"trap 'head -c 300000 /dev/zero; echo end >&2; echo > {d}/clean; exit' HUP; echo up; while :; do sleep 0.05; done"
    s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, script)])
    s.recv()
    s.recv()
    s.close()
    ok(wait_for(lambda: os.path.exists(d + "/clean")), "a command may clean up, and write, though nobody listens")
    s = a.open()
    s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, "trap '' HUP TERM; sleep 60 & echo $!; wait; sleep 60")])
    pid = s.recv().num(T_PID)
    child = int(s.recv().get(T_DATA))
    s.close()
    ok(wait_for(lambda: not alive(pid) and not alive(child), 10), "and KILL to the whole group when HUP is not heeded")
    shutil.rmtree(d, ignore_errors=True)


def read_until(s, text, seconds=5):
    got, end = b"", time.time() + seconds
    while text not in got and time.time() < end:
        m = s.recv()
        if m is None or m.kind != STDOUT:
            break
        got += m.get(T_DATA)
    return got


def test_shell(a):
    s = a.open()
    s.send(SHELL, [(T_SHELL, "/bin/sh"), (T_COLS, 91), (T_ROWS, 31), (T_TERM, "vt100"), (T_CWD, "/")])
    ok(s.recv().kind == STARTED, "a shell starts")
    s.send(STDIN, [(T_DATA, b"stty size; tty; echo $TERM $0; echo mar''ker1\n")])
    got = read_until(s, b"marker1")
    ok(b"31 91" in got and b"/dev/pts/" in got and b"vt100 -sh" in got, "on a terminal of that size, as a login shell", got)
    s.send(WINSIZE, [(T_COLS, 200), (T_ROWS, 50)])
    s.send(STDIN, [(T_DATA, b"stty size; echo \xc3\xa4 mar''ker2\n")])
    got = read_until(s, b"marker2")
    ok(b"50 200" in got and "ä".encode() in got, "the window changes, UTF-8 passes", got)
    s.send(STDIN, [(T_DATA, b"sleep 60\n")])
    time.sleep(0.3)
    s.send(STDIN, [(T_DATA, b"\x03")])
    s.send(STDIN, [(T_DATA, b"echo mar''ker3\n")])
    ok(b"marker3" in read_until(s, b"marker3"), "control-C interrupts what runs in the foreground")
    s.send(STDIN, [(T_DATA, b"exit 9\n")])
    while (m := s.recv()) is not None and m.kind == STDOUT:
        pass
    ok(m is not None and m.kind == EXIT and m.num(T_CODE) == 9, "its exit code comes last", m)
    s = a.open()
    s.send(SHELL, [(T_SHELL, "/bin/sh")])
    pid = s.recv().num(T_PID)
    s.close()
    ok(wait_for(lambda: not alive(pid)), "closing the stream hangs up")
    m = a.ask(SHELL, [(T_SHELL, "/no/shell")])
    ok(m.kind == ERR and m.text(T_CODE_WORD) == "127", "a shell that is not there: 127", m)


def make_tar(entries):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, kind, body in entries:
            i = tarfile.TarInfo(name)
            i.type = kind
            i.mtime = 1500000000
            i.mode = 0o4740 if kind == tarfile.REGTYPE else 0o750
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                i.linkname = body
                t.addfile(i)
            else:
                i.size = len(body)
                t.addfile(i, io.BytesIO(body))
    return b.getvalue()


REG, DIR, SYM, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def leftovers(d):
    return [n for _, _, files in os.walk(d) for n in files if n.startswith(".mica-")]


def test_copy_in_attacks(a, d):
    me = owner_args()
    os.mkdir(d + "/t")
    os.mkdir(d + "/outside")
    with open(d + "/outside/keep", "w") as f:
        f.write("precious")
    for name in ("../outside/keep", "/etc/mica-test", "./x", "a/../../outside/keep", "a//b", "..", ".", ""):
        m = a.cp_in(d + "/t", "tar", make_tar([(name, REG, b"evil")]), me)
        ok(refused(m, 400), f"tar entry '{name}' is refused", m)
    m = a.cp_in(d + "/t", "tar", make_tar([("link", SYM, "../outside")]), me)
    ok(refused(m, 400, "symbolic link"), "a symlink in a tar is refused", m)
    m = a.cp_in(d + "/t", "tar", make_tar([("hard", HARD, "../outside/keep")]), me)
    ok(refused(m, 400, "hard link"), "a hard link in a tar is refused", m)
    m = a.cp_in(d + "/t", "tar", make_tar([("fifo", tarfile.FIFOTYPE, b"")]), me)
    ok(refused(m, 400), "a fifo in a tar is refused", m)
    os.symlink("../outside", d + "/t/trap")
    m = a.cp_in(d + "/t", "tar", make_tar([("trap/keep", REG, b"evil")]), me)
    ok(refused(m, 400, "symbolic link"), "a symlink that stands in the way is not followed", m)
    m = a.cp_in(d + "/t", "tar", make_tar([("trap", DIR, b"")]), me)
    ok(refused(m, 400), "nor taken for a folder", m)
    os.symlink(d + "/outside/keep", d + "/t/leaf")
    m = a.cp_in(d + "/t", "tar", make_tar([("leaf", REG, b"new")]), me)
    ok(m.kind == OK and not os.path.islink(d + "/t/leaf"), "a symlink in a file's place is replaced, not written through", m)
    ok(open(d + "/outside/keep").read() == "precious", "nothing outside was touched")
    whole = make_tar([("big", REG, b"z" * 100000)])
    m = a.cp_in(d + "/t", "tar", whole[:60000], me)
    ok(refused(m, 400, "cut short"), "a tar that is cut short is refused", m)
    m = a.cp_in(d + "/t", "tar", b"this is not a tar" * 100, me)
    ok(refused(m, 400, "not a tar"), "bytes that are no tar are refused", m)
    for more, word in (([(T_MODE, "zip")], "mode"), ([(T_PATH, "")], "")):
        m = a.ask(CP_IN, [(T_PATH, "/tmp/x"), (T_MODE, "binary")] if not more else (more + [(T_PATH, "/tmp/x"), (T_MODE, "binary")]))
        ok(refused(m, 400, word), f"a bad request is refused ({more[0]})", m)
    m = a.ask(CP_IN, [(T_PATH, "/tmp/" + "n" * 300), (T_MODE, "binary")] + me)
    ok(m.kind == ERR, "a name of 300 bytes is refused", m)
    m = a.ask(CP_IN, [(T_PATH, "/" + "p/" * 4096), (T_MODE, "binary")] + me)
    ok(m.kind == ERR, "a path of 8 KiB is refused", m)
    m = a.ask(CP_IN, [(T_PATH, "/tmp/a\0b"), (T_MODE, "binary")] + me)
    ok(refused(m, 400), "NUL in a path is refused", m)
    m = a.cp_in(d + "/huge", "tar", b"", me + [(T_SIZE, 1 << 60)])
    ok(refused(m, 507, "fit"), "a promise larger than the disk is refused before a byte is sent", m)
    m = a.cp_in("/dev/null", "binary", b"x", me)
    ok(refused(m, 400, "regular") and stat.S_ISCHR(os.stat("/dev/null").st_mode), "a device is not replaced by a file", m)


def test_copy_in(a, d):
    me = owner_args()
    data = os.urandom(1000000)
    m = a.cp_in(d + "/new/sub/file.bin", "binary", data, me + [(T_PERM, 0o6755), (T_SIZE, len(data))])
    st = os.stat(d + "/new/sub/file.bin")
    ok(m.kind == OK and m.num(T_SIZE) == len(data) and open(d + "/new/sub/file.bin", "rb").read() == data, "a file arrives, its folders made", m)
    ok(stat.S_IMODE(st.st_mode) == 0o755, "setuid and setgid are dropped", oct(st.st_mode))
    s = a.open()
    s.send(CP_IN, [(T_PATH, d + "/new/sub/file.bin"), (T_MODE, "binary")] + me)
    s.recv()
    s.send(DATA, [(T_DATA, b"half")])
    s.close()
    ok(wait_for(lambda: not leftovers(d)) and open(d + "/new/sub/file.bin", "rb").read() == data, "a copy that breaks off loses nothing and leaves nothing")
    m = a.cp_in(d + "/new/sub/file.bin", "binary", b"short", me + [(T_SIZE, 99)])
    ok(refused(m, 400, "promised") and open(d + "/new/sub/file.bin", "rb").read() == data, "fewer bytes than promised: refused", m)
    m = a.cp_in(d + "/new/sub/file.bin", "binary", b"replaced", me)
    ok(open(d + "/new/sub/file.bin", "rb").read() == b"replaced" and stat.S_IMODE(os.stat(d + "/new/sub/file.bin").st_mode) == 0o755,
       "an existing file is replaced and keeps its mode")
    m = a.cp_in(d + "/new", "binary", b"x", me)
    ok(refused(m, 400, "folder"), "legacy: a folder is no destination for a file", m)
    v1 = [(T_V1, 1), (T_SOURCE_NAME, "src.txt"), (T_SOURCE_TYPE, "file")]
    m = a.cp_in(d + "/new", "binary", b"v1", me + v1)
    ok(open(d + "/new/src.txt", "rb").read() == b"v1", "cp-v1: file into a folder that is there", m)
    m = a.cp_in(d + "/nope/", "binary", b"v1", me + v1)
    ok(refused(m, 404) and not os.path.exists(d + "/nope"), "cp-v1: a missing folder with a slash is an error", m)
    m = a.cp_in(d + "/new", "binary", b"v1", me + [(T_V1, 1), (T_SOURCE_NAME, "../evil")])
    ok(refused(m, 400, "source_name"), "cp-v1: a source name with a path is refused", m)
    tar = make_tar([("d", DIR, b""), ("d/run.sh", REG, b"#!/bin/sh\n"), ("e/deep/f", REG, b"f"), ("skip.log", REG, b"log")])
    m = a.cp_in(d + "/tree", "tar", tar, me + [(T_EXCLUDE, "*.log")])
    st = os.stat(d + "/tree/d/run.sh")
    ok(m.kind == OK and open(d + "/tree/e/deep/f").read() == "f" and not os.path.exists(d + "/tree/skip.log"), "a tree arrives, excludes hold", m)
    ok(stat.S_IMODE(st.st_mode) == 0o751 and int(st.st_mtime) == 1500000000, "modes and times of files", oct(st.st_mode))
    st = os.stat(d + "/tree/d")
    ok(stat.S_IMODE(st.st_mode) == 0o750 and int(st.st_mtime) == 1500000000, "modes and times of folders", oct(st.st_mode))
    v1 = [(T_V1, 1), (T_SOURCE_NAME, "proj"), (T_SOURCE_TYPE, "directory")]
    a.cp_in(d + "/tree", "tar", tar, me + v1)
    ok(os.path.exists(d + "/tree/proj/e/deep/f"), "cp-v1: folder into a folder that is there")
    a.cp_in(d + "/tree2", "tar", tar, me + v1)
    ok(os.path.exists(d + "/tree2/e/deep/f"), "cp-v1: folder to a missing name")
    m = a.cp_in(d + "/tree2", "tar", make_tar([("g", REG, b"g")]), me + v1 + [(T_CONTENTS, 1)])
    ok(os.path.exists(d + "/tree2/g"), "cp-v1: contents into a folder", m)
    m = a.cp_in(d + "/tree2/g", "tar", tar, me + v1)
    ok(refused(m, 400, "not a folder"), "cp-v1: a folder onto a file is an error", m)
    if ROOT:
        os.mkdir(d + "/private", 0o700)
        m = a.cp_in(d + "/private/x", "binary", b"x")
        ok(refused(m, 403, "uid 1000"), "the default user may write only where it may", m)
        os.mkdir(d + "/open")
        os.chmod(d + "/open", 0o777)
        m = a.cp_in(d + "/open/x", "binary", b"x", [(T_GID, 1234)])
        st = os.stat(d + "/open/x")
        ok((st.st_uid, st.st_gid) == (1000, 1234), "the file belongs to who asked", (st.st_uid, st.st_gid))
    ok(not leftovers(d), "no temporary file is left")


def test_copy_out(a, d):
    t = d + "/out"
    os.makedirs(t + "/sub/deep")
    data = os.urandom(200001)
    long = "sub/" + "n" * 120
    for name, body in (("a.txt", b"alpha"), ("sub/b.bin", data), ("sub/deep/c", b""), (long, b"long"), ("drop.o", b"o")):
        with open(t + "/" + name, "wb") as f:
            f.write(body)
    os.utime(t + "/a.txt", (1400000000, 1400000000))
    os.symlink("/etc", t + "/sub/link")
    os.mkfifo(t + "/sub/fifo")
    meta, got, whole = a.cp_out(t + "/sub/b.bin", "binary")
    ok(whole and got == data and meta.text(T_SOURCE_TYPE) == "file" and meta.text(T_SOURCE_NAME) == "b.bin", "a file comes out", meta)
    meta, got, whole = a.cp_out(t, "tar", [(T_EXCLUDE, "*.o")])
    ok(whole and got[257:262] == b"ustar", "a tree comes out as ustar")
    with tarfile.open(fileobj=io.BytesIO(got)) as tf:
        names = sorted(tf.getnames())
        ok(names == sorted(["a.txt", "sub", "sub/b.bin", "sub/deep", "sub/deep/c", long]), "its entries are relative, without links and excluded names", names)
        ok(tf.extractfile("sub/b.bin").read() == data and tf.extractfile(long).read() == b"long", "and hold the bytes")
        ok(tf.getmember("a.txt").mtime == 1400000000, "and the times")
    m, _, _ = a.cp_out(t, "binary")
    ok(refused(m, 400, "must specify a file not a directory"), "binary of a folder is refused in the words clients look for", m)
    m, _, _ = a.cp_out(t + "/a.txt", "tar")
    ok(refused(m, 400), "tar of a file is refused", m)
    m, _, _ = a.cp_out(t + "/nope", "binary")
    ok(refused(m, 404), "a missing file: 404", m)
    m, _, _ = a.cp_out(t + "/sub/fifo", "binary")
    ok(refused(m, 400, "regular"), "a fifo is refused and waits for nobody", m)
    for path, kind, name in ((t, "directory", "out"), (t + "/", "directory", "out"), (t + "/.", "directory", ""), (t + "/a.txt", "file", "a.txt")):
        meta, _, whole = a.cp_out(path, "recursive")
        ok(whole and meta.text(T_SOURCE_TYPE) == kind and meta.text(T_SOURCE_NAME, None) == name, f"recursive of {path[len(d):]}: {kind} '{name}'", meta)
    meta, got, whole = a.cp_out("/proc/version", "binary")
    ok(whole and got.startswith(b"Linux") and meta.get(T_SIZE) is None, "a file of /proc comes out whole")
    if ROOT:
        os.chmod(t + "/a.txt", 0o600)
        m, _, _ = a.cp_out(t + "/a.txt", "binary", [(T_UID, 1000)])
        ok(refused(m, 403), "with a uid its permissions count", m)
        meta, got, whole = a.cp_out(t + "/a.txt", "binary")
        ok(whole and got == b"alpha", "without one root reads")
    tar = a.cp_out(t, "tar")[1]
    a.cp_in(d + "/again", "tar", tar, owner_args())
    ok(open(d + "/again/" + long, "rb").read() == b"long" and open(d + "/again/sub/b.bin", "rb").read() == data, "what came out goes in again")


def test_full_disk(a):
    if not ROOT:
        ok(True, "disk full # SKIP needs root for a small tmpfs")
        return
    d = tempfile.mkdtemp(prefix="mica-agent-")
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {d}") != 0:
        os.rmdir(d)
        ok(True, "disk full # SKIP cannot mount a tmpfs here")
        return
    try:
        m = a.cp_in(d + "/f", "binary", b"x" * (3 << 20), [(T_UID, 0)])
        ok(refused(m, 507, "no space"), "a disk that fills up is said", m)
        ok(os.listdir(d) == [], "and the part is removed", os.listdir(d))
        m = a.cp_in(d, "tar", make_tar([("ok", REG, b"1"), ("big", REG, b"x" * (3 << 20))]), [(T_UID, 0)])
        ok(refused(m, 507, "big"), "in a tree the file is named", m)
        ok(os.listdir(d) == ["ok"], "complete files stay, the part does not", os.listdir(d))
    finally:
        os.system(f"umount {d}")
        os.rmdir(d)


def test_fs(a, d):
    def stat_of(path):
        return a.ask(FS_STAT, [(T_PATH, path)])
    m = stat_of(d + "/none")
    ok(refused(m, 404, "no such file or directory"), "stat of nothing: 404", m)
    m = a.ask(FS_MKDIR, [(T_PATH, d + "/x/y")])
    ok(refused(m, 404), "mkdir without its parent is refused", m)
    m = a.ask(FS_MKDIR, [(T_PATH, d + "/x/y"), (T_RECURSIVE, 1), (T_PERM, 0o750)])
    ok(m.kind == OK and stat.S_IMODE(os.stat(d + "/x/y").st_mode) == 0o750, "mkdir -p", m)
    m = a.ask(FS_MKDIR, [(T_PATH, d + "/x")])
    ok(refused(m, 409), "mkdir of what is there: 409", m)
    with open(d + "/x/f", "w") as f:
        f.write("12345")
    os.symlink("f", d + "/x/l")
    m = stat_of(d + "/x/f")
    ok(m.kind == FS_ENTRY and m.num(T_SIZE) == 5 and m.text(T_SOURCE_TYPE) == "file" and m.text(T_NAME) == "f", "stat of a file", m)
    ok(stat_of(d + "/x/l").text(T_SOURCE_TYPE) == "symlink", "stat does not follow links")
    s = a.open()
    s.send(FS_READDIR, [(T_PATH, d + "/x")])
    names = []
    while (m := s.recv()) is not None and m.kind == FS_ENTRY:
        names.append((m.text(T_NAME), m.text(T_SOURCE_TYPE)))
    ok(m.kind == OK and names == [("f", "file"), ("l", "symlink"), ("y", "directory")], "readdir is sorted", names)
    m = a.ask(FS_READDIR, [(T_PATH, d + "/x/f")])
    ok(refused(m, 400), "readdir of a file is refused", m)
    m = a.ask(FS_REMOVE, [(T_PATH, d + "/x")])
    ok(refused(m, 409, "not empty"), "removing a folder that holds something needs to be told so", m)
    os.makedirs(d + "/keep")
    open(d + "/keep/this", "w").close()
    os.symlink(d + "/keep", d + "/x/y/away")
    m = a.ask(FS_REMOVE, [(T_PATH, d + "/x"), (T_RECURSIVE, 1)])
    ok(m.kind == OK and not os.path.exists(d + "/x") and os.path.exists(d + "/keep/this"), "recursive removal does not follow links", m)
    for path in ("/", "//", "/.", "/.."):
        m = a.ask(FS_REMOVE, [(T_PATH, path), (T_RECURSIVE, 1), (T_UID, 65533)])
        ok(refused(m, 400), f"'{path}' is never removed", m)


def test_forward(a, d):
    m = a.ask(FORWARD, [(T_UPSTREAM, "nonsense")])
    ok(refused(m, 400), "an upstream that is none is refused", m)
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    m = a.ask(FORWARD, [(T_UPSTREAM, f"127.0.0.1:{port}")])
    ok(refused(m, 502), "nobody listens: refused", m)
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, d + "/up.sock")):
        srv = socket.socket(family)
        srv.bind(address)
        srv.listen(1)
        up = f"localhost:{srv.getsockname()[1]}" if family == socket.AF_INET else "unix:" + address

        def echo():
            c, _ = srv.accept()
            while b := c.recv(65536):
                c.sendall(b)
            c.sendall(b"bye")
            c.close()
        t = threading.Thread(target=echo)
        t.start()
        s = a.open()
        data = os.urandom(300000)
        s.s.sendall(frame(FORWARD, [(T_UPSTREAM, up)]) + data[:1000])
        m = s.recv()
        ok(m.kind == OK, f"forward to {up.split(':')[0]}", m)
        got = [s.rest]

        def drain():
            while b := s.s.recv(65536):
                got.append(b)
        r = threading.Thread(target=drain)
        r.start()
        s.s.sendall(data[1000:])
        s.s.shutdown(socket.SHUT_WR)
        r.join(10)
        t.join(10)
        ok(b"".join(got) == data + b"bye", "raw bytes both ways, half close passed on", len(b"".join(got)))
        s.close()
        srv.close()


def test_rest(a):
    m = a.ask(HEALTH)
    ok(m.kind == HEALTH_IS and m.text(T_VERSION) and m.num(T_UPTIME_NS) > 0 and m.num(T_USERDATA_RAN) == 0, "health", m)
    m = a.ask(STATS)
    ok(m.kind == STATS_IS and m.num(80) >= 1 and m.num(81) > 1 << 20, "stats", m)
    for name in ("../x", "", "a/b", ".hidden"):
        m = a.ask(SECRET_PUT, [(T_NAME, name), (T_DATA, b"s")])
        ok(refused(m, 400), f"secret name '{name}' is refused", m)
    m = a.ask(SECRET_PUT, [(T_NAME, "api-key"), (T_DATA, b"s3cret"), (T_PERM, 0o440)])
    p = a.prefix + "/run/slicer/secrets/api-key"
    ok(m.kind == OK and open(p, "rb").read() == b"s3cret" and stat.S_IMODE(os.stat(p).st_mode) == 0o440, "a secret is put", m)
    os.makedirs(a.prefix + "/var/log")
    m = a.ask(USERDATA, [(T_DATA, b"echo user $TARGET_USER\nsleep 0.2\nexit 5\n")])
    ok(m.kind == OK, "userdata starts", m)
    m = a.ask(HEALTH)
    ok(m.num(T_USERDATA_RAN) == 0, "while it runs it has not run", m)
    ok(wait_for(lambda: a.ask(HEALTH).num(T_USERDATA_RAN) == 1) and a.ask(HEALTH).num(T_USERDATA_CODE) == 5, "its exit code is kept", a.ask(HEALTH))
    os.truncate(a.prefix + "/etc/slicer/userdata-ran", 0)
    os.unlink(a.prefix + "/run/slicer/userdata")
    m = a.ask(HEALTH)
    ok(m.num(T_USERDATA_RAN) == 1 and m.num(T_USERDATA_CODE) is None, "an empty marker of an earlier boot: ran, code unknown", m)
    m = a.ask(USERDATA, [(T_DATA, b"echo twice\n")])
    ok(m.num(T_USERDATA_RAN) == 1 and "twice" not in open(a.prefix + "/var/log/slicer-userdata.log").read(), "it runs once", m)


FIXUP, T_MACHINE_ID, T_SSH_HOST_KEYS = 58, 160, 161


def test_fixup(a):
    """A fork's first boot: what the disk knows of its source becomes what it is told, and only that."""
    etc, dbus = a.prefix + "/etc", a.prefix + "/var/lib/dbus"
    os.makedirs(etc + "/ssh", exist_ok=True)
    os.makedirs(dbus)
    read = lambda path: open(path).read()
    for fields, what in (([(T_HOSTNAME, "-x")], "a host name that is none"), ([(T_HOSTNAME, "x" * 64)], "a long one"), ([(T_HOSTNAME, "a b")], "one of two words"),
                         ([(T_MACHINE_ID, "0" * 31)], "a short machine-id"), ([(T_MACHINE_ID, "g" * 32)], "one that is not hexadecimal")):
        m = a.ask(FIXUP, fields)
        ok(refused(m, 400), what + " is refused", m)
    m = a.ask(FIXUP, [(T_HOSTNAME, "child-2"), (T_MACHINE_ID, "ab" * 16), (T_SSH_HOST_KEYS, 1)])
    ok(m.kind == OK and os.listdir(etc + "/ssh") == [] and not os.path.exists(etc + "/hostname") and read(etc + "/machine-id") == "ab" * 16 + "\n",
       "nothing there: no name, no keys, a machine-id", m)
    with open(etc + "/hostname", "w") as f:
        f.write("mother\n")
    with open(etc + "/hosts", "w") as f:
        f.write("127.0.0.1 localhost\n127.0.1.1\tmother mother.example\n# mothers\n10.0.0.1 x mother")
    with open(dbus + "/machine-id", "w") as f:
        f.write("cd" * 16 + "\n")
    m = a.ask(FIXUP, [(T_HOSTNAME, "child-2")])
    ok(m.kind == OK and read(etc + "/hostname") == "child-2\n" and read(etc + "/hosts") == "127.0.0.1 localhost\n127.0.1.1\tchild-2 mother.example\n# mothers\n10.0.0.1 x child-2",
       "the name, in hosts as whole words", m)
    ok(read(etc + "/machine-id") == "ab" * 16 + "\n" and read(dbus + "/machine-id") == "cd" * 16 + "\n", "and nothing else")
    m = a.ask(FIXUP, [(T_MACHINE_ID, "12" * 16)])
    ok(m.kind == OK and read(etc + "/machine-id") == read(dbus + "/machine-id") == "12" * 16 + "\n" and stat.S_IMODE(os.stat(etc + "/machine-id").st_mode) == 0o444,
       "the machine-id, in both places", m)
    if not shutil.which("ssh-keygen"):
        return
    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_dsa_key", "ssh_host_rsa_key-cert.pub", "sshd_config"):
        with open(etc + "/ssh/" + name, "w") as f:
            f.write("old")
    os.makedirs(etc + "/ssh/.mica-new/etc/ssh")
    with open(etc + "/ssh/.mica-new/etc/ssh/ssh_host_ed25519_key", "w") as f:
        f.write("cut")
    m = a.ask(FIXUP, [(T_SSH_HOST_KEYS, 1)])
    have = sorted(os.listdir(etc + "/ssh"))
    ok(m.kind == OK and "ssh_host_ed25519_key" in have and "ssh_host_rsa_key.pub" in have and "ssh_host_dsa_key" not in have and "ssh_host_rsa_key-cert.pub" not in have and
       ".mica-new" not in have, "keys of SSH are made anew, what was left of a cut try and what they do not replace goes", have)
    ok(all(read(etc + "/ssh/" + n) not in ("old", "cut") for n in have if n != "sshd_config") and read(etc + "/ssh/sshd_config") == "old" and
       stat.S_IMODE(os.stat(etc + "/ssh/ssh_host_rsa_key").st_mode) == 0o600, "all of them, and nothing else")
    first = read(etc + "/ssh/ssh_host_ed25519_key")
    ok(a.ask(FIXUP, [(T_SSH_HOST_KEYS, 1)]).kind == OK and read(etc + "/ssh/ssh_host_ed25519_key") != first, "asked again it makes others")


def test_many(a):
    streams = []
    for _ in range(64):
        s = a.open()
        s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, "echo $$; exit 2")])
        streams.append(s)
    good = 0
    for s in streams:
        kinds = []
        while (m := s.recv()) is not None:
            kinds.append(m.kind)
            code = m.num(T_CODE)
        good += kinds == [STARTED, STDOUT, EXIT] and code == 2
        s.close()
    ok(good == 64, "64 commands at once, each with its frames in order", good)
    import resource
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    m, out, _ = a.exec("sh", ["-c", "ulimit -n"])
    ok(int(out) == soft, "commands get the usual limit of open files", (out, soft))
    idle = [a.open() for _ in range(520)]
    m = a.ask(HEALTH)
    ok(refused(m, 503), "beyond 512 streams the answer is 503", m)
    for s in idle:
        s.close()
    ok(wait_for(lambda: a.ask(HEALTH).kind == HEALTH_IS), "and all is well once they are gone")
    fds = lambda: len(os.listdir(f"/proc/{a.p.pid}/fd"))  # noqa: E731
    ok(wait_for(lambda: fds() < 16), "no descriptor is left behind", fds())
    kids = os.popen(f"cat /proc/{a.p.pid}/task/{a.p.pid}/children").read().split()
    ok(wait_for(lambda: not os.popen(f"cat /proc/{a.p.pid}/task/{a.p.pid}/children").read().split()), "nor a child", kids)


def test_hello(program):
    a = Agent(program, hello=True)
    try:
        srv = socket.socket(socket.AF_UNIX)
        time.sleep(0.1)  # a few refusals first
        for turn in range(2):
            path = a.dir.name + "/hello.sock"
            if os.path.exists(path):
                os.unlink(path)
            srv = socket.socket(socket.AF_UNIX)
            srv.bind(path)
            srv.listen(1)
            srv.settimeout(5)
            c, _ = srv.accept()
            s = Stream.__new__(Stream)
            s.s, s.rest = c, b""
            c.settimeout(5)
            m = s.recv()
            ok(m.kind == HELLO and m.num(T_PROTO) == 1 and len(m.text(T_BOOT_ID)) == 36, "hello" + (" again after the host was away" if turn else ""), m)
            s.send(PING, ident=77)
            m = s.recv()
            ok(m.kind == OK and m.id == 77, "ping is answered with its id", m)
            s.send(SHUTDOWN, [(T_ACTION, "shutdown")], ident=78)
            m = s.recv()
            ok(refused(m, 501) and m.id == 78, "shutdown is refused outside a guest", m)
            c.close()
            srv.close()
    finally:
        a.stop()


def main():
    program = os.path.abspath(sys.argv[1])
    a = Agent(program)
    work = tempfile.mkdtemp(prefix="mica-agent-")
    os.chmod(work, 0o755)
    os.chmod(a.dir.name, 0o755)
    try:
        test_start(a)
        test_exec(a)
        test_exit_order(a)
        test_volume(a)
        test_kill(a)
        test_shell(a)
        test_copy_in_attacks(a, work)
        test_copy_in(a, work)
        test_copy_out(a, work)
        test_full_disk(a)
        test_fs(a, work)
        test_forward(a, work)
        test_rest(a)
        test_fixup(a)
        test_many(a)
        ok(a.p.poll() is None, "the agent lived through all of it")
        test_hello(program)
    finally:
        a.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
