#!/usr/bin/env python3
"""cli_bg.py MICA FRONT AGENT [WORD...]: vm bg and fs over the real front and agent, on the unix socket and over HTTPS. TAP on stdout."""
import json
import os
import re
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cli_world import bad, good, main, tap  # noqa: E402


def launch(w, *words, **more):
    done = w.run("vm", "bg", "exec", "demo-1", *words, **more)
    found = re.search(rb"exec_id=(ex_\w+) pid=(\d+)", done.stdout)
    if not found:
        print("# %r" % done)
    return found and found[1].decode()


def case_forms(w):
    """three ways to say what is to be run"""
    w.env["MICA_SOCKET"] = w.sock
    for words, want in ((("--", "sh", "-c", "echo $0 'a b'; exit 3"), b"sh a b\n"), (("echo", "x", "--uid"), b"x --uid\n"),
                        (("-c", "/bin/echo", "-a", "-n", "-a", "a  b"), b"a  b"), (("-s", "/bin/sh", "--", "echo one; echo two"), b"one\ntwo\n"),
                        (("--cwd", "/tmp", "-e", "X=y z", "--shell", "/bin/sh", "--", "pwd; echo \"$X\""), b"/tmp\ny z\n")):
        ident = launch(w, *words)
        w.run("vm", "bg", "wait", "demo-1", str(ident))
        done = w.run("vm", "bg", "logs", "demo-1", str(ident))
        tap.ok(done.returncode == 0 and done.stdout == want, "%s → %r" % (" ".join(words), done.stdout))
    for words in ((), ("--arg", "x"), ("--cmd", "/bin/ls", "ls"), ("--cmd", "/bin/ls", "--shell", "/bin/sh"), ("--ring-bytes", "x", "ls"), ("--nope", "ls")):
        bad(w.run("bg", "exec", "demo-1", *words), 125, [b"fix: "], "refused: %s" % " ".join(words))
    bad(w.run("bg", "exec", "demo-1", "--", "no-such-program"), 125, [b"not found"], "a program that is not there")
    bad(w.run("bg", "exec", "nobody", "--", "ls"), 125, [b"404"], "a VM that is not there")
    w.rig.core.vms["demo-1"]["tags"].append("name=web")
    done = w.run("v", "bg", "run", "web", "--json", "--", "true")
    tap.ok(done.returncode == 0 and re.match(r"ex_", json.loads(done.stdout)["exec_id"]), "--json, and a friendly name")


def case_life(w):
    """list, info, logs --follow, kill, wait, remove"""
    ident = launch(w, "-s", "/bin/sh", "--", "echo begin; sleep 100")
    follow = w.start("bg", "logs", "demo-1", ident, "-f")
    tap.ok(follow.stdout.readline() == b"begin\n", "logs --follow gives what comes at once")
    done = w.run("vm", "bg", "list", "web")
    row = [l for l in done.stdout.decode().splitlines() if ident in l]
    tap.ok(done.stdout.startswith(b"EXEC_ID") and row and "running" in row[0] and "sleep 100" in row[0], "list")
    tap.ok([e["running"] for e in json.loads(w.run("bg", "ls", "demo-1", "--json").stdout) if e["exec_id"] == ident] == [True], "list --json")
    good(w.run("bg", "info", "demo-1", ident), b"running", "info")
    bad(w.run("bg", "remove", "demo-1", ident), 1, [b"409", b"bg kill"], "remove: it runs")
    done = w.run("bg", "wait", "demo-1", ident, "--timeout", "300ms")
    bad(done, 124, [b"still runs"], "wait --timeout: 124")
    interrupted = w.start("bg", "logs", "demo-1", ident, "--follow")
    interrupted.stdout.readline()
    interrupted.send_signal(signal.SIGINT)
    tap.ok(interrupted.wait(10) == 130 and json.loads(w.run("bg", "status", "demo-1", ident, "--json").stdout)["running"], "Ctrl-C leaves it running")
    good(w.run("bg", "kill", "demo-1", ident, "--signal", "INT", "--grace", "1s"), b"INT sent", "kill --signal INT")
    w.run("bg", "kill", "demo-1", ident)
    done = w.run("bg", "wait", "demo-1", ident, "--timeout", "10s")
    tap.ok(done.returncode in (130, 143) and b"signal" in done.stdout, "wait: as a shell tells a signal: %d %r" % (done.returncode, done.stdout))
    tap.ok(follow.wait(10) == 0, "… and who follows is told the end")
    good(w.run("bg", "kill", "demo-1", ident), b"ended before", "kill: it had ended")
    good(w.run("bg", "remove", "demo-1", ident), b"removed", "remove")
    for verb in ("info", "logs", "kill", "wait", "remove"):
        done = w.run("bg", verb, "demo-1", ident)
        tap.ok(done.returncode == (125 if verb == "wait" else 1) and b"410" in done.stderr, "%s after that: 410" % verb)
    bad(w.run("bg", "info", "demo-1", "ex_none"), 1, [b"404"], "an id that was never given")
    bad(w.run("bg", "info", "demo-1", "../../nodes"), 2, [b"ex_"], "an id that can be none")
    ident = launch(w, "--", "sh", "-c", "exit 7")
    tap.ok(w.run("bg", "wait", "demo-1", ident).returncode == 7, "wait passes the exit code")


def case_follow(w):
    """exec --follow: output, streams apart, exit code; a lost agent is no success"""
    done = w.run("bg", "exec", "demo-1", "--follow", "-s", "/bin/sh", "--", "echo out; echo err >&2; exit 5")
    tap.ok(done.returncode == 5 and b"exec_id=ex_" in done.stdout and done.stdout.endswith(b"\nout\n") and done.stderr == b"err\n", "--follow: %r" % done)
    done = w.run("bg", "exec", "demo-1", "--follow", "--json", "--", "echo", "x")
    lines = [json.loads(l) for l in done.stdout.splitlines()]
    tap.ok("exec_id" in lines[0] and lines[-1]["type"] == "exit" and any("id" in l for l in lines[1:]), "--follow --json")
    ident = lines[0]["exec_id"]
    ids = [l["id"] for l in lines[1:]]
    done = w.run("bg", "logs", "demo-1", ident, "--json", "--from-id", str(ids[-1]))
    tap.ok([json.loads(l)["id"] for l in done.stdout.splitlines()] == [ids[-1]], "logs --from-id")
    ident = launch(w, "--ring-bytes", "64K", "-s", "/bin/sh", "--", "head -c 1000000 /dev/zero")
    w.run("bg", "wait", "demo-1", ident)
    done = w.run("bg", "logs", "demo-1", ident)
    tap.ok(done.returncode == 0 and b"no longer kept" in done.stderr and 0 < len(done.stdout) <= 65536 + 4096, "a gap is said: %d %r" % (len(done.stdout), done.stderr))
    p = w.start("bg", "exec", "demo-1", "--follow", "--", "sleep", "50")
    head = p.stdout.readline()
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=10)
    tap.ok(p.returncode == 130 and b"goes on" in out[1], "Ctrl-C: it goes on, and how to come back")
    w.run("bg", "kill", "demo-1", re.search(rb"ex_\w+", head)[0].decode(), "--signal", "KILL")


def case_https(w):
    """the same over HTTPS: a long output whole"""
    done = w.run("bg", "exec", "demo-1", "--follow", "--ring-bytes", "16M", "-s", "/bin/sh", "--", "head -c 5000000 /dev/zero; exit 9", base=w.secure())
    tap.ok(done.returncode == 9 and len(done.stdout.split(b"\n", 1)[1]) == 5000000, "5 MB and the exit code")


def case_fs(w):
    """fs ls, stat, mkdir, rm"""
    there = w.rig.dir + "/fs"
    good(w.run("fs", "mkdir", "demo-1", there + "/a/b", "-p", "--mode", "0750"), b"", "mkdir -p")
    tap.ok(os.path.isdir(there + "/a/b"), "… is there")
    bad(w.run("fs", "mkdir", "demo-1", there + "/x/y"), 1, [b"cannot make"], "mkdir without -p")
    with open(there + "/a/f", "w") as f:
        f.write("12345")
    done = w.run("vm", "fs", "ls", "web", there + "/a")
    tap.ok([l.split()[0] + " " + l.split()[-1] for l in done.stdout.decode().splitlines()] in
           (["TYPE NAME", "directory b", "file f"], ["TYPE NAME", "file f", "directory b"]), "ls")
    one = json.loads(w.run("fs", "stat", "demo-1", there + "/a/f", "--json").stdout)
    tap.ok(one["size"] == 5 and one["type"] == "file", "stat --json")
    bad(w.run("fs", "stat", "demo-1", there + "/none"), 1, [b"404"], "stat: not there")
    bad(w.run("fs", "rm", "demo-1", there + "/a"), 1, [b"cannot remove"], "rm: a folder that is not empty")
    good(w.run("fs", "rm", "demo-1", there, "-r"), b"", "rm -r")
    tap.ok(not os.path.exists(there), "… is gone")
    bad(w.run("fs", "mkdir", "demo-1", there, "--mode", "9"), 2, [b"octal"], "a mode that is none")


def case_watch(w):
    """fs watch: events, patterns, one shot, limits"""
    there = w.rig.dir + "/watched"
    os.mkdir(there)
    os.chmod(there, 0o777)

    def touch(name):
        with open(there + "/" + name, "w") as f:
            f.write("x")
    for secure in (False, True):
        p = w.start("fs", "watch", "demo-1", there, "--pattern", "*.c", "--json", base=w.secure() if secure else None)
        got, end = [], time.monotonic() + 10
        os.set_blocking(p.stdout.fileno(), False)
        while not got and time.monotonic() < end:
            touch("no.h")
            touch("yes%d.c" % secure)
            time.sleep(0.05)
            got = (p.stdout.read() or b"").splitlines()
        tap.ok(got and json.loads(got[0])["path"].endswith("/yes%d.c" % secure), "an event%s: %r" % (" over HTTPS" if secure else "", got[:1]))
        p.send_signal(signal.SIGINT)
        tap.ok(p.wait(10) == 130 and b"no.h" not in p.stdout.read() + b"".join(got), "only what matches; Ctrl-C ends it")
    bad(w.run("fs", "watch", "demo-1", there, "--one-shot", "--timeout", "200ms"), 1, [b"time is over"], "--one-shot that sees nothing")
    good(w.run("fs", "watch", "demo-1", there, "--timeout", "200ms"), b"", "--timeout alone is an end")
    bad(w.run("fs", "watch", "demo-1", there + "/none"), 1, [b"cannot watch"], "what is not there")
    bad(w.run("fs", "watch", "demo-1", there, "--event", "explode"), 1, [b"cannot watch"], "an event that is none")
    p = w.start("fs", "watch", "web", there, "--event", "create", "--one-shot", "--timeout", "20s")
    end = time.monotonic() + 10
    while p.poll() is None and time.monotonic() < end:
        touch("n%f" % time.monotonic())
        time.sleep(0.05)
    out = p.communicate()[0]
    tap.ok(p.returncode == 0 and out.count(b"\n") == 1 and b" create " in out, "--one-shot: one line")


if __name__ == "__main__":
    sys.exit(main([(n, f) for n, f in list(globals().items()) if n.startswith("case_")]))
