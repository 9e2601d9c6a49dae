#!/usr/bin/env python3
"""cli_context.py MICA FRONT AGENT [WORD...]: contexts, join strings, and which place names the daemon and its token. TAP on stdout."""
import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cli_world import bad, good, main, tap  # noqa: E402


def join_string(version="v1", **members):
    body = json.dumps(members).encode()
    return "mica-join:%s:%s" % (version, base64.urlsafe_b64encode(body + hashlib.sha256(body).digest()[:6]).rstrip(b"=").decode())


def case_files(w):
    good(w.run("context", "list"), b"*  local", "none: local is the current one")
    bad(w.run("context", "add", "office"), 2, [b"mica join"], "add: where from?")
    bad(w.run("context", "add", "office", "--url", "https://h:1"), 2, [b"--fingerprint"], "add: https without anybody to trust")
    bad(w.run("context", "add", "office", "--url", "http://h:1", "--fingerprint", w.fingerprint), 2, [b"https://"], "add: a fingerprint without https")
    bad(w.run("context", "add", "office", "--url", "./x.sock"), 2, [b"whole path"], "add: a relative path")
    bad(w.run("context", "add", "office", "--url", "https://h:1", "--fingerprint", "AB"), 2, [b"SHA-256"], "add: no fingerprint")
    for name in ("local", "", ".x", "a/b", "../x", "x" * 65, "-x y"):
        done = w.run("context", "add", "--url", "http://h:1", "--", name)
        tap.ok(done.returncode == 2, "add: the name %.10r" % name)
    good(w.run("context", "add", "office", "--url", w.url, "--fingerprint", w.fingerprint.lower(), "--token-file", "-", stdin=b"t0k\n"), b"office added", "add")
    folder = w.dir + "/.config/mica/contexts"
    modes = [stat.S_IMODE(os.stat(p).st_mode) for p in (folder, folder + "/office")]
    tap.ok(modes == [0o700, 0o600], "only ours may read it: %o %o" % tuple(modes))
    tap.ok(os.listdir(folder) == ["office"], "nothing else is left there")
    bad(w.run("context", "add", "office", "--url", w.tcp), 1, [b"--force"], "add: there is one")
    good(w.run("context", "add", "other", "--url", w.tcp, "--token", "u", XDG_CONFIG_HOME=w.dir + "/xdg"), b"added", "XDG_CONFIG_HOME")
    tap.ok(os.path.exists(w.dir + "/xdg/mica/contexts/other"), "… is where it is kept")
    done = w.run("context", "add", "clear", "--url", "http://example.invalid:1", "--token", "t")
    tap.ok(done.returncode == 0 and b"in the clear" in done.stderr, "a token over plain HTTP: said")
    w.run("context", "remove", "clear")
    shown = w.run("context", "list", "--json").stdout + w.run("context", "show", "office", "--json").stdout + w.run("context", "show", "office").stdout
    tap.ok(b"t0k" not in shown and json.loads(w.run("context", "list", "--json").stdout)[1] ==
           {"name": "office", "current": False, "url": w.url, "fingerprint": w.fingerprint, "ca": False, "token": True}, "list and show never tell a token")
    bad(w.run("context", "use", "nope"), 1, [b"context list"], "use: none of that name")
    good(w.run("context", "use", "office"), b"office", "use")
    tap.ok(json.loads(w.run("context", "show", "--json").stdout)["current"], "show: the current one")
    good(w.run("context", "remove", "office"), b"removed", "remove")
    good(w.run("context", "list"), b"*  local", "… and local is the current one again")
    bad(w.run("context", "remove", "office"), 1, [b"no context"], "remove: it is gone")
    w.write(".config/mica/contexts/broken", b'{"url":7}')
    bad(w.run("vm", "list", "--context", "broken"), 1, [b"broken"], "a file that is none")
    tap.ok(w.run("context", "list").returncode == 1, "list: says so")
    w.run("context", "remove", "broken")
    w.write(".config/mica/contexts/.current", b"../../x\n")
    bad(w.run("vm", "list"), 1, [b"context use"], "a current one that is none")
    good(w.run("context", "use", "local"), b"local", "use local mends it")


def case_daemon(w):
    """the whole way: join string → context → the daemon answers"""
    join = join_string(url=w.url, fingerprint=w.fingerprint, token="secret")
    good(w.run("context", "add", "far", join, "--use"), b"far added", "a join string")
    good(w.run("vm", "list"), b"demo-1", "the current context is who is asked")
    good(w.run("vm", "list", "--context", "far"), b"demo-1", "--context behind the verb")
    good(w.run("--context", "far", "vm", "list"), b"demo-1", "--context before it")
    good(w.run("vm", "list", MICA_CONTEXT="far"), b"demo-1", "MICA_CONTEXT")
    good(w.run("info"), b"(context far)", "info says which")
    for words in (("--socket", w.sock, "vm", "list"), ("vm", "--socket", w.sock, "list"), ("vm", "list", "--socket", w.sock), ("vm", "bg", "--socket=" + w.sock, "list", "demo-1"),
                  ("--url", w.tcp, "vm", "--token", "secret", "list"), ("--token=secret", "vm", "list", "--url", w.tcp)):
        tap.ok(w.run(*words).returncode == 0, "options anywhere: %s" % " ".join(words[:3]))
    bad(w.run("context", "--url", "x", "list"), 2, [b"asks no daemon"], "… but not where nobody is asked")
    good(w.run("vm", "exec", "demo-1", "--", "echo hello"), b"hello", "exec through it")
    wrapped = "\n".join(join[i:i + 60] for i in range(0, len(join), 60))
    good(w.run("context", "add", "far", "-", "--force", stdin=wrapped.encode() + b"\n"), b"added", "from a pipe, wrapped")
    w.write("ca.pem", w.pem)
    named = w.url.replace("127.0.0.1", "localhost")
    good(w.run("context", "add", "ca", "--url", named, "--ca-file", "ca.pem"), b"added", "with authorities")
    os.unlink(w.dir + "/ca.pem")
    good(w.run("vm", "list", "--context", "ca"), b"demo-1", "… which were copied")
    good(w.run("context", "add", "sock", "--url", w.sock), b"added", "a socket")
    good(w.run("vm", "list", "--context", "sock"), b"demo-1", "… works")
    w.run("context", "use", "local")


def case_join_refused(w):
    join = join_string(url=w.url, fingerprint=w.fingerprint, token="secret")
    for at in (len(join) - 1, len(join) - 2, len(join) - 5, len(join) // 2, 14, 13, 12):
        bad(w.run("context", "add", "cut", join[:at]), 2, [b"is cut"], "cut to %d of %d characters" % (at, len(join)))
    bad(w.run("context", "add", "cut", join[:30] + ("A" if join[30] != "A" else "B") + join[31:]), 2, [b"checksum"], "one character changed")
    bad(w.run("context", "add", "cut", join + "AAAA"), 2, [b"checksum"], "something behind it")
    bad(w.run("context", "add", "cut", "https://x"), 2, [b"mica-join:"], "no join string")
    bad(w.run("context", "add", "cut", join_string("v2", url=w.url)), 2, [b"version"], "of a later version")
    bad(w.run("context", "add", "cut", join_string(url=w.url, fingerprint=w.fingerprint)), 2, [b"token"], "without a token member")
    bad(w.run("context", "add", "cut", join_string(url=w.url, fingerprint="zz", token="")), 2, [b"fingerprint"], "with a fingerprint that is none")
    bad(w.run("context", "add", "cut", join_string(url="https://a b", fingerprint=w.fingerprint, token="")), 2, [b"URL"], "with an address that is none")
    bad(w.run("context", "add", "cut", join_string(url=w.url, fingerprint="", token="")), 2, [b"trust"], "https without a fingerprint")
    bad(w.run("context", "add", "cut", join_string(url=w.url, fingerprint=w.fingerprint, token="a\nb")), 2, [b"token"], "with a line break in the token")
    bad(w.run("context", "add", "cut", join_string(url=w.url, fingerprint=w.fingerprint, token="x" * 5000)), 2, [b"cannot be used"], "with a token that is too long")
    bad(w.run("context", "add", "cut", join, "--url", w.url), 2, [b"both"], "and --url")
    tap.ok(b"cut" not in w.run("context", "list").stdout, "none of them was kept")


def case_precedence(w):
    """which daemon: option, environment, current context, this machine; and whose token goes there"""
    w.run("context", "add", "one", "--url", w.tcp, "--token", "secret", "--use")
    w.run("context", "add", "wrong", "--url", w.tcp, "--token", "no")
    w.run("context", "add", "bare", "--url", w.tcp)
    good(w.run("vm", "list"), b"demo-1", "the current context and its token")
    bad(w.run("vm", "list", "--url", w.tcp), 1, [b"401"], "--url: the context's token is not sent to what it does not name")
    bad(w.run("vm", "list", MICA_URL=w.tcp), 1, [b"401"], "MICA_URL: the same")
    bad(w.run("vm", "list", SLICER_URL=w.tcp), 1, [b"401"], "SLICER_URL: the same")
    good(w.run("vm", "list", "--api", w.tcp, "--token", "secret", MICA_URL="http://127.0.0.1:1"), b"demo-1", "--api is --url, over the environment")
    good(w.run("vm", "list", "--context", "one", MICA_URL="http://127.0.0.1:1", MICA_TOKEN="no"), b"demo-1", "--context and its token over the environment")
    bad(w.run("vm", "list", MICA_TOKEN="no"), 1, [b"401"], "MICA_TOKEN over the current context's")
    bad(w.run("vm", "list", "--token", "no"), 1, [b"401"], "--token over the current context's")
    good(w.run("vm", "list", "--context", "wrong", "--token", "secret"), b"demo-1", "--token over --context's")
    good(w.run("vm", "list", MICA_CONTEXT="wrong", SLICER_TOKEN="secret"), b"demo-1", "SLICER_TOKEN over MICA_CONTEXT's")
    good(w.run("vm", "list", "--context", "bare", SLICER_TOKEN_FILE=w.write("t", b"secret\n")), b"demo-1", "a context without a token: the environment's")
    bad(w.run("vm", "list", MICA_TOKEN_FILE=w.write("no", b"no\n"), SLICER_TOKEN="secret"), 1, [b"401"], "MICA_TOKEN_FILE over SLICER_TOKEN")
    good(w.run("vm", "list", MICA_CONTEXT="one", SLICER_URL="http://127.0.0.1:1"), b"demo-1", "MICA_CONTEXT over SLICER_URL")
    good(w.run("vm", "list", MICA_SOCKET=w.sock, MICA_CONTEXT="nope"), b"demo-1", "MICA_SOCKET over MICA_CONTEXT")
    bad(w.run("vm", "list", MICA_CONTEXT="nope"), 2, [b"context list"], "MICA_CONTEXT: none of that name")
    bad(w.run("vm", "list", "--context", "one", "--url", w.tcp), 2, [b"both name"], "--context and --url")
    bad(w.run("vm", "list", "--context", "local"), 1, [b"127.0.0.1:8080"], "--context local: this machine")
    bad(w.run("vm", "list", MICA_CONTEXT="local"), 1, [b"127.0.0.1:8080"], "MICA_CONTEXT=local: this machine")
    other = hashlib.sha256(b"x").hexdigest()
    w.run("context", "add", "tls", "--url", w.url, "--fingerprint", w.fingerprint)
    good(w.run("vm", "list", "--context", "tls", MICA_FINGERPRINT=other), b"demo-1", "--context's fingerprint over MICA_FINGERPRINT")
    bad(w.run("vm", "list", "--context", "tls", "--fingerprint", other), 1, [b"another fingerprint"], "--fingerprint over --context's")
    bad(w.run("vm", "list", MICA_CONTEXT="tls", SLICER_FINGERPRINT=other), 1, [b"another fingerprint"], "SLICER_FINGERPRINT over MICA_CONTEXT's")
    w.run("context", "use", "local")


def case_join(w):
    """join: what the daemon's host prints, from what `up` left in the state folder"""
    state = tempfile.mkdtemp(prefix="mica-state.")

    def leave(text):
        with open(state + "/listen", "w") as f:
            f.write(text)
    bad(w.run("join", "--state", state), 1, [b"mica up --tls"], "no daemon")
    leave("API /x/api.sock http://127.0.0.1:8080\n")
    bad(w.run("join", "--state", state), 1, [b"HTTPS"], "no HTTPS")
    leave("API https://127.0.0.1:8443 /x/api.sock\nTLS %s\n" % w.fingerprint)
    bad(w.run("join", "--state", state), 1, [b"--host"], "on this machine alone")
    os.makedirs(state + "/auth")
    with open(state + "/auth/token", "w") as f:
        f.write("secret\n")

    def add(*words, env=None):
        done = w.run("join", *words, **(env or {"MICA_STATE": state}))
        tap.ok(done.stdout.startswith(b"mica-join:v1:") and done.stdout.count(b"\n") == 1 and b"secret" not in done.stdout, "join %s" % " ".join(words))
        added = w.run("context", "add", "joined", "-", "--force", stdin=done.stdout)
        return json.loads(w.run("context", "show", "joined", "--json").stdout) if added.returncode == 0 else added
    got = add("--host", "127.0.0.1", "--port", str(w.rig.tls_address[1]))
    tap.ok(got == {"name": "joined", "current": False, "url": w.url, "fingerprint": w.fingerprint, "ca": False, "token": True}, "what it carries: %r" % (got,))
    good(w.run("vm", "list", "--context", "joined"), b"demo-1", "and it works")
    leave("API https://0.0.0.0:8443 /x/api.sock\nTLS %s\n" % w.fingerprint)
    tap.ok(add()["url"] == "https://%s:8443" % os.uname().nodename, "on all addresses: this machine's name")
    leave("API /x/api.sock https://fd00::7:8443\nTLS %s\n" % w.fingerprint)
    tap.ok(add()["url"] == "https://[fd00::7]:8443", "IPv6")
    add("--token", "t")
    with open(w.dir + "/.config/mica/contexts/joined") as f:
        tap.ok(json.load(f)["token"] == "t", "another token")
    bad(w.run("join", "--state", state, "--host", "a b"), 2, [b"--host"], "a name that is none")
    subprocess.call(["rm", "-rf", state])


if __name__ == "__main__":
    sys.exit(main([(n, f) for n, f in list(globals().items()) if n.startswith("case_")]))
