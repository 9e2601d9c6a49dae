#!/usr/bin/env python3
"""conform.py --base unix:/path|http://host:port|https://host:port [--fingerprint F] [--token T] [--group G] [--end] [WORD...]

The contract from outside: the worked exchanges (A), the checklist for servers (C1 to C20) and the choices where sources disagree (X),
against any running daemon with a host group that allows VMs of 1 vCPU. Makes its own VMs and removes them. --end also ends the daemon
(POST /daemon/shutdown). TAP on stdout. Python's standard library alone."""
import argparse
import base64
import hashlib
import io
import json
import os
import re
import socket
import ssl
import struct
import sys
import tarfile
import time
import traceback
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import client  # noqa: E402
from client import Api, WebSocket, payload, query  # noqa: E402

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")
TIMES = {"created_at", "last_agent_call", "timestamp", "started_at", "ended_at", "mtime", "modified_at", "mod_time"}
bad_times = []


def look_at_times(value, key=""):
    if isinstance(value, dict):
        for k, v in value.items():
            look_at_times(v, k)
    elif isinstance(value, list):
        for v in value:
            look_at_times(v, key)
    elif key in TIMES and not (isinstance(value, str) and RFC3339.match(value)):
        bad_times.append((key, value))
    return value


class Json:
    """Every JSON answer of the run passes here, so that C4 holds for all of them."""
    loads = staticmethod(lambda text: look_at_times(json.loads(text)))
    dumps = staticmethod(json.dumps)


client.json = Json


class Pinned:
    """Stands in for an SSLContext: TLS with the certificate of that SHA-256 fingerprint, whatever is in it."""

    def __init__(self, fingerprint):
        self.want = fingerprint.replace(":", "").lower()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def wrap_socket(self, sock, server_hostname=None):
        tls = self.context.wrap_socket(sock, server_hostname=server_hostname)
        got = hashlib.sha256(tls.getpeercert(True)).hexdigest()
        if got != self.want:
            tls.close()
            raise ssl.SSLError("the certificate has fingerprint %s, not %s" % (got, self.want))
        return tls


def address_of(base, fingerprint=None):
    if base.startswith("unix:"):
        return base[5:]
    url = urllib.parse.urlsplit(base)
    return (url.hostname, url.port, Pinned(fingerprint)) if url.scheme == "https" else (url.hostname, url.port)


class Wrong(Exception):
    pass


class Skip(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Wrong(" ".join(w if isinstance(w, str) else repr(w) for w in what) or "it does not hold")


def same(got, want, what="value"):
    if got != want:
        raise Wrong("%s: got %r, want %r" % (what, got if len(repr(got)) < 400 else repr(got)[:400], want if len(repr(want)) < 400 else repr(want)[:400]))


class Target:
    def __init__(self, args):
        self.args, self.group, self.made = args, args.group, []
        self.address = address_of(args.base, args.fingerprint)
        self.api = Api(self.address, args.token)
        self.group_info = next(g for g in self.api.get("/hostgroup") if g["name"] == self.group)
        self.ram = min(1 << 30, self.group_info["ram_bytes"])
        self._vm = self._dir = None

    def send(self, method, path, body=None, want=None, headers=None, timeout_s=60):
        """(JSON or text of the answer, headers); the status must be `want`."""
        status, heads, data = self.api.call(method, path, body, headers, timeout_s)
        allowed = want if isinstance(want, tuple) else (want or 200,)
        must(status in allowed, "%s %s: %d %r" % (method, path, status, data[:300]))
        if heads.get("content-type", "").startswith("application/json"):
            data = Json.loads(data)
            must(status < 400 or (data["error"] and isinstance(data["error"], str)), "an error is a sentence", data)
        return data, heads

    def create(self, wait="agent", timeout="60s", want=(200, 201), **body):
        made, _ = self.send("POST", query("/hostgroup/%s/nodes" % self.group, timeout=timeout, wait=wait), body, want, timeout_s=300)
        if "hostname" in made:
            self.made.append(made["hostname"])
        return made

    def delete(self, name):
        self.made.remove(name)
        return self.send("DELETE", "/hostgroup/%s/nodes/%s" % (self.group, name))[0]

    @property
    def vm(self):
        """The VM of most cases."""
        if not self._vm:
            self._vm = self.create(ram_bytes=self.ram, cpus=1, tags=["job=7", "owner=alex"])["hostname"]
        return self._vm

    @property
    def dir(self):
        """A folder in the guest that everybody may write to."""
        if not self._dir:
            code, out, err = self.sh("d=/tmp/mica-conform.$$; mkdir $d && chmod 777 $d && echo $d")
            must(code == 0, err)
            self._dir = out.decode().strip()
        return self._dir

    def sh(self, script, **params):
        return self.api.sh(self.vm, script, **params)

    def path(self, rest, /, **params):
        return query("/vm/%s%s" % (self.vm, rest), **params)

    def end(self):
        try:
            if self._dir:
                self.sh("rm -rf " + self._dir)
        except Exception:
            pass
        for name in list(self.made):
            self.api.call("DELETE", "/hostgroup/%s/nodes/%s" % (self.group, name))


# ---- creation, lists, description ---------------------------------------------------------------------------------

def case_create(t):
    """A, C5, C16: create as the Go SDK does it; the answer has an address at once"""
    made = t.create(timeout="2m0s", ram_bytes=t.ram, cpus=1, tags=["job=7", "owner=alex"])
    t._vm = made["hostname"]
    must(re.fullmatch(re.escape(t.group) + r"-\d+", made["hostname"]), made)
    same((made["hostgroup"], made["persistent"], made.get("tags")), (t.group, False, ["job=7", "owner=alex"]))
    must(re.fullmatch(r"\d+\.\d+\.\d+\.\d+/\d+", made["ip"]), "ip with a prefix length", made)
    must(made["arch"] in ("x86_64", "amd64"), made)
    same(t.api.run(t.vm, "/bin/sh", ["-c", "exit 0"])[0], 0, "wait=agent: a command runs at once")


def case_create_refusals(t):
    """A: more than the group has, a group that is not there, broken bodies"""
    path = "/hostgroup/%s/nodes" % t.group
    error, _ = t.send("POST", path, {"cpus": t.group_info["cpus"] + 1}, 400)
    must("cpus" in error["error"], error)
    for body in ({"ram_bytes": t.group_info["ram_bytes"] + (1 << 20)}, {"cpus": -1}, {"cpus": "two"}, {"disk_image": "x.img"}, {"tags": "a"}, b"{", b"[]"):
        t.send("POST", path, body, 400)
    t.send("POST", "/hostgroup/no-such/nodes", {}, 404)
    t.send("POST", path + "?wait=moon", {}, 400)
    t.send("POST", path + "?wait=agent&timeout=soon", {}, 400)


def case_create_late(t):
    """A: 408 when the agent is not there in time, and the VM is gone"""
    before = {n["hostname"] for n in t.api.get("/nodes")}
    error, _ = t.send("POST", "/hostgroup/%s/nodes?timeout=1ms&wait=agent" % t.group, {"cpus": 1}, 408)
    same({n["hostname"] for n in t.api.get("/nodes")}, before, "VMs after the 408")


def case_unknown_fields(t):
    """1.1: unknown fields of a body are ignored (github_user, count)"""
    made = t.create(cpus=1, github_user="", count=1, unheard_of={"a": [1]})
    t.delete(made["hostname"])


def case_groups(t):
    """1.4, X: GET /hostgroup; arch is x86_64"""
    g = t.group_info
    same(g["arch"], "x86_64")
    must(all(type(g[k]) is int for k in ("count", "ram_bytes", "cpus")), "C5: numbers are JSON numbers", g)


def case_filters(t):
    """A, C3, C17: exact tag filter, prefix filter, and the Go SDK's query inside the path"""
    def names(path):
        return [n["hostname"] for n in t.api.get(path)]

    def found(path, begins):
        """Ours, and nobody without such a tag: others of this daemon may have it, too."""
        nodes = t.api.get(path)
        must(all(any(tag.startswith(begins) for tag in n["tags"]) for n in nodes), path, nodes)
        return t.vm in [n["hostname"] for n in nodes]
    must(t.vm in names("/nodes") and t.vm in names("/hostgroup/%s/nodes" % t.group))
    for base in ("/nodes", "/hostgroup/%s/nodes" % t.group):
        must(found(base + "?tag=job%3D7", "job=7"))
        same(names(base + "?tag=job%3D"), [], "half of a tag")
        must(found(base + "?tag_prefix=job%3D", "job="))
        t.send("GET", base + "?tag=a&tag_prefix=b", want=400)
    must(found("/hostgroup/%s/nodes%%3Ftag=job%%253D7" % t.group, "job=7"), "%3F in the path")
    same(names("/hostgroup/%s/nodes%%3Ftag=job%%253D8" % t.group), [])
    t.send("GET", "/hostgroup/no-such/nodes", want=404)


def case_node(t):
    """1.4, X: a node of a list"""
    node = [n for n in t.api.get("/nodes") if n["hostname"] == t.vm][0]
    same((node["hostgroup"], node["ram_bytes"], node["cpus"], node["arch"], node["status"], node["persistent"]), (t.group, t.ram, 1, "x86_64", "Running", False))
    must(re.fullmatch(r"\d+\.\d+\.\d+\.\d+", node["ip"]), "ip without prefix length", node)
    t.sh("true")
    node = [n for n in t.api.get("/nodes") if n["hostname"] == t.vm][0]
    must(RFC3339.match(node["last_agent_call"]), node)


def case_describe(t):
    """A, C13, X: describe: network with arrays, storage image"""
    got, _ = t.send("GET", t.path(""))
    same((got["hostname"], got["storage"], got["status"]), (t.vm, "image", "Running"))
    for part in ("host_group", "effective"):
        must(all(isinstance(got["network"][part][k], list) for k in ("allow", "drop")), part, got["network"])
    must(type(got["open_agent_connections"]) is int, got)
    must("bg_execs" not in got or isinstance(got["bg_execs"], list), got)
    t.send("GET", "/vm/%s-99999" % t.group, want=404)


def case_network_override(t):
    """A, 1.4: network rules of one VM: kept in an isolated group and on a bridge, refused in another, where nothing would enforce them"""
    body = {"cpus": 1, "network": {"allow": []}}
    if t.api.get(t.path(""))["network"].get("mode") not in ("isolated", "bridge"):
        t.send("POST", "/hostgroup/%s/nodes" % t.group, body, 400)
        return
    made = t.create(**body)
    net = t.api.get("/vm/" + made["hostname"])["network"]
    same((net["policy_source"], net["override"], net["effective"]["allow"]), ("vm", {"allow": []}, []))
    t.delete(made["hostname"])


def case_tags(t):
    """1.4: tags, all or nothing"""
    path = t.path("/tags")
    before = t.api.get(path)["tags"]
    t.send("PATCH", path, {"add": ["x=1"], "remove": ["no-such"]}, (200, 204))
    must("x=1" in t.api.get(path)["tags"])
    t.send("PATCH", path, {"add": ["y=1"], "replace": ["z=1"]}, 400)
    t.send("PATCH", path, {"add": ["y=1", "name=no"]}, 400)
    must("y=1" not in t.api.get(path)["tags"], "a refused change changes nothing")
    t.send("PATCH", path, {"name": "web-1"})
    t.send("PATCH", path, {"replace": ["only=1"]})
    same(sorted(t.api.get(path)["tags"]), ["name=web-1", "only=1"], "replace keeps the friendly name")
    t.send("PATCH", path, {"name": ""})
    t.send("PATCH", path, {"replace": before})
    same(t.api.get(path), {"hostname": t.vm, "tags": before})


def case_commits_name(t):
    """1.2: /vm/commits is never a VM"""
    t.send("GET", "/vm/commits", want=200)


# ---- facts --------------------------------------------------------------------------------------------------------

def case_info(t):
    """1.3, X: /info, /healthz, /metrics, /openapi.json"""
    info = t.api.get("/info")
    same((info["platform"], info["arch"]), ("linux", "amd64"))
    must(info["version"], info)
    status, _, body = Api(t.address).call("GET", "/healthz")
    same((status, body.strip()), (200, b"OK"), "/healthz without a token")
    status, _, body = Api(t.address).call("HEAD", "/healthz")
    same((status, body), (200, b""))
    text = t.send("GET", "/metrics")[0].decode()
    for name in ("slicer_vm_launch_total", "slicer_vm_running", "slicer_api_requests_total", "slicer_api_request_duration_seconds_sum", "slicer_system_load_avg_1",
                 "slicer_system_memory_total_bytes", "slicer_system_memory_available_bytes", "slicer_system_open_files", "slicer_system_open_connections"):
        must(re.search(r"^%s[ {]" % name, text, re.M), "metrics: no", name)
    must(t.api.get("/openapi.json")["openapi"].startswith("3.1"))


def case_auth(t):
    """C2: an empty bearer is none; 401 in JSON where a token is needed"""
    needed = not t.args.base.startswith("unix:")
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}):
        status, heads, body = Api(t.address).call("GET", "/nodes", headers=headers)
        same(status, 401 if needed else 200, "with %s" % headers)
        must(not needed or (heads["content-type"] == "application/json" and Json.loads(body)["error"]), body)
    if needed:
        same(Api(t.address, "wrong").call("GET", "/nodes")[0], 401)
        same(Api(t.address, "wrong").call("POST", t.path("/exec?cmd=true"))[0], 401)
        same(Api(t.address).call("GET", "/metrics")[0], 401, "/metrics as the rest")


def case_stats(t):
    """C6, X: stats are arrays, also of one VM"""
    for path in ("/nodes/stats", "/node/%s/stats" % t.vm):
        rows = t.api.get(path)
        must(isinstance(rows, list), rows)
        row = [r for r in rows if r["hostname"] == t.vm][0]
        snap = row["snapshot"]
        must(snap and row["error"] == "", row)
        must(snap["uptime"] and re.search(r"\d", snap["uptime"]), snap)
        for key in ("totalCpus", "totalMemory", "memoryUsed", "memoryAvailable", "memoryUsedPercent", "loadAvg1", "diskReadTotal", "networkReadTotal",
                    "openFiles", "entropy", "diskSpaceTotal", "diskSpaceFree", "diskSpaceUsedPercent"):
            must(type(snap[key]) in (int, float), key, snap)
    t.send("GET", "/node/%s-99999/stats" % t.group, want=404)


def case_logs(t):
    """1.5: the console: 20 lines, n, all"""
    everything = t.api.get(t.path("/logs", lines=0))
    same((everything["hostname"], type(everything["lines"])), (t.vm, int))
    said = everything["content"].splitlines()  # may be nothing: a quiet guest
    for words, n in (({"lines": 2}, 2), ({}, 20)):
        same(t.api.get(t.path("/logs", **words))["content"].splitlines(), said[-n:], "the last %d lines" % n)
    t.send("GET", "/vm/%s-99999/logs" % t.group, want=404)


def case_health(t):
    """1.5, C12, X: health in nanoseconds; not 2xx before the agent answers"""
    health = t.api.get(t.path("/health"))
    must(type(health["agent_uptime"]) is int and health["agent_uptime"] > 1_000_000 and health["system_uptime"] > 1_000_000, health)
    must(health["agent_version"] and type(health["userdata_ran"]) is bool, health)
    status, _, body = t.api.call("HEAD", t.path("/health"))
    same((status, body), (200, b""))
    t.send("GET", "/vm/%s-99999/health" % t.group, want=404)
    made = t.create(wait=None, timeout=None, cpus=1)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        status, _, body = t.api.call("GET", "/vm/%s/health" % made["hostname"])
        if 200 <= status < 300:
            break
        must(status in (400, 409, 500, 502, 503) and Json.loads(body)["error"], status, body)
        time.sleep(0.01)
    same(t.api.run(made["hostname"], "/bin/sh", ["-c", "exit 7"])[0], 7, "the first 2xx means that commands run")
    t.delete(made["hostname"])


def case_health_stopped(t):
    """C12: health of a paused VM and of one that stopped is no 2xx"""
    made = t.create(cpus=1, persistent=True)
    name = made["hostname"]
    t.send("POST", "/vm/%s/pause" % name)
    must(t.api.call("GET", "/vm/%s/health" % name)[0] >= 400)
    t.send("POST", "/vm/%s/resume" % name)
    t.send("POST", "/vm/%s/shutdown" % name)
    must(t.api.call("GET", "/vm/%s/health" % name)[0] >= 400)
    t.delete(name)


# ---- power --------------------------------------------------------------------------------------------------------

def case_power(t):
    """1.6, C14, C15: pause answers 409, shutdown by query and by JSON, relaunch at once, delete with strings"""
    name = t.create(cpus=1, persistent=True)["hostname"]
    t.send("POST", "/vm/%s/pause" % name)
    same([n["status"] for n in t.api.get("/nodes") if n["hostname"] == name], ["Paused"])
    for method, path in (("POST", "/exec?cmd=true"), ("GET", "/cp?path=/etc/passwd"), ("GET", "/fs/stat?path=/"), ("GET", "/fs/watch?paths=/tmp"), ("GET", "/exec")):
        t.send(method, "/vm/%s%s" % (name, path), want=409)
    with t.api.conn() as conn:
        same(WebSocket(conn, "/vm/%s/shell" % name, t.api.headers()).reply.status, 409)
    t.send("POST", "/vm/%s/resume" % name)
    same(t.api.run(name, "/bin/sh", ["-c", "exit 4"])[0], 4, "after resume")
    t.send("POST", "/vm/%s/relaunch" % name, want=409)
    for body, path in ((None, "?action=shutdown"), ({}, ""), ({"action": "reboot"}, ""), (None, "")):
        t.send("POST", "/vm/%s/shutdown%s" % (name, path), body, timeout_s=120)
        same([n["status"] for n in t.api.get("/nodes") if n["hostname"] == name], ["Stopped"], "after shutdown with %r" % (body or path))
        made, _ = t.send("POST", "/vm/%s/relaunch?wait=agent&timeout=120s" % name, want=(200, 201), timeout_s=300)
        must(made["hostname"] == name and made["ip"], made)
    t.send("POST", "/vm/%s/shutdown?action=explode" % name, want=400)
    gone = t.delete(name)
    same((type(gone["disk_removed"]), gone["disk_removed"], gone["error"], type(gone["message"])), (str, "true", "", str))
    t.send("DELETE", "/hostgroup/%s/nodes/%s" % (t.group, name), want=404)
    t.send("POST", "/vm/%s/relaunch" % name, want=404)


def case_ephemeral(t):
    """1.6: a VM that is not persistent is gone after its shutdown"""
    name = t.create(cpus=1)["hostname"]
    t.send("POST", "/vm/%s/shutdown?action=reboot" % name, timeout_s=120)
    t.made.remove(name)
    t.send("GET", "/vm/" + name, want=404)


def case_snapshots(t):
    """A: suspend and restore answer or say 501, never something else; what runs is not committed"""
    for path in ("/suspend", "/restore?wait=agent&timeout=30s"):
        status = t.api.call("POST", t.path(path), b"", timeout_s=120)[0]
        must(status in (200, 409, 501), path, status)
    status = t.api.call("POST", t.path("/commit"), {"cache_key": "k1"}, timeout_s=120)[0]
    must(status == 409, status)


def case_commit(t):
    """1.14, A: a stopped VM is committed, children are forked from it; what refers to a commit keeps it"""
    source = t.create(cpus=1, ram_bytes=t.ram, persistent=True, tags=["team=a"])["hostname"]
    path = "/vm/%s" % source
    t.send("POST", path + "/commit", {}, want=409)
    t.send("POST", path + "/shutdown", {}, timeout_s=120)
    key = "k-" + source
    words = {"tags": ["golden"], "labels": {"app": "web"}, "cache_key": key}
    made = t.send("POST", path + "/commit", words, timeout_s=300)[0]
    ident = made["commit_id"]
    must(re.fullmatch(r"cmt-[a-z0-9]+-[0-9a-f]{16}", ident), ident)
    same(made, {"hostname": source, "commit_id": ident, "status": "committed", "parent_status": "stopped", "mode": "disk", **words}, "commit")
    same(t.send("POST", path + "/commit", words)[0]["commit_id"], ident, "the same words again")
    t.send("POST", path + "/commit", {"tags": ["other"]}, want=409)
    t.send("POST", path + "/commit", {"labels": {"a": 1}}, want=400)
    info = t.send("GET", query("/vm/commits", cache_key=key))[0]
    same([(c["commit_id"], c["source_hostname"], c["source_host_group"], c["mode"], c["tags"], c["labels"], c["cache_key"]) for c in info],
         [(ident, source, t.group, "disk", ["golden"], {"app": "web"}, key)], "list")
    for filters, there in (({"tag": "golden"}, True), ({"tag": "none"}, False), ({"source": source}, True), ({"source": "no-1"}, False), ({"mode": "disk"}, True),
                           ({"mode": "memory"}, False)):
        same(ident in [c["commit_id"] for c in t.send("GET", query("/vm/commits", **filters))[0]], there, str(filters))
    for bad in ({"fixups": ["clock"]}, {"vcpu": 9999}, {"ram_bytes": 1 << 50}, {"tag_mode": "mix"}, {"tags": "x"}, {"secrets": ["no-such"]}):
        t.send("POST", "/vm/commits/%s/fork" % ident, bad, want=400)
    for bad in ("cmt-none", "..%2fx", "%5c"):
        t.send("POST", "/vm/commits/%s/fork" % bad, {}, want=404)
        t.send("DELETE", "/vm/commits/" + bad, want=404)
    child = t.send("POST", "/vm/commits/%s/fork?wait=agent&timeout=60s" % ident, {"tags": ["j=1"], "tag_mode": "replace", "secrets": [], "persistent": False, "fixups": ["hostname"],
                   "vcpu": 1, "ram_bytes": t.ram}, timeout_s=120)[0]
    t.made.append(child["hostname"])
    same({k: v for k, v in child.items() if k != "hostname"}, {"source_hostname": source, "commit_id": ident, "status": "forked", "parent_status": "stopped", "child_status": "running",
         "mode": "disk", "persistent": False}, "fork")
    same(t.send("GET", "/vm/%s/tags" % child["hostname"])[0]["tags"], ["j=1"], "replaced tags")
    second = t.send("POST", "/vm/commits/%s/fork?wait=none" % ident)[0]
    t.made.append(second["hostname"])
    same((second["child_status"], second["persistent"]), ("starting", True), "not waited for")
    same(t.send("GET", "/vm/%s/tags" % second["hostname"])[0]["tags"], ["team=a"], "its source's tags")
    same(t.send("GET", "/vm/" + child["hostname"])[0]["parent_commit_id"], ident, "describe of a fork")
    same(t.send("GET", path)[0]["commit_id"], ident, "describe of the source")
    before = {n["hostname"] for n in t.api.get("/nodes")}
    with t.api.conn() as conn:
        conn.start("POST", "/vm/commits/%s/fork?wait=agent&timeout=60s" % ident, t.api.headers())
        client.wait_for(lambda: {n["hostname"] for n in t.api.get("/nodes")} - before, 10)
    left = lambda: sorted({n["hostname"] for n in t.api.get("/nodes")} - before)
    must(client.wait_for(left, 10), "a client that goes does not cancel the fork")
    third = left()[0]
    t.made.append(third)
    must(client.wait_for(lambda: t.api.call("GET", "/vm/%s/health" % third)[0] == 200, 60), "and it comes up")
    t.delete(third)
    t.send("DELETE", "/vm/commits/" + ident, want=409)
    t.delete(child["hostname"])
    t.delete(second["hostname"])
    t.send("DELETE", "/vm/commits/" + ident, want=409)
    t.delete(source)
    same(t.send("DELETE", "/vm/commits/" + ident)[0], {"commit_id": ident, "status": "deleted"}, "delete")
    same(ident in [c["commit_id"] for c in t.send("GET", "/vm/commits")[0]], False, "in the list")


# ---- exec ---------------------------------------------------------------------------------------------------------

def case_exec_go(t):
    """A, C7: exec as the Go SDK sends it: started, base64 output, exit last"""
    with t.api.conn() as conn:
        conn.start("POST", t.path("/exec") + "?args=-c&args=echo+hi%3B+echo+no+%3E%262%3B+exit+3&cmd=%2Fbin%2Fsh&gid=0&stdio=base64&uid=0", t.api.headers())
        reply = conn.response()
        same((reply.status, reply.headers["content-type"].split(";")[0], reply.headers.get("transfer-encoding")), (200, "application/x-ndjson", "chunked"))
        frames = [look_at_times(f) for f in reply.lines()]
    same((frames[0]["type"], frames[0]["exit_code"]), ("started", 0))
    must(frames[0]["pid"] > 0 and frames[0]["started_at"], frames[0])
    out = [f for f in frames if f["type"] == "stdout"]
    same((out[0]["stdout"], out[0]["encoding"], out[0]["exit_code"], "data" in out[0]), ("aGkK", "base64", 0, False))
    same([f["stderr"] for f in frames if f["type"] == "stderr"], ["bm8K"])
    last = frames[-1]
    same((last["type"], last["exit_code"], last["pid"]), ("exit", 3, frames[0]["pid"]))
    must(last["ended_at"] and all("exit_code" in f and f["timestamp"] for f in frames), frames)
    must(all(f["exit_code"] == 0 and not f.get("error") for f in frames[:-1]), "only the last frame says how it ended", frames)


def case_exec_text(t):
    """1.7: text is the default; output comes although nobody asked for stdout"""
    frames = t.api.frames(t.vm, "/bin/sh", ["-c", "printf 'a\\303\\244'; printf 'x' >&2"])
    same("".join(f.get("stdout", "") for f in frames), "aä")
    same("".join(f.get("stderr", "") for f in frames), "x")
    must(not any("encoding" in f and f["encoding"] == "base64" for f in frames), frames)


def case_exec_buffered(t):
    """A: buffered: one object, 200 also when the command fails"""
    got, heads = t.send("POST", t.path("/exec", buffered=True, cmd="uname", args="-s"))
    same((got["stdout"], got["stderr"], got["exit_code"], heads["content-type"]), ("Linux\n", "", 0, "application/json"))
    must(got["pid"] > 0, got)
    got, _ = t.send("POST", t.path("/exec", buffered=True, cmd="/bin/sh", args=["-c", "printf '\\000\\001\\002'; exit 9"], stdio="base64"))
    same((got["stdout"], got["encoding"], got["exit_code"]), ("AAEC", "base64", 9))
    t.send("POST", t.path("/exec", buffered=True, cmd="cat", stdin=True), b"x", want=400)
    t.send("POST", t.path("/exec"), want=400)


def case_exec_signal(t):
    """1.7: an end by signal is named"""
    frames = t.api.frames(t.vm, "/bin/sh", ["-c", "kill -KILL $$"])
    same((frames[-1]["type"], frames[-1]["exit_code"], frames[-1]["signal"]), ("exit", 137, "KILL"))


def case_exec_start(t):
    """1.7: a command that is not there, a VM that is not there"""
    status, _, body = t.api.call("POST", t.path("/exec", cmd="no-such-command"))
    if status == 200:
        last = json.loads(body.strip().split(b"\n")[-1])
        must(last["error"] and last["exit_code"] != 0, last)
    else:
        must(status in (400, 404) and json.loads(body)["error"], status, body)
    t.send("POST", "/vm/%s-99999/exec?cmd=true" % t.group, want=404)
    t.send("POST", t.path("/exec", cmd="true", uid="x"), want=400)
    t.send("POST", t.path("/exec", cmd="true", stdio="hex"), want=400)
    t.send("POST", t.path("/exec", cmd="true", cwd="/tmp/../etc"), want=400)


def case_exec_user(t):
    """X: without uid the default user runs it, 0 is root; no shell unless one is asked for"""
    same(t.api.run(t.vm, "id", ["-u"])[1].strip(), b"1000")
    same(t.api.run(t.vm, "id", ["-u"], uid=0)[1].strip(), b"0")
    same(t.api.run(t.vm, "echo", ["$HOME"])[1], b"$HOME\n")
    same(t.api.run(t.vm, "echo $A; exit 3", shell="/bin/sh", env=["A=b c"])[:2], (3, b"b c\n"))
    same(t.api.run(t.vm, "pwd", cwd="/tmp")[1], b"/tmp\n")


def case_exec_duplex(t):
    """A, C1: output comes while the chunked body is still being sent; one flush per frame; then the connection goes on"""
    with t.api.conn() as conn:
        conn.start("POST", t.path("/exec", cmd="cat", stdin=True, stdio="base64"), t.api.headers(), chunked=True)
        lines = conn.response().lines()
        same(next(lines)["type"], "started")
        for word in (b"abc", b"defg", b"h" * 5000):
            conn.chunk(word)
            got = b""
            while len(got) < len(word):
                got += payload(next(lines))
            same(got, word)
        conn.last_chunk()
        same([f["type"] for f in lines], ["exit"])
        same(conn.call("GET", "/info", t.api.headers()).json()["platform"], "linux", "the same connection afterwards")


def case_exec_stdin_length(t):
    """1.7: stdin with a Content-Length, empty stdin, no stdin"""
    same(t.api.run(t.vm, "wc", ["-c"], stdin=b"12345")[1].strip(), b"5")
    same(t.api.run(t.vm, "cat", stdin=b"")[:2], (0, b""))
    same(t.api.run(t.vm, "cat")[:2], (0, b""))


def case_exec_gone(t):
    """1.7: a client that leaves ends its foreground command"""
    mark = t.dir + "/gone"
    with t.api.conn() as conn:
        conn.start("POST", t.path("/exec", cmd="/bin/sh", args=["-c", "trap 'echo x >%s; exit' HUP TERM; echo up; while :; do sleep 0.1; done" % mark]), t.api.headers())
        lines = conn.response().lines()
        while next(lines)["type"] != "stdout":
            pass
    must(client.wait_for(lambda: t.api.call("GET", t.path("/fs/stat", path=mark))[0] == 200, 30), "the command was told")


def case_keep_alive(t):
    """C1: many requests on one connection, with bodies, chunked and not"""
    with t.api.conn() as conn:
        for i in range(20):
            same(conn.call("GET", t.path(""), t.api.headers()).json()["hostname"], t.vm)
        conn.start("PATCH", t.path("/tags"), t.api.headers({"Content-Type": "application/json"}), chunked=True)
        for piece in (b'{"add":', b"[]", b"}"):
            conn.chunk(piece)
        conn.last_chunk()
        same(conn.response().json()["hostname"], t.vm)
        same(conn.call("GET", "/vm/no-such-1", t.api.headers()).status, 404)
        conn.response  # the body of that one is not read: the next answer is still found
    with t.api.conn() as conn:
        head = "".join("%s: %s\r\n" % h for h in t.api.headers({"Host": "x"}).items())
        conn.raw(("GET /info HTTP/1.1\r\n%s\r\n" % head).encode() * 5)
        for _ in range(5):
            same(conn.response().json()["platform"], "linux", "pipelined")


# ---- background ---------------------------------------------------------------------------------------------------

def start_bg(t, cmd, args=(), **params):
    params.setdefault("stdio", "base64")
    got, _ = t.send("POST", t.path("/exec", background=True, cmd=cmd, args=list(args), **params), want=(200, 201))
    must(re.match(r"ex_\w+$", got["exec_id"]), got)
    return got


def case_bg(t):
    """A, C8, C20: background: info, kill, wait-exit, reap, 410"""
    got = start_bg(t, "sleep", ["600"])
    same(sorted(got), ["exec_id", "pid", "ring_bytes", "started_at"])
    same(got["ring_bytes"], 1 << 20)
    path = t.path("/exec/" + got["exec_id"])
    info = t.api.get(path)
    same((info["exec_id"], info["pid"], info["command"], info["args"], info["running"]), (got["exec_id"], got["pid"], "sleep", ["600"], True))
    same((info["bytes_written"], info["bytes_dropped"], info["ring_bytes"], type(info["next_id"])), (0, 0, 1 << 20, int))
    must("exit_code" not in info or info["exit_code"] == 0, info)
    must(info["cwd"] and type(info["uid"]) is int, info)
    must(got["exec_id"] in [i["exec_id"] for i in t.api.get(t.path("/exec"))])
    same(t.send("DELETE", path, want=409)[0]["error"] != "", True, "X: delete of a running one")
    waited = t.api.get(path + "/wait-exit?timeout=0")
    same((waited["running"], waited["timed_out"]), (True, True))
    killed, _ = t.send("POST", path + "/kill", {"signal": "TERM", "grace_ms": 5000})
    must(killed["exec_id"] == got["exec_id"] and killed["pid"] == got["pid"] and "TERM" in killed["signal_sent"] and type(killed["running"]) is bool, killed)
    waited = t.api.get(path + "/wait-exit?timeout=10")
    same((waited["exec_id"], waited["running"], waited["exit_code"], waited["signal"], waited["timed_out"]), (got["exec_id"], False, 143, "TERM", False))
    must(RFC3339.match(waited["ended_at"]), waited)
    same(t.send("POST", path + "/kill")[0]["running"], False, "kill of one that has ended")
    same(t.send("DELETE", path)[0], {"exec_id": got["exec_id"], "reaped": True})
    for method, rest in (("GET", ""), ("GET", "/logs"), ("POST", "/kill"), ("GET", "/wait-exit"), ("DELETE", "")):
        t.send(method, path + rest, want=410)
    t.send("GET", t.path("/exec/ex_00000000"), want=(404, 410))
    t.send("GET", path + "/wait-exit?timeout=601", want=(400, 410))
    t.send("POST", t.path("/exec", background=True, cmd="cat", stdin=True), b"x", want=400)
    t.send("POST", t.path("/exec", background=True, cmd="cat", buffered=True), want=400)


def bg_lines(t, path):
    with t.api.conn() as conn:
        reply = conn.call("GET", path, t.api.headers())
        same((reply.status, reply.headers["content-type"].split(";")[0]), (200, "application/x-ndjson"))
        return [look_at_times(f) for f in reply.lines()]


def case_bg_logs(t):
    """A, C7: history by id, following until the end, output in stdout and stderr"""
    got = start_bg(t, "/bin/sh", ["-c", "echo one; sleep 0.3; echo two >&2; exit 5"])
    path = t.path("/exec/" + got["exec_id"])
    frames = bg_lines(t, path + "/logs?follow=true")
    same((frames[0]["type"], frames[-1]["type"], frames[-1]["exit_code"]), ("started", "exit", 5))
    same((b"".join(payload(f) for f in frames), b"".join(payload(f, "stderr") for f in frames)), (b"one\n", b"two\n"))
    ids = [f["id"] for f in frames]
    same(ids, list(range(ids[0], ids[0] + len(ids))), "ids rise one by one")
    same([f["id"] for f in bg_lines(t, path + "/logs?from_id=%d" % ids[2])], ids[2:], "from_id")
    same(bg_lines(t, path + "/logs")[-1]["exit_code"], 5)
    t.send("DELETE", path)


def case_bg_gap(t):
    """A: what the ring evicted is said in a gap frame, before what is left"""
    got = start_bg(t, "/bin/sh", ["-c", "i=0; while [ $i -lt 300 ]; do echo 01234567890123456789012345678901234567890123456789$i; i=$((i+1)); done"], ring_bytes=4096)
    path = t.path("/exec/" + got["exec_id"])
    t.api.get(path + "/wait-exit?timeout=60")
    info = t.api.get(path)
    same(bg_lines(t, path + "/logs?from_id=2")[0]["type"], "gap")
    frames = bg_lines(t, path + "/logs")
    first = frames[1 if frames[0]["type"] == "started" else 0]  # the frame with the pid may be kept for ever: then the gap is after it
    same(first["type"], "gap")
    must(first["dropped_bytes"] > 0 and first["dropped_frames"] > 0 and first["message"], first)
    kept = sum(len(payload(f)) for f in frames)
    must(info["bytes_written"] > 15000 and info["bytes_dropped"] > 0 and kept <= info["bytes_written"], info, kept)
    same(kept + info["bytes_dropped"], info["bytes_written"], "nothing is lost without being said")
    t.send("DELETE", path)


# ---- copy ---------------------------------------------------------------------------------------------------------

def case_cp_binary(t):
    """C9: a file in and out, as default mode and as binary"""
    data = os.urandom(300001)
    for mode in (None, "binary"):
        path = "%s/sub/%s" % (t.dir, mode)
        t.send("POST", t.path("/cp", path=path, mode=mode, permissions="0640", uid=0), data, headers={"Content-Type": "application/octet-stream"})
        status, heads, got = t.api.call("GET", t.path("/cp", path=path, mode=mode))
        same((status, heads["content-type"], heads["x-slicer-file-mode"], got == data), (200, "application/octet-stream", "0640", True))
    t.send("GET", t.path("/cp", path=t.dir + "/nope"), want=404)
    error, _ = t.send("GET", t.path("/cp", path=t.dir, mode="binary"), want=400)
    must("must specify a file not a directory" in error["error"], error)
    error, _ = t.send("GET", t.path("/cp", path=t.dir, mode="zip"), want=400)
    must("invalid mode: zip" in error["error"], error)
    error, _ = t.send("POST", t.path("/cp", path=t.dir, mode="cp-v1-recursive"), b"", want=400)
    must("invalid mode: cp-v1-recursive" in error["error"], error)


def make_tar(entries):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = 1500000000, 0o644 if data is not None else 0o755
            info.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return b.getvalue()


def case_cp_tar(t):
    """C10: a tree in and out: ustar, clean names, times"""
    tar = make_tar([("d", None), ("d/e", b"eee"), ("f", b"ff")])
    t.send("POST", t.path("/cp", path=t.dir + "/tree", mode="tar", uid=0), tar, headers={"Content-Type": "application/x-tar", "X-Slicer-Unpacked-Size": "5"})
    status, heads, got = t.api.call("GET", t.path("/cp", path=t.dir + "/tree", mode="tar"))
    same((status, heads["content-type"], got[257:262]), (200, "application/x-tar", b"ustar"))
    with tarfile.open(fileobj=io.BytesIO(got)) as tf:
        same(sorted(tf.getnames()), ["d", "d/e", "f"], "names relative to the folder itself")
        same((tf.extractfile("d/e").read(), tf.getmember("f").mtime), (b"eee", 1500000000))
    for name in ("/abs", "../up", "./dot", "a/../../b"):
        t.send("POST", t.path("/cp", path=t.dir + "/tree", mode="tar"), make_tar([(name, b"x")]), want=400)
    status, _, got = t.api.call("GET", t.path("/cp", path=t.dir + "/tree", mode="tar", exclude=["e"]))
    same(status, 200)
    with tarfile.open(fileobj=io.BytesIO(got)) as tf:
        must("d/e" not in tf.getnames() and "f" in tf.getnames(), "exclude", tf.getnames())


def case_cp_v1(t):
    """A, C9: cp-v1: destination rules, and both headers on the way out"""
    dest = t.dir + "/dest"
    t.send("POST", t.path("/fs/mkdir"), {"path": dest, "mode": "0777"})
    up = t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-binary", path=dest + "/", source_name="a.txt", source_type="file", uid=0)
    t.send("POST", up, b"hello", headers={"Content-Type": "application/octet-stream"})
    status, heads, body = t.api.call("GET", t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-binary", path=dest + "/a.txt"))
    same((status, body, heads["content-type"], heads["x-slicer-source-type"], heads["x-slicer-source-name-base64"]),
         (200, b"hello", "application/octet-stream", "file", "YS50eHQ"))
    must(re.fullmatch(r"0[0-7]{3}", heads["x-slicer-file-mode"]), heads)
    status, heads, body = t.api.call("GET", t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-recursive", path=dest))
    same((status, heads["content-type"], heads["x-slicer-source-type"], heads["x-slicer-source-name-base64"], body[257:262]),
         (200, "application/x-tar", "directory", base64.urlsafe_b64encode(b"dest").decode().rstrip("="), b"ustar"))
    missing = t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-binary", path=t.dir + "/missing/", source_name="a", source_type="file")
    must(t.api.call("POST", missing, b"x")[0] in (400, 404), "a missing folder with a slash")
    tree = make_tar([("x", b"1")])
    for path, contents, want in ((dest, None, "/src/x"), (dest, True, "/x"), (t.dir + "/new", None, "/x")):
        t.send("POST", t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-tar", path=path, source_name="src", source_type="directory", copy_contents=contents, uid=0), tree)
        t.send("GET", t.path("/fs/stat", path=path + want))
    must(t.api.call("POST", t.path("/cp", copy_semantics="cp-v1", mode="cp-v1-tar", path=dest + "/a.txt", source_name="s", source_type="directory", uid=0), tree)[0] == 400)


def case_cp_chunked(t):
    """1.9: an upload in chunked coding, by a client that waits for 100"""
    with t.api.conn() as conn:
        conn.start("POST", t.path("/cp", path=t.dir + "/chunked", uid=0), t.api.headers({"Expect": "100-continue", "Content-Type": "application/octet-stream"}), chunked=True)
        for _ in range(50):
            conn.chunk(b"0123456789" * 100)
        conn.last_chunk()
        reply = conn.response()
        same((reply.status, reply.read() is not None), (200, True))
    same(t.api.get(t.path("/fs/stat", path=t.dir + "/chunked"))["size"], 50000)


def case_upload_session(t):
    """1.9: chunked upload: offered, or said clearly that it is not"""
    got, _ = t.send("POST", t.path("/exec", buffered=True, cmd="/usr/local/bin/slicer-agent", args=["upload", "check"], uid=0), want=(200, 400, 404))
    if got.get("exit_code") != 0:
        raise Skip("no /usr/local/bin/slicer-agent here")
    must("chunked-copy-v2" in got["stdout"], got)


# ---- files --------------------------------------------------------------------------------------------------------

def case_fs(t):
    """A, C6, X: stat and readdir with times as strings, mkdir, remove"""
    path = t.dir + "/fs"
    t.send("POST", t.path("/fs/mkdir"), {"path": path + "/a/b", "recursive": True, "mode": "0750"})
    t.send("POST", t.path("/fs/mkdir"), {"path": path + "/x/y"}, 404)
    got = t.api.get(t.path("/fs/stat", path=path + "/a/b"))
    same((got["name"], got["type"], got["mode"], type(got["size"]), type(got["mtime"])), ("b", "directory", "0750", int, str))
    t.sh("cd %s && printf 1234567 > hostname && chmod 644 hostname && ln -s hostname link" % path)
    got = t.api.get(t.path("/fs/stat", path=path + "/hostname"))
    same((got["name"], got["type"], got["size"], got["mode"]), ("hostname", "file", 7, "0644"))
    same([(e["name"], e["type"]) for e in t.api.get(t.path("/fs/readdir", path=path))], [("a", "directory"), ("hostname", "file"), ("link", "symlink")])
    error, _ = t.send("GET", t.path("/fs/stat", path=path + "/nope"), want=404)
    must("no such file" in error["error"].lower(), error)
    t.send("DELETE", t.path("/fs/remove", path=path + "/a"), want=(400, 409))
    t.send("DELETE", t.path("/fs/remove", path=path + "/a", recursive=True))
    t.send("DELETE", t.path("/fs/remove", path=path + "/a"), want=404)
    t.send("GET", t.path("/fs/stat"), want=400)


def case_watch(t):
    """A: changes as server-sent events"""
    d = t.dir + "/watch"
    t.send("POST", t.path("/fs/mkdir"), {"path": d})
    with t.api.conn() as conn:
        reply = conn.call("GET", t.path("/fs/watch", paths=d, recursive=True), t.api.headers({"Accept": "text/event-stream"}))
        same((reply.status, reply.headers["content-type"].split(";")[0]), (200, "text/event-stream"))
        t.sh("touch %s/x" % d)
        text = b""
        for piece in reply.pieces():
            text += piece
            if b"\n\n" in text and b"data: " in text:
                break
    fields = dict(line.split(": ", 1) for line in text.decode().split("\n") if ": " in line)
    event = look_at_times(json.loads(fields["data"]))
    same((fields["id"], fields["event"], event["id"], event["type"], event["path"], event["isDir"], type(event["size"])), ("1", "watch", 1, "create", d + "/x", False, int))
    t.send("GET", t.path("/fs/watch"), want=400)


# ---- WebSockets ---------------------------------------------------------------------------------------------------

def shell_message(kind, data=b""):
    return struct.pack(">BI", kind, len(data)) + data


def case_shell(t):
    """A, C11: a shell: window, data, heartbeat, ping; binary messages of at most 32 KiB; close message, then close 1000"""
    with t.api.conn() as conn:
        ws = WebSocket(conn, t.path("/shell", uid=0, shell="/bin/sh"), t.api.headers())
        same(ws.reply.status, 101)
        ws.send(shell_message(2, struct.pack(">II", 80, 24)))
        ws.send(shell_message(4))
        ws.send(b"are you there", opcode=9)
        ws.send(shell_message(1, b"stty size; i=0; while [ $i -lt 2000 ]; do echo 01234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo mar''ker\r"))
        text, pong, largest, ended = b"", None, 0, False
        while True:
            op, data = ws.recv()
            if op == 10:
                pong = data
            elif op == 8:
                code = struct.unpack(">H", data[:2])[0]
                break
            else:
                same(op, 2, "only binary messages")
                largest = max(largest, len(data))
                kind, size = struct.unpack_from(">BI", data)
                same(size, len(data) - 5, "one message, one frame of the shell")
                text += data[5:] if kind == 1 else b""
                ended = ended or kind == 5
                if b"marker" in text and not ended:
                    ws.send(shell_message(1, b"exit\r"))
                    text = text.replace(b"marker", b"")
        same((pong, ended, code), (b"are you there", True, 1000))
        must(b"24 80" in text and largest <= 32768, largest, text[:200])
    same(t.api.call("GET", t.path("/shell"))[0] in (400, 426), True, "a shell without an upgrade")
    with t.api.conn() as conn:
        same(WebSocket(conn, "/vm/%s-99999/shell" % t.group, t.api.headers()).reply.status, 404)


def case_shell_text(t):
    """1.11: a text message is passed over, the shell goes on"""
    with t.api.conn() as conn:
        ws = WebSocket(conn, t.path("/shell", uid=0, shell="/bin/sh"), t.api.headers())
        ws.send(b"exit 1", opcode=1)
        ws.send(shell_message(1, b"exit\r"))
        while True:
            op, data = ws.recv()
            if op == 8:
                break
        same(struct.unpack(">H", data[:2])[0], 1000)


def case_forward(t):
    """A: forward to TCP and to a unix socket in the guest: raw binary messages both ways"""
    code, out, _ = t.sh("which nc busybox python3 | head -n 1")
    tool = out.decode().strip()
    with socket.socket() as free:  # where the guest is a process of this host, others use ports too
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if not tool:
        raise Skip("nothing in this guest that listens")
    if tool.endswith("python3"):
        listen = "exec python3 -c 'import socket; s=socket.create_server((\"127.0.0.1\",%d)); c,_=s.accept(); d=c.recv(5); c.sendall(d+b\"bye\")'" % port
    else:
        nc = "nc" if tool.endswith("nc") else "busybox nc"
        listen = "exec %s -l -p %d -e /bin/sh -c 'head -c 5; printf bye'" % (nc, port)
    bg = start_bg(t, "/bin/sh", ["-c", listen], uid=0)
    end = time.monotonic() + 30
    while True:
        with t.api.conn() as conn:
            ws = WebSocket(conn, t.path("/forward"), t.api.headers({"X-Inlets-Client-ID": "h", "X-Inlets-Mode": "local", "X-Inlets-Upstream": "127.0.0.1:%d" % port}))
            if ws.reply.status == 101:
                ws.send(b"hello")
                got = b""
                while True:
                    op, data = ws.recv()
                    if op == 8:
                        break
                    same(op, 2)
                    got += data
                same((got, struct.unpack(">H", data[:2])[0]), (b"hellobye", 1000))
                break
            must(time.monotonic() < end, ws.reply.status)
        time.sleep(0.05)
    t.api.call("POST", t.path("/exec/%s/kill" % bg["exec_id"]), {"signal": "KILL"})
    for upstream, want in (("127.0.0.1:1", (502, 504)), ("unix:/no/such.sock", (502, 404)), ("nonsense", (400,))):
        with t.api.conn() as conn:
            got = WebSocket(conn, t.path("/forward"), t.api.headers({"X-Inlets-Upstream": upstream})).reply.status
            must(got in want, upstream, got)
    with t.api.conn() as conn:
        same(WebSocket(conn, t.path("/forward"), t.api.headers()).reply.status, 400, "no upstream")


# ---- secrets, userdata --------------------------------------------------------------------------------------------

def case_secrets(t):
    """A, C6, C18, X: secrets: 201, 409, both names of the time, never their bytes"""
    name = "conform-%d" % os.getpid()
    try:
        made, _ = t.send("POST", "/secrets", {"name": name, "data": "czNjcmV0", "permissions": "0600", "uid": 1000, "gid": 1000}, 201)
        t.send("POST", "/secrets", {"name": name, "data": "czNjcmV0"}, 409)
        rows, _ = t.send("GET", "/secrets")
        row = [r for r in rows if r["name"] == name][0]
        same((row["size"], row["permissions"], row["uid"], row["gid"]), (6, "0600", 1000, 1000))
        must(row["modified_at"] and row["modified_at"] == row["mod_time"], row)
        must("czNjcmV0" not in json.dumps(rows) and "s3cret" not in json.dumps(rows), "never returned")
        t.send("PATCH", "/secrets/" + name, {"data": "bmV3ZXI="})
        same([r["size"] for r in t.api.get("/secrets") if r["name"] == name], [5])
    finally:
        t.send("DELETE", "/secrets/" + name)
    t.send("DELETE", "/secrets/" + name, want=404)
    for body in ({"name": "../x", "data": ""}, {"name": "x", "data": "no base64!"}, {"data": "czNjcmV0"}):
        t.send("POST", "/secrets", body, 400)


def case_userdata(t):
    """1.4: userdata runs once, wait=userdata waits for it, health has its exit code"""
    made = t.create(wait="userdata", cpus=1, userdata="#!/bin/sh\nexit 3\n")
    health = t.api.get("/vm/%s/health" % made["hostname"])
    same((health["userdata_ran"], health["userdata_exit_code"]), (True, 3))
    t.delete(made["hostname"])


# ---- the rest -----------------------------------------------------------------------------------------------------

def case_unknown(t):
    """1.1: unknown paths 404, wrong methods 405 with Allow, both in JSON"""
    for method, path in (("GET", "/nope"), ("GET", "/"), ("GET", "/vm"), ("GET", "/nodes/"), ("GET", "/vm/commits/x/y/z")):
        t.send(method, path, want=404)
    for method, path in (("PUT", "/info"), ("DELETE", "/nodes")):
        _, heads = t.send(method, path, want=405)
        must("GET" in heads["allow"], heads)


def case_times(t):
    """C4: every time in every answer of this run is RFC 3339, none is empty"""
    same(bad_times, [])


def case_zz_daemon_shutdown(t):
    """A, 1.3: POST /daemon/shutdown: 202 with an empty body, then the daemon ends"""
    t.end()
    t.made, t._dir = [], None
    status, heads, body = t.api.call("POST", "/daemon/shutdown", b"")
    same((status, body, heads.get("content-length")), (202, b"", "0"))

    def gone():
        try:
            return Api(t.address).call("GET", "/healthz", timeout_s=5)[0] == 0
        except OSError:
            return True
        except client.Broken:
            return False
    must(client.wait_for(gone, 30), "the daemon still answers")


def run(args):
    target = Target(args)
    cases = [v for k, v in sorted(globals().items(), key=lambda kv: getattr(getattr(kv[1], "__code__", None), "co_firstlineno", 0)) if k.startswith("case_")]
    count = failed = 0
    try:
        for case in cases:
            if (args.words and not any(w in case.__name__ for w in args.words)) or (case is case_zz_daemon_shutdown and not args.end):
                continue
            count += 1
            name = "%s over %s" % (" ".join(case.__doc__.split()), args.base.split(":")[0])
            try:
                case(target)
                print("ok %d - %s" % (count, name), flush=True)
            except Skip as why:
                print("ok %d - %s # SKIP %s" % (count, name, why), flush=True)
            except Exception as why:
                failed += 1
                print("not ok %d - %s" % (count, name))
                text = "%s: %s" % (type(why).__name__, why) if isinstance(why, Wrong) else traceback.format_exc(limit=6)
                for line in (text + "\n" + traceback.format_tb(why.__traceback__)[-2 if isinstance(why, Wrong) else -1]).splitlines():
                    print("# " + line[:600], flush=True)
    finally:
        target.end()
    print("1..%d" % count)
    return 1 if failed else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--base", required=True)
    p.add_argument("--fingerprint")
    p.add_argument("--token")
    p.add_argument("--group", default="sbox")
    p.add_argument("--end", action="store_true")
    p.add_argument("words", nargs="*")
    return run(p.parse_args())


if __name__ == "__main__":
    sys.exit(main())
