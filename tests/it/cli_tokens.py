#!/usr/bin/env python3
"""cli_tokens.py BIN-FOLDER AGENT: `mica token` and what its tokens may do, by the real mica, front, core and agent (stack.py). TAP."""
import json
import os
import re
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, wait_for  # noqa: E402
from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402

tap = Tap()
bins, agent = os.path.abspath(sys.argv[1]), sys.argv[2]


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


class Client:
    """mica with one token over TCP, or (None) over the socket that needs none."""

    def __init__(self, stack, token=None):
        self.env = {"PATH": os.environ["PATH"], "HOME": stack.dir, "MICA_URL": stack.base("http") if token else stack.unix}
        if token:
            self.env["MICA_TOKEN"] = token

    def start(self, *words):
        return subprocess.Popen([os.path.join(bins, "mica"), *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words):
        p = self.start(*words)
        out, err = p.communicate(timeout=30)
        return p.returncode, out, err


def made(root, name, *words):
    code, out, err = root.run("token", "create", name, *words)
    tap.ok(code == 0 and re.fullmatch(r"mica_[\w-]{43}\n", out) and "not shown again" in err, "token %s made: its text alone on stdout" % name)
    return out.strip()


def case_words(stack, root):
    for words, want in ((("create", "a"), "scope"), (("create", "a", "--scope", "root"), "read, vm, exec"), (("create", "a", "--scope", "read,,vm"), "read, vm, exec"),
                        (("create", "a/b", "--scope", "read"), "name"), (("create", "a", "--scope", "read", "--group", "nope"), "host group"),
                        (("create", "a", "--scope", "admin", "--group", "demo"), "admin"), (("create", "a", "--scope", "read", "--expires", "soon"), "24h"),
                        (("create", "a", "--scope", "read", "--expires", "90000h"), "ten years"), (("revoke", "nope"), "nope"), (("create",), "")):
        code, out, err = root.run("token", *words)
        tap.ok(code in (1, 2) and not out and want in err and "fix:" in err, "token %s: %d, and says how to mend it" % (" ".join(words), code))
    same(json.loads(root.run("token", "list", "--json")[1]), [], "nothing was made")


def case_list(stack, root):
    made(root, "ci", "--scope", "exec,files", "-s", "net", "-g", "demo,fixed", "--expires", "24h")
    made(root, "dash", "-s", "read")
    code, out, _ = root.run("token", "list")
    lines = [line.split() for line in out.splitlines()]
    same((code, lines[0], [x[:3] for x in lines[1:]]), (0, ["NAME", "SCOPES", "GROUPS", "AGE", "EXPIRES", "USED", "QUOTA"],
                                                        [["ci", "exec,files,net", "demo,fixed"], ["dash", "read", "all"]]), "listed")
    tap.ok(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[1][4]) and lines[2][4:] == ["never", "-", "-"], "with their ends")
    same(root.run("token", "ls", "-q")[1], "ci\ndash\n", "names alone")
    code, out, _ = root.run("token", "create", "three", "--scope", "vm", "--json")
    tap.ok(code == 0 and json.loads(out)["token"].startswith("mica_"), "made with --json")
    code, _, err = root.run("token", "create", "three", "--scope", "vm")
    tap.ok(code == 1 and "already" in err, "twice: refused")
    same(root.run("token", "revoke", "ci", "nope", "dash", "three")[:2], (1, "ci revoked\ndash revoked\nthree revoked\n"), "revoked, but for the one that is not there")
    same(root.run("token", "list", "-q")[1], "", "none is left")


def case_scopes(stack, root, vm):
    token = made(root, "ci", "--scope", "exec", "--group", "demo")
    ci = Client(stack, token)
    same(ci.run("vm", "exec", vm, "--", "echo hi; exit 3")[:2], (3, "hi\n"), "exec with a token for it")
    for words, scope in ((("vm", "cp", vm + ":/etc/hostname", stack.dir + "/x"), "files"), (("vm", "delete", vm), "vm"), (("token", "list"), "admin"),
                         (("secret", "list"), "admin"), (("vm", "launch", "demo"), "vm")):
        code, _, err = ci.run(*words)
        tap.ok(code != 0 and "lacks scope '%s'" % scope in err and "mica token create" in err, "%s: refused, it names %s" % (" ".join(words[:2]), scope))
    code, out, _ = ci.run("vm", "list", "--json")
    same([x["hostname"] for x in json.loads(out)], [vm], "it sees the VMs of its group")
    same([x["name"] for x in json.loads(ci.run("vm", "group", "--json")[1])], ["demo"], "and its group")
    code, _, err = ci.run("vm", "exec", "fixed-1", "--", "true")
    tap.ok(code != 0 and "404" in err, "a VM of another group is not there")
    same(Api(stack.tcp, token).call("POST", "/hostgroup/fixed/nodes")[0], 403, "creating there: 403")
    code, _, err = Client(stack, "mica_" + "x" * 43).run("vm", "list")
    tap.ok(code != 0 and "401" in err, "a token that never was: 401")


def case_quota(stack, root):
    """Quotas: given, shown, held, and said how to mend."""
    for words, want in ((("--max-vms", "0"), "max_vms"), (("--max-ram", "lots"), "size"), (("--max-disk", "0"), "max_disk")):
        code, out, err = root.run("token", "create", "team", "--scope", "vm", *words)
        tap.ok(code in (1, 2) and not out and want in err, "%s: refused: %s" % (" ".join(words), err))
    code, _, err = root.run("token", "create", "team", "--scope", "admin", "--max-vms", "1")
    tap.ok(code == 1 and "admin" in err, "admin with a quota: refused")
    token = made(root, "team", "--scope", "vm,exec", "--max-vms", "1", "--max-vcpus", "64", "--max-ram", "64G", "--max-disk", "1T")
    team = Client(stack, token)
    code, out, err = team.run("vm", "launch", "demo", "--json")
    one = code == 0 and json.loads(out)["hostname"]
    tap.ok(one, "one is allowed: %s%s" % (out, err))
    code, _, err = team.run("vm", "launch", "demo")
    tap.ok(code != 0 and "token 'team' has 1 VMs, and max_vms is 1" in err and "E_QUOTA" in err and "fix:" in err, "a second is not: %s" % err)
    code, out, _ = root.run("token", "list")
    tap.ok("VMs 1/1, vCPUs " in out and "/64GiB" in out, "the list shows what is used: %s" % out)
    quota = next(t for t in json.loads(root.run("token", "list", "--json")[1]) if t["name"] == "team")["quota"]
    same((sorted(quota), quota["max_vms"], quota["max_ram"]["limit"]), (["max_disk", "max_ram", "max_vcpus", "max_vms"], {"limit": 1, "used": 1}, 64 << 30), "so does its JSON")
    same(team.run("vm", "delete", one)[0], 0, "deleted")
    same(root.run("token", "revoke", "team")[0], 0, "revoked")


def case_revoke(stack, root, vm):
    """Streams of the CLI itself, cut while they run."""
    token = made(root, "cut", "--scope", "exec,files")
    client = Client(stack, token)
    run = client.start("vm", "exec", vm, "--", "echo $$; exec sleep 1000")
    pid = int(run.stdout.readline())
    watch = client.start("fs", "watch", vm, stack.dir)
    shown = []
    threading.Thread(target=lambda: shown.append(watch.communicate(timeout=30)), daemon=True).start()
    time.sleep(0.5)
    same(watch.poll(), None, "a command and a watch run")
    same(root.run("token", "revoke", "cut")[0], 0, "revoked")
    out, err = run.communicate(timeout=20)
    tap.ok(run.returncode not in (0, 3) and "revoked" in err, "the command ends with an error that says why, exit code %s" % run.returncode)
    tap.ok(wait_for(lambda: not os.path.exists("/proc/%d" % pid), 10), "and is gone in the guest")
    tap.ok(wait_for(lambda: watch.poll() is not None, 20) and watch.returncode != 0, "the watch ends as a failure: %s" % watch.returncode)
    tap.ok("401" in client.run("vm", "list")[2], "and the token is good for nothing")


def case_expiry(stack, root, vm):
    brief = Client(stack, made(root, "brief", "--scope", "exec", "--expires", "3s"))
    run = brief.start("vm", "exec", vm, "--", "exec sleep 1000")
    out, err = run.communicate(timeout=20)
    tap.ok(run.returncode != 0 and "expired" in err, "its end cuts the command: %s" % run.returncode)
    tap.ok("expired" in root.run("token", "list")[1], "the list says so")


def main():
    stack = Stack(bins, agent)
    try:
        root = Client(stack)
        status, _, body = Api(stack.unix).call("POST", "/hostgroup/demo/nodes?wait=agent", {})
        same(status, 201, "a VM")
        vm = json.loads(body)["hostname"]
        case_words(stack, root)
        case_list(stack, root)
        print("# case_quota", flush=True)
        case_quota(stack, root)
        for case in (case_scopes, case_revoke, case_expiry):
            print("# " + case.__name__, flush=True)
            case(stack, root, vm)
    finally:
        codes = stack.close()
    tap.ok(codes == [0, 0], "core and front ended well: %s" % codes)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
