#!/usr/bin/env python3
"""bundle.py BIN-FOLDER AGENT: secrets of every kind are planted in a daemon and its state folder, and looked for in what `mica support-bundle` packs.
TAP on stdout."""
import base64
import json
import os
import stat
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402

tap = Tap()
PLANTS = {
    "value of a secret": b"Xy7-planted-secret-value-4411",
    "second line of a secret": b"Zz8-planted-second-line-9902",
    "password of userdata": b"Qq1-planted-userdata-pw-3321",
    "environment of exec": b"Ee2-planted-env-value-7712",
    "token in the config": b"Tt3-planted-config-token-0043-0043-0043",
    "password on a console": b"Cc4-planted-console-pw-1188",
    "bearer on a console": b"Bb5-planted-bearer-word-5566",
    "SSH key": b"AAAAC3NzaC1lZDI1NTE5AAAAIPlantedPlantedPlantedPlantedPlantedPlan",
    "private key on a console": b"MIIPlantedPlantedPlantedPrivateKeyBytes",
}


def main():
    bin_folder, agent = map(os.path.abspath, sys.argv[1:3])
    stack = Stack(bin_folder, agent, tls=True)
    mica = os.path.join(bin_folder, "mica")
    env = {"HOME": stack.dir, "PATH": os.environ["PATH"], "MICA_STATE": stack.state}

    def run(*words, **kw):
        return subprocess.run([mica, *words], capture_output=True, timeout=60, env=dict(env, **kw), cwd=stack.dir)
    try:
        two = PLANTS["value of a secret"] + b"\n" + PLANTS["second line of a secret"]
        with open(stack.dir + "/value", "wb") as f:
            f.write(two)
        done = run("secret", "create", "planted", "--from-file", stack.dir + "/value", "--socket", stack.unix)
        if done.returncode:
            done = subprocess.run([mica, "secret", "create", "planted", "--from-literal", PLANTS["value of a secret"].decode(), "--socket",
                                   stack.unix], capture_output=True, env=env)
        tap.ok(done.returncode == 0, "a secret: %s" % done.stderr)
        import http.client
        import socket
        c = http.client.HTTPConnection("daemon")
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(stack.unix)
        body = {"userdata": "#!/bin/sh\necho root:%s | chpasswd\n" % PLANTS["password of userdata"].decode(), "tags": ["kind=test"]}
        c.request("POST", "/hostgroup/demo/nodes", json.dumps(body), {"Content-Type": "application/json"})
        vm = json.loads(c.getresponse().read())["hostname"]
        run("vm", "ready", vm, "--socket", stack.unix)
        run("vm", "exec", "--env", "PLANTED=" + PLANTS["environment of exec"].decode(), "--socket", stack.unix, vm, "--", "true")
        folder = stack.state + "/vm/" + vm
        with open(folder + "/userdata", "wb") as f:  # as if it was not delivered yet
            f.write(body["userdata"].encode())
        with open(folder + "/console.log", "ab") as f:
            f.write(b"login: \nPASSWORD=%s\nAuthorization: Bearer %s\nssh-ed25519 %s me@here\n"
                    b"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\nthe last line\n" % (
                PLANTS["password on a console"], PLANTS["bearer on a console"], PLANTS["SSH key"], PLANTS["private key on a console"]) + two + b"\n")
        with open(stack.dir + "/with-token.yaml", "wb") as f:
            f.write(b"config:\n  host_groups:\n  - {name: vm, network: {mode: none}}\n"
                    b"  ssh_keys: [\"ssh-ed25519 %s me@here\"]\n  api: {auth: {token: \"%s\"}}\n" % (
                PLANTS["SSH key"], PLANTS["token in the config"]))
        named = run("token", "create", "--scope", "read", "ci", "--socket", stack.unix)
        with open(stack.state + "/auth/token", "rb") as f:
            PLANTS["the daemon's token"] = f.read().strip()
        words = [w for w in named.stdout.split() if len(w) > 20]
        if words:
            PLANTS["a named token"] = words[-1]
        with open(stack.state + "/tls/key.pem", "rb") as f:
            PLANTS["TLS key"] = f.read().split(b"\n")[1]
        done = run("support-bundle", "-o", stack.dir + "/b.tar", "--config", stack.dir + "/with-token.yaml", MICA_TOKEN="Mm6-planted-env-token-8899")
        PLANTS["token of the environment"] = b"Mm6-planted-env-token-8899"
        tap.ok(done.returncode == 0, "a bundle: %r" % done)
        tap.ok(stat.S_IMODE(os.stat(stack.dir + "/b.tar").st_mode) == 0o600, "for its owner alone")
        with tarfile.open(stack.dir + "/b.tar") as t:
            members = {m.name.split("/", 1)[1]: t.extractfile(m).read() for m in t}
        for name in ("version.json", "checks.txt", "kvm.json", "kernel/version.txt", "kernel/meminfo.txt", "config.yaml", "ps.json", "api/info.json",
                     "api/nodes.json", "api/hostgroups.json", "api/metrics.txt", "README.txt", "vm/%s/record" % vm, "vm/%s/console.log" % vm):
            tap.ok(members.get(name), "%s is in it" % name)
        with open(stack.dir + "/b.tar", "rb") as f:
            raw = f.read()
        for what, value in sorted(PLANTS.items()):
            forms = [value, base64.b64encode(value), value.hex().encode()]
            where = [n for n, data in members.items() if any(x in data for x in forms)]
            tap.ok(not where and not any(x in raw for x in forms), "%s is not: %s" % (what, where))
        tap.ok(b"the last line" in members["vm/%s/console.log" % vm] and b"<masked>" in members["vm/%s/console.log" % vm], "the console's other lines are")
        tap.ok(b"ram_bytes=" in members["vm/%s/record" % vm] and b"hostname" in members["api/nodes.json"], "records and VMs can be read")
        again = run("support-bundle", "-o", stack.dir + "/b.tar")
        tap.ok(again.returncode == 1 and b"\ncause: " in again.stderr and b"\nfix: " in again.stderr, "a file that is there is kept")
        out = run("support-bundle", "-o", "-", "--state", stack.dir + "/nowhere")
        tap.ok(out.returncode == 0 and b"missing: state folder" in out.stdout, "without a daemon it packs what there is, and says what is missing")
    finally:
        stack.close()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
