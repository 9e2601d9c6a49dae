#!/usr/bin/env python3
"""guest_gaps.py BIN AGENT: what reaches a guest and leaves it: SSH keys at the first boot, deleted secrets; and small promises of the contract:
bg_execs, ip in health, last_agent_call. The agent alone, core with made-up peers, then the real core, front and agent. TAP."""
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
bin_folder, agent_path = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.argv[1] = os.path.join(bin_folder, "core")

import agent_wire as aw  # noqa: E402
import core_fake  # noqa: E402
from core_fake import C_DELETE, C_PAUSE, C_RELAUNCH, C_RESUME, C_SHUTDOWN, OK, T_ACTION, T_GROUP, T_NAME, T_PERSISTENT, T_SSH, T_VM, Msg, World, frame, ok, refused, says  # noqa: E402
from stack import Stack  # noqa: E402

A_SECRET_PUT, A_SECRET_DROP, A_SSH_KEYS = 44, 46, 47
AT_NAME, AT_DATA = aw.T_NAME, aw.T_DATA
C_SECRET_PUT, C_SECRET_DELETE = 49, 51
T_DATA = 63
KEY, KEY2 = "ssh-ed25519 AAAAC3Nz one@host", 'from="10.0.0.0/8" ssh-rsa AAAAB3 two'


# ---- the agent alone ----

def test_agent():
    a = aw.Agent(agent_path)
    home = os.path.join(a.prefix, "home/ubuntu")
    m = a.ask(A_SSH_KEYS, [(aw.T_DATA, KEY)])
    ok(m.kind == aw.ERR and m.num(aw.T_STATUS) == 404 and "no user" in m.text(aw.T_TEXT), "a guest without that user: 404", m)
    os.makedirs(os.path.join(a.prefix, "etc"))
    with open(os.path.join(a.prefix, "etc/passwd"), "w") as f:
        f.write("root:x:0:0::/root:/bin/sh\nubuntu:x:%d:%d::/home/ubuntu:/bin/sh\n" % ((1000, 1000) if os.getuid() == 0 else (os.getuid(), os.getgid())))
    os.chmod(a.dir.name, 0o755)
    who = [] if os.getuid() == 0 else [(aw.T_UID, os.getuid())]
    path = os.path.join(home, ".ssh/authorized_keys")
    m = a.ask(A_SSH_KEYS, [(aw.T_DATA, KEY + "\n" + KEY2 + "\n"), *who])
    ok(m.kind == aw.OK and open(path).read() == KEY + "\n" + KEY2 + "\n", "keys are written", m)
    st, folder = os.stat(path), os.stat(os.path.join(home, ".ssh"))
    ok(stat.S_IMODE(st.st_mode) == 0o600 and stat.S_IMODE(folder.st_mode) == 0o700 and (os.getuid() != 0 or st.st_uid == folder.st_uid == 1000), "the user's own, for nobody else")
    with open(path, "a") as f:
        f.write("ssh-rsa MINE me")
    a.ask(A_SSH_KEYS, [(aw.T_DATA, KEY + "\nssh-rsa NEW new\n"), *who])
    ok(open(path).read() == "%s\n%s\nssh-rsa MINE me\nssh-rsa NEW new\n" % (KEY, KEY2), "only what is missing is added", open(path).read())
    ok(a.ask(A_SSH_KEYS, who).num(aw.T_STATUS) == 400 and a.ask(A_SSH_KEYS, [(aw.T_DATA, b"a\0b"), *who]).num(aw.T_STATUS) == 400, "no keys, no text: 400")
    ok(a.ask(A_SECRET_PUT, [(aw.T_NAME, "s"), (aw.T_DATA, b"v")]).kind == aw.OK and os.path.exists(a.prefix + "/run/slicer/secrets/s"), "a secret")
    ok(a.ask(A_SECRET_DROP, [(aw.T_NAME, "s")]).kind == aw.OK and not os.path.exists(a.prefix + "/run/slicer/secrets/s"), "dropped")
    ok(a.ask(A_SECRET_DROP, [(aw.T_NAME, "s")]).kind == aw.OK and a.ask(A_SECRET_DROP, [(aw.T_NAME, "../s")]).num(aw.T_STATUS) == 400 and
       a.ask(A_SECRET_DROP, [(aw.T_NAME, ".s")]).num(aw.T_STATUS) == 400, "again is fine, other places are not")
    a.p.kill()
    a.p.wait()


# ---- core, with guests that write down what they are told ----

class Vmm(core_fake.Vmm):
    def on_stream(self, s):
        data = s.recv(70000, socket.MSG_PEEK)
        kind = core_fake.struct.unpack_from("<IH", data)[1] if len(data) >= 12 else 0
        if kind not in (A_SECRET_PUT, A_SECRET_DROP, A_SSH_KEYS, core_fake.A_USERDATA):
            return super().on_stream(s)
        want, data = core_fake.struct.unpack_from("<I", data)[0] + 12, b""
        while len(data) < want:
            data += s.recv(want - len(data))
        m = Msg(data)
        with open(os.path.join(os.environ["GAPS_LOG"], self.name), "a") as f:
            f.write(json.dumps([kind, m.str(AT_NAME) or (m.get(AT_DATA) or b"").decode()]) + "\n")
        time.sleep(0.02)
        s.sendall(frame(core_fake.ERR, m.id, (1, 404), (2, "no such user")) if self.kind == "deny" else frame(OK, m.id))

    def boot(self, m):
        self.name = dict(w.split("=", 1) for w in m.str(core_fake.VT_CMDLINE).split() if "=" in w)["MICA_HOST"]
        super().boot(m)


core_fake.Vmm = Vmm


seen = {} # lines of each guest's file that were looked at


def pending(vm):
    """What a guest wrote down since told(), in whole lines: its file is there a moment before what it holds."""
    try:
        with open(os.path.join(os.environ["GAPS_LOG"], vm)) as f:
            return [json.loads(x) for x in f.read().split("\n")[:-1]][seen.get(vm, 0):]
    except FileNotFoundError:
        return []


def told(vm):
    lines = pending(vm)
    seen[vm] = seen.get(vm, 0) + len(lines)
    return lines


def test_core(w):
    for bad in ("", "nokey", " lead ing", "a b\nc d", "a\tb c", b"\xff \xfe", "x " * 10000):
        ok(refused(w.create("ok", (T_SSH, bad)), 400, "'ssh_keys'"), "no key: %r" % bad[:12])
    m = w.create("ok", (T_SSH, KEY2), (T_PERSISTENT, 1), (core_fake.T_USERDATA, "#!/bin/sh\n"))
    vm = m.str(T_VM)
    ok(w.wait_for(lambda: pending(vm)) and told(vm)[0] == [A_SSH_KEYS, "%s\n%s\n" % (KEY, KEY2)],
       "the file's keys and the maker's, before ready is said", says(m))
    ok(not os.path.exists(os.path.join(w.state, "vm", vm, "ssh_keys")), "taken: they wait no more")
    ok([x[1] for x in told(w.create("ok").str(T_VM))] == [KEY + "\n"], "the file's alone")
    denied = w.create("deny").str(T_VM)
    w.read_lines()
    ok(told(denied)[0][0] == A_SSH_KEYS and any("%s: SSH keys were not taken" % denied in x for x in w.lines), "a guest that has no such user is told of", w.lines)
    w.ask(C_SECRET_PUT, (T_NAME, "one"), (T_DATA, b"1"))
    w.ask(C_SECRET_PUT, (T_NAME, "two"), (T_DATA, b"2"))
    ok(w.wait_for(lambda: [x[0] for x in pending(vm)].count(A_SECRET_PUT) == 2), "two secrets")
    told(vm)
    m = w.ask(C_SECRET_DELETE, (T_NAME, "one"))
    ok(m.type == OK and w.wait_for(lambda: pending(vm)) and told(vm) == [[A_SECRET_DROP, "one"]], "deleted: out of the guest", says(m))
    w.ask(C_PAUSE, (T_VM, vm))
    w.ask(C_SECRET_DELETE, (T_NAME, "two"))
    w.ask(C_SECRET_PUT, (T_NAME, "two"), (T_DATA, b"new"))
    ok(told(vm) == [], "a paused guest is left alone")
    w.ask(C_RESUME, (T_VM, vm))
    got = []
    w.wait_for(lambda: len(got.extend(told(vm)) or got) == 2)
    ok(got == [[A_SECRET_DROP, "two"], [A_SECRET_PUT, "two"]], "and hears it when it goes on, in order", got)
    w.ask(C_SHUTDOWN, (T_VM, vm), (T_ACTION, "shutdown"))
    w.ask(C_SECRET_DELETE, (T_NAME, "two"))
    w.ask(C_RELAUNCH, (T_VM, vm), (core_fake.T_WAIT, "agent"), (core_fake.T_TIMEOUT, 8000))
    ok([x[0] for x in told(vm) if x[0] != core_fake.A_USERDATA] == [], "a later boot: no keys again, nothing to drop")
    m = w.create("ok", wait=None)
    folder = os.path.join(w.state, "vm", m.str(T_VM))
    ok(w.ask(C_DELETE, (T_GROUP, "ok"), (T_VM, m.str(T_VM))).type == OK and not os.path.exists(folder), "deleted with what it had not taken")


# ---- all of it ----

class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def api(stack, method, path, body=None):
    c = Unix(stack.unix)
    c.request(method, path, None if body is None else json.dumps(body))
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, json.loads(text) if text.startswith((b"{", b"[")) else text


def test_stack(s):
    status, v = api(s, "POST", "/hostgroup/demo/nodes?wait=agent&timeout=30s", {"ssh_keys": [KEY], "import_user": "someone"})
    ok(status == 201 and any("import_user is ignored" in n for n in v["notes"]), "import_user is said to be ignored", v)
    vm = v["hostname"]
    status, v = api(s, "POST", "/hostgroup/demo/nodes", {"ssh_keys": ["nokey"]})
    ok(status == 400 and "ssh_keys" in v["error"], "what is no key: 400", v)
    status, v = api(s, "GET", "/vm/%s" % vm)
    ok(status == 200 and v["bg_execs"] == [] and "last_agent_call" not in v, "describe: no background commands, no call yet", v)
    ip = v["ip"]
    status, v = api(s, "GET", "/vm/%s/health" % vm)
    ok(status == 200 and v["ip"] == ip and "/" not in ip, "health carries the address", v)
    for path in ("/vm/%s/fs/stat?path=/etc" % vm, "/vm/%s/exec" % vm, "/node/%s/stats" % vm, "/vm/%s/logs" % vm, "/vm/%s/exec/ex_00000000" % vm):
        api(s, "GET", path)
    api(s, "GET", "/vm/%s/fs/watch?path=/etc&timeout=100ms" % vm)
    ok("last_agent_call" not in api(s, "GET", "/vm/%s" % vm)[1], "looking is no call")
    status, _ = api(s, "POST", "/vm/%s/exec?cmd=sh&args=-c&args=%s&background=true&uid=0" % (vm, "sleep%20100"))
    v = api(s, "GET", "/vm/%s" % vm)[1]
    ok(status in (200, 201) and "last_agent_call" in v and len(v["bg_execs"]) == 1, "a command in the background is one", v)
    one = v["bg_execs"][0]
    ok(one["command"] == "sh" and one["state"] == "running" and one["pid"] > 0 and "exit_code" not in one and one["exec_id"].startswith("ex_") and
       one["started_at"].endswith("Z"), "and stands in describe", one)
    api(s, "POST", "/vm/%s/exec/%s/kill" % (vm, one["exec_id"]), {"signal": "KILL"})
    api(s, "GET", "/vm/%s/exec/%s/wait-exit" % (vm, one["exec_id"]))
    one = api(s, "GET", "/vm/%s" % vm)[1]["bg_execs"][0]
    ok(one["state"] == "exited" and one["exit_code"] == 137, "also when it has ended", one)
    api(s, "POST", "/vm/%s/pause" % vm)
    v = api(s, "GET", "/vm/%s" % vm)[1]
    ok(v["status"] == "Paused" and "bg_execs" not in v, "paused: not known", v)
    api(s, "POST", "/vm/%s/resume" % vm)
    ok(api(s, "GET", "/nodes")[1] and all("bg_execs" not in n for n in api(s, "GET", "/nodes")[1]), "lists do without")
    for path in ("/proxy/v1/clients", "/proxy/v1/nope"):
        status, v = api(s, "GET", path)
        ok(status == 404 and "egress proxy" in v["error"], "%s: 404 with a sentence" % path, v)
    ok(api(s, "DELETE", "/hostgroup/demo/nodes/%s" % vm)[0] == 200, "deleted")


CONFIG = core_fake.CONFIG.replace("config:\n", "config:\n  ssh_keys: ['%s']\n" % KEY)


def main():
    test_agent()
    os.environ["GAPS_LOG"] = os.path.join(os.environ.get("TMPDIR", "/tmp"), "mica-gaps-log-%d" % os.getpid())
    os.mkdir(os.environ["GAPS_LOG"])
    w = World()
    try:
        w.start(config=CONFIG % ("".join(core_fake.GROUP % (g, 0, g, i) for i, g in enumerate(("ok", "deny"))), w.port))
        test_core(w)
        ok(w.term() == 0, "stopped")
        w.start(config=(CONFIG % (core_fake.GROUP % ("ok", 0, "ok", 0), w.port)).replace(KEY, "no-key-at-all"), wait=False)
        line = w.wait_line("FATAL")
        ok(line and "ssh_keys: 'no-key-at-all' is no public key" in line, "the file's keys are looked at", w.lines)
        w.core.wait()
        w.close()
        w.core = None
    finally:
        w.done()
        subprocess.call(["rm", "-rf", os.environ["GAPS_LOG"]])
    s = Stack(bin_folder, agent_path)
    try:
        test_stack(s)
    finally:
        s.close()
    print("1..%d" % core_fake.count)
    return 1 if core_fake.failed else 0


if __name__ == "__main__":
    sys.exit(main())
