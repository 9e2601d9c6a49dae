"""vm bg, fs watch and forward by the command line, in a real guest."""
import hashlib
import os
import re
import signal
import socket
import subprocess
import time

from world import limit, must, same


def begin(env, *words):
    done = env.cli("vm", "bg", "exec", env.vm(), *words)
    same(done.returncode, 0, done.stderr)
    return re.search(rb"exec_id=(ex_\w+) pid=\d+", done.stdout)[1].decode()


@limit(120)
def case_life(env):
    """bg exec, list, logs, wait, kill, remove"""
    name = env.vm()
    ident = begin(env, "-s", "/bin/sh", "--", "echo out; echo err >&2; exit 3")
    done = env.cli("vm", "bg", "wait", name, ident)
    same((done.returncode, done.stdout), (3, ident.encode() + b": exit 3\n"), done.stderr)
    done = env.cli("bg", "logs", name, ident)
    same((done.returncode, done.stdout, done.stderr), (0, b"out\n", b"err\n"))
    must(ident.encode() in env.cli("bg", "list", name, "-q").stdout)
    same(env.cli("bg", "remove", name, ident).returncode, 0)
    ident = begin(env, "--", "sleep", "1000")
    same(env.cli("bg", "kill", name, ident).returncode, 0)
    same(env.cli("bg", "wait", name, ident, "--timeout", "60s").returncode, 143)


@limit(120)
def case_watch(env):
    """fs watch --one-shot sees a file that is made"""
    name = env.vm()
    p = subprocess.Popen([env.mica, "fs", "watch", name, "/tmp", "--pattern", "seen*", "--one-shot", "--timeout", "90s"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=env.environ(MICA_URL=env.main.sock))
    number = 0
    while p.poll() is None:
        env.api.sh(name, "echo x > /tmp/seen%d" % number)
        number += 1
        time.sleep(0.2)
    out, err = p.communicate()
    must(p.returncode == 0 and b"/tmp/seen" in out, p.returncode, out, err)


@limit(150)
def case_forward_half_close(env):
    """forward: a client that closes its sending half gets the answer that needs all it sent"""
    name, blob = env.vm(), os.urandom(1 << 20)
    ident = begin(env, "--", "nc", "-ll", "-p", "9000", "-e", "sha256sum")
    p = subprocess.Popen([env.mica, "vm", "forward", name, "-L", "0:127.0.0.1:9000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env.environ(MICA_URL=env.main.sock))
    try:
        host, port = re.search(rb"Forwarding (\S+):(\d+) ->", p.stdout.readline()).groups()
        got = b""
        for _ in range(20):  # until the listener is there
            c = socket.create_connection((host.decode(), int(port)))
            c.settimeout(60)
            try:
                c.sendall(blob)
                c.shutdown(socket.SHUT_WR)
                while (piece := c.recv(4096)):
                    got += piece
            except OSError:
                pass
            c.close()
            if got:
                break
            time.sleep(0.5)
        same(got.split()[:1], [hashlib.sha256(blob).hexdigest().encode()], got)
    finally:
        p.send_signal(signal.SIGTERM)
        p.communicate()
        env.cli("bg", "kill", name, ident)
