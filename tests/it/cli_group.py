#!/usr/bin/env python3
"""cli_group.py BIN AGENT: mica group and mica config with the real core and front (made-up jail, netd and vmm of stack.py); POST, PATCH and
DELETE /hostgroup as a client sees them. TAP."""
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402

tap = Tap()
bin_folder, agent = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
top = tempfile.mkdtemp(prefix="mica-group.", dir=os.environ.get("TMPDIR", "/tmp"))
env = {"PATH": os.environ["PATH"], "HOME": top}


def run(*words, stdin=b"", **more):
    return subprocess.run([os.path.join(bin_folder, "mica"), *words], input=stdin, capture_output=True, env={**env, **more}, timeout=60, cwd=top)


def good(done, out, what):
    tap.ok(done.returncode == 0 and out in done.stdout, what + ("" if done.returncode == 0 and out in done.stdout else " %r" % done))


def bad(done, code, words, what):
    fine = done.returncode == code and done.stderr.startswith(b"error: ") and all(w.encode() in done.stderr for w in words)
    tap.ok(fine, what if fine else "%s %r" % (what, done))


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def api(stack, method, path, body=None):
    c = Unix(stack.unix)
    c.request(method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body))
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, json.loads(text) if text else None, dict(r.getheaders())


def case_api(stack):
    small = {"name": "api-x", "ram_mb": 64, "vcpu": 1, "storage_size": "4M", "network": {"mode": "none"}}
    status, v, _ = api(stack, "POST", "/hostgroup", small)
    tap.ok(status == 201 and v == {"name": "api-x", "count": 0, "ram_bytes": 64 << 20, "cpus": 1, "arch": "x86_64", "gpu_count": 0, "source": "api", "keeps": 0,
                                   "persistent": False, "storage_size": 4 << 20, "image": "min", "kernel": "min", "network": {"mode": "none"}, "notes": []}, "POST: %r" % v)
    status, v, _ = api(stack, "GET", "/hostgroup")
    by_name = {g["name"]: g for g in v}
    tap.ok(status == 200 and by_name["demo"]["source"] == "yaml" and by_name["demo"]["network"] == {"mode": "bridge", "bridge": "brdemo", "gateway": "10.77.1.1/24"} and
           by_name["api-x"]["source"] == "api", "GET marks both")
    for body, word in (({"vcpus": 1, "name": "y"}, "did you mean 'vcpu'"), ({}, "needs a name"), (b"[]", "must be a JSON object"), (b"{", "no JSON"),
                       ({"name": "y", "dns_servers": [1]}, "'dns_servers' must be a list of strings"), ({"name": "y", "userdata": "a\0"}, "holds a NUL"),
                       ({"name": "y", "a\0b": 1}, "is no key"), ({"name": "y", "vcpu": {"x": 1}}, "'vcpu' must be a single value"),
                       ({"name": "y", "vcpu": 1e30}, "must be a whole number"), ({"name": "y", "persistent": 7}, "must be true or false"),
                       ({"name": "y", "network": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, "too deep"), ({"name": "y", "network": []}, "must be a map")):
        status, v, _ = api(stack, "POST", "/hostgroup", body)
        tap.ok(status == 400 and word in v["error"] and ":1" not in v["error"], "400 %s: %r" % (word, v))
    tap.ok(api(stack, "POST", "/hostgroup", small)[0] == 409, "POST twice: 409")
    status, v, _ = api(stack, "POST", "/hostgroup", {"name": "y", "userdata": "x" * 59000 + "\u00e4", "network": {"mode": "none"}, "storage_size": 1 << 22, "ram_bytes": 1 << 26, "vcpu": 2.0})
    tap.ok(status in (201, 400), "a long script: %r" % v)
    status, v, _ = api(stack, "POST", "/hostgroup", {"name": "z", "userdata": "x" * 70000})
    tap.ok(status in (400, 413), "a script that is too long: %r" % v)
    status, v, _ = api(stack, "PATCH", "/hostgroup/api-x", {"vcpu": 2, "ram_mb": None, "ram_bytes": 128 << 20})
    tap.ok(status == 200 and v["cpus"] == 2 and v["ram_bytes"] == 128 << 20, "PATCH: %r" % v)
    tap.ok(api(stack, "PATCH", "/hostgroup/nope", {})[0] == 404 and api(stack, "PATCH", "/hostgroup/A%2fb", {})[0] == 404, "PATCH nobody: 404")
    tap.ok(api(stack, "DELETE", "/hostgroup/demo")[0] == 409 and "is declared in" in api(stack, "DELETE", "/hostgroup/demo")[1]["error"], "DELETE of the file's: 409")
    status, v, headers = api(stack, "GET", "/hostgroup/api-x")
    tap.ok(status == 405 and headers["Allow"] == "PATCH, DELETE", "there is no single-group GET: %r %r" % (status, headers))
    tap.ok(api(stack, "GET", "/hostgroup/api-x/nodes")[1] == [] and api(stack, "POST", "/hostgroup/api-x/nodes", {})[1]["hostname"] == "api-x-1", "its VMs")
    tap.ok(api(stack, "DELETE", "/hostgroup/api-x")[0] == 409, "DELETE with a VM: 409")
    tap.ok(api(stack, "DELETE", "/hostgroup/api-x/nodes/api-x-1")[0] == 200, "its VM goes")
    status, v, _ = api(stack, "DELETE", "/hostgroup/api-x")
    tap.ok(status == 200 and v == {"message": "host group 'api-x' is deleted"}, "DELETE: %r" % v)
    api(stack, "DELETE", "/hostgroup/y")


def case_group(stack):
    good(run("group", "create", "ci", "--cpu", "1", "--ram-mb", "64", "--storage-size", "4M", "--cidr", "10.66.0.1/24", "--bridge", "brci", "--dns", "9.9.9.9",
             "--persistent"), b"ci created\n", "create")
    done = run("group", "list")
    rows = {line.split()[0]: line for line in done.stdout.decode().splitlines()}
    tap.ok("bridge 10.66.0.1/24" in rows["ci"] and " api " in rows["ci"] and " yaml " in rows["demo"], "list: %r" % done.stdout)
    good(run("hostgroup", "ls", "-q"), b"ci\n", "list -q, by the other name")
    found = [g for g in json.loads(run("group", "list", "--json").stdout) if g["name"] == "ci"][0]
    tap.ok(found["persistent"] and found["storage_size"] == 4 << 20, "list --json: %r" % found)
    script = os.path.join(top, "setup.sh")
    with open(script, "w") as f:
        f.write("#!/bin/sh\necho one: 'two'\n")
    good(run("group", "update", "ci", "--cpu", "2", "--userdata-file", script, "--range", "10.66.0.9-10.66.0.11", "--unset", "dns_servers"), b"ci changed\n", "update")
    with open(os.path.join(stack.state, "groups", "ci.yaml")) as f:
        text = f.read()
    tap.ok("#!/bin/sh\n    echo one: 'two'\n" in text and "dns_servers" not in text and "10.66.0.9-10.66.0.11" in text, "as it is kept: %s" % text)
    good(run("vm", "launch", "ci"), b"10.66.0.9/24", "a VM of it")
    bad(run("group", "delete", "ci"), 1, ["409", "'ci-1' is one"], "delete: it has a VM")
    bad(run("group", "update", "ci", "--cpu", "1"), 1, ["409", "VM 'ci-1' has 2 vCPUs", "fix: "], "update: a VM has more")
    bad(run("group", "update", "ci", "--net", "none"), 1, ["409", "cannot get another network"], "update: another network")
    bad(run("group", "update", "ci"), 2, ["there is nothing to change"], "update: nothing said")
    bad(run("group", "update", "demo", "--cpu", "1"), 1, ["409", "is declared in"], "update: the file's")
    bad(run("group", "create", "Bad_Name"), 2, ["is no name for a host group"], "create: no name")
    bad(run("group", "create", "x", "--cpu", "99"), 1, ["400", "vcpu is 99"], "create: the daemon judges")
    bad(run("group", "create", "x", "--image", "/etc/shadow"), 1, ["400", "is not open in the daemon"], "create: a path")
    bad(run("group", "create", "x", "--userdata", "a", "--userdata-file", script), 2, ["leave one out"], "create: two scripts")
    bad(run("group", "create", "x", "--userdata-file", "/no/such"), 1, ["cannot read /no/such"], "create: no file")
    bad(run("group", "create"), 2, ["something is missing"], "create: no name at all")
    bad(run("group", "delete", "nope"), 1, ["404", "mica group list"], "delete: nobody")
    good(run("vm", "delete", "ci-1"), b"", "the VM goes")
    done = run("vm", "route", "--via", "192.0.2.1")
    tap.ok(done.returncode == 0 and {b"sudo ip route add 10.66.0.0/24 via 192.0.2.1", b"sudo ip route add 10.77.1.0/24 via 192.0.2.1"} <= set(done.stdout.splitlines()),
           "routes to every bridge: %r" % done.stdout)
    done = run("route", "x.yaml", "--via", "h", "--os", "darwin")
    tap.ok(b"sudo route -n add -net 10.66.0.0/24 h\n" in done.stdout and b"x.yaml is not read" in done.stderr, "as macOS has them: %r" % done)
    bad(run("route", "--os", "windows"), 2, ["linux or darwin"], "route: another system")
    bad(run("route", "--via", "a;b"), 2, ["--via=a;b"], "route: no address")
    good(run("group", "rm", "ci"), b"ci deleted\n", "delete")


CONFIG = b"""config:
  host_groups:
  - name: vm
    ram_mb: 256
    userdata: |
      #!/bin/sh
      echo hi
    network: {gateway: 10.9.0.1/24}
  api:
    auth: {token: "0123456789abcdef0123"}
"""


def case_disks(stack):
    """--disk: sizes become new disks; a file that no group of the daemon's file uses is not opened; df counts what they promise"""
    size = ("--ram-mb", "64", "--cpu", "1", "--storage-size", "4M", "--net", "none")
    good(run("group", "create", "more", *size, "--disk", "1M", "--disk", "2M", "--disk-iops", "100"), b"more created\n", "create with disks")
    with open(os.path.join(stack.state, "groups", "more.yaml")) as f:
        text = f.read()
    tap.ok("  disks:\n  - size: 1048576\n  - size: 2097152\n" in text, "as it is kept: %s" % text)
    bad(run("group", "create", "x", *size, "--disk", "/srv/a:b.img:ro"), 1, ["'/srv/a:b.img' is not open in the daemon, read-only"], "a file")
    bad(run("group", "create", "x", *size, "--disk", "1000"), 1, ["multiple of 4096"], "an odd size")
    bad(run("group", "create", "x", *size, *["--disk", "1M"] * 7), 1, ["6"], "too many")
    good(run("vm", "launch", "more"), b"more-1", "a VM of it")
    tap.ok([(d["device"], d["size_bytes"], d["read_only"]) for d in json.loads(run("vm", "describe", "more-1", "--json").stdout)["disks"]] ==
           [("/dev/vdb", 1 << 20, False), ("/dev/vdc", 2 << 20, False)], "has them")
    own = sum(d["size_bytes"] - d["own_bytes"] for d in json.loads(run("disk", "list", "--json").stdout))
    tap.ok(json.loads(run("disk", "df", "--json").stdout)["promised_bytes"] == own + (3 << 20), "df counts them")
    good(run("group", "update", "more", "--disk", "1M"), b"more changed\n", "fewer, from the next start")
    good(run("vm", "delete", "more-1"), b"", "the VM goes")
    good(run("group", "delete", "more"), b"more deleted\n", "and the group")


def case_config():
    path = os.path.join(top, "mica.yaml")
    with open(path, "wb") as f:
        f.write(CONFIG)
    good(run("config", "check", "mica.yaml"), b"mica.yaml is fine\n", "config check FILE")
    good(run("config", "check"), b"mica.yaml is fine\n", "config check, of this folder")
    done = run("config", "show")
    tap.ok(done.returncode == 0 and b"0123456789" not in done.stdout and b"<masked>" in done.stdout and b"vcpu" not in done.stdout, "config show: %r" % done.stdout)
    done = run("config", "show", "--effective", path)
    text = done.stdout
    tap.ok(done.returncode == 0 and all(w in text for w in (b"vcpu: 2\n", b"ram_mb: 256\n", b"bridge: brvm0\n", b"range: 10.9.0.2-10.9.0.254\n", b"count: 1\n",
           b"graceful_shutdown: true\n", b"port: 8080\n", b"      #!/bin/sh\n      echo hi\n", b"- 8.8.8.8\n")) and b"0123456789" not in text and b"ram_bytes" not in text, "show --effective: %r" % text)
    again = run("config", "show", "--effective", "-", stdin=text.replace(b'"<masked>"', b"0123456789abcdef0123"))
    tap.ok(again.stdout == text, "and it means the same: %r" % again)
    bad(run("config", "check", "-", stdin=text), 1, ["token"], "a masked token is none")
    bad(run("config", "check", "-", stdin=b"config:\n  host_groups:\n  - name: vm\n    vcpus: 2\n"), 1, [":4: unknown key 'vcpus', did you mean 'vcpu'?"], "the file's own sentence")
    bad(run("config", "show", "--effective", "-", stdin=b"rubbish: ["), 1, ["not valid YAML"], "no YAML")
    bad(run("config", "check", "/no/such.yaml"), 1, ["cannot read the config /no/such.yaml"], "no file")
    done = run("config", "check", "-", stdin=CONFIG + b"    bind_address: 0.0.0.0\n")
    bad(done, 1, ["plain HTTP"], "as up would refuse it")
    good(run("config", "check", "--tls", "-", stdin=CONFIG + b"    bind_address: 0.0.0.0\n"), b"is fine", "and with --tls not")
    done = run("config", "check", "-", stdin=CONFIG.replace(b"ram_mb", b"storage: zfs\n    ram_mb"))
    tap.ok(done.returncode == 0 and done.stderr.startswith(b"note: ") and b"zfs" in done.stderr, "notes: %r" % done.stderr)
    good(run("new", "sbox", "--find-ssh-keys=false"), b"sbox", "new")
    done = run("config", "check", "-", stdin=run("new", "sbox", "--find-ssh-keys=false").stdout)
    tap.ok(done.returncode == 0, "what new prints is fine: %r" % done)


def main():
    case_config()
    stack = Stack(bin_folder, agent)
    env["MICA_SOCKET"] = stack.unix
    try:
        case_api(stack)
        case_group(stack)
        case_disks(stack)
    finally:
        stack.close()
        subprocess.call(["rm", "-rf", top])
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
