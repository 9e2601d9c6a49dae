#!/usr/bin/env python3
"""openapi_walk.py BIN-FOLDER AGENT: the description of the API, as the daemon of real parts (stack.py) serves it, held against that daemon.

Checked: the description is well-formed OpenAPI 3.1; it and front's table of routes are the same set, scopes included; every operation
succeeds as described, and is refused as described without a token, with one that may not, for what is not there, while the VM is paused
and for bad parameters. Every answer of the walk must have a described status, a described type, and no field that is not described; every
described status must have been seen, but for those that a healthy daemon does not give (NOT_HERE). TAP on stdout."""
import json
import os
import re
import struct
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, WebSocket, query  # noqa: E402
from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402

tap = Tap()
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TYPES = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
# Statuses that need a lost agent, a full disk, exhausted memory or a broken host: other tests have them.
NOT_HERE = {"500", "502", "503", "504", "507"}
# And those of one operation: a VM that is just being made; a guest whose agent is older, or does not come up in minutes;
# a build's step over a large image (core_images.py).
NOT_HERE_OF = {"shutdown": {"409"}, "watch": {"501"}, "createBuilder": {"408"}, "sparsifyDisk": {"501"}, "exportImage": {"409"}}


# ---- a JSON Schema checker: what the description uses, no more ----------------------------------------------------

KEYWORDS = {"type", "properties", "required", "items", "enum", "anyOf", "oneOf", "format", "description", "additionalProperties", "$ref", "minItems", "maxItems", "default",
            "minimum", "maximum"}


def is_type(value, name):
    if name in ("integer", "number"):
        return type(value) is int or (type(value) is float and (name == "number" or value.is_integer()))
    return isinstance(value, TYPES[name])


def resolve(spec, node):
    while isinstance(node, dict) and "$ref" in node:
        at = spec
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def check(spec, schema, value, where="body"):
    """What is wrong with value, as a list. An object may have no field that is not described."""
    schema = resolve(spec, schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            results = [check(spec, s, value, where) for s in schema[key]]
            good = results.count([])
            return [] if good == 1 or (good and key == "anyOf") else min(results, key=len) or ["%s: %d of oneOf fit" % (where, good)]
    bad = []
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_type(value, n) for n in names):
        return ["%s: %r is no %s" % (where, value, "/".join(names))]
    if "enum" in schema and value not in schema["enum"]:
        bad.append("%s: %r is none of %s" % (where, value, schema["enum"]))
    if schema.get("format") == "date-time" and isinstance(value, str) and not RFC3339.match(value):
        bad.append("%s: %r is no time" % (where, value))
    for limit, over in (("minimum", lambda a, b: a < b), ("maximum", lambda a, b: a > b)):
        if limit in schema and isinstance(value, (int, float)) and over(value, schema[limit]):
            bad.append("%s: %r is beyond the %s" % (where, value, limit))
    if isinstance(value, list) and not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        bad.append("%s: %d elements" % (where, len(value)))
    if isinstance(value, list) and "items" in schema:
        for i, v in enumerate(value):
            bad += check(spec, schema["items"], v, "%s[%d]" % (where, i))
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", False)
        bad += ["%s: no '%s'" % (where, k) for k in schema.get("required", []) if k not in value]
        for k, v in value.items():
            if k in known:
                bad += check(spec, known[k], v, where + "." + k)
            elif isinstance(more, dict):
                bad += check(spec, more, v, where + "." + k)
            elif not more:
                bad.append("%s: '%s' is not described" % (where, k))
    return bad


def test_checker():
    """The checker itself must be able to fail."""
    spec = {"components": {"schemas": {"A": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "t": {"type": "string", "format": "date-time"}}}}}}
    ref = {"$ref": "#/components/schemas/A"}
    cases = [(ref, {"a": 1}, 0), (ref, {}, 1), (ref, {"a": "1"}, 1), (ref, {"a": True}, 1), (ref, {"a": 1, "b": 2}, 1), (ref, [], 1), (ref, {"a": 1, "t": ""}, 1),
             ({"type": "array", "items": ref}, [{"a": 1}, {"a": 1.5}], 1), ({"enum": ["x"]}, "y", 1), ({"anyOf": [ref, {"type": "null"}]}, None, 0),
             ({"anyOf": [ref, {"type": "null"}]}, {"z": 1}, 2), ({"type": "object", "additionalProperties": True}, {"q": 1}, 0),
             ({"type": "object", "additionalProperties": {"type": "string"}}, {"q": 1}, 1), ({"type": "number"}, 1.5, 0), ({"type": "number"}, True, 1)]
    for schema, value, want in cases:
        got = check(spec, schema, value)
        tap.ok(bool(got) == bool(want), "checker: %r against %s: %s" % (value, json.dumps(schema)[:60], got or "fits"))


# ---- is the description well-formed? ------------------------------------------------------------------------------

def schema_faults(spec, schema, where):
    if not isinstance(schema, dict):
        return ["%s is no schema" % where]
    bad = ["%s: keyword '%s'" % (where, k) for k in schema if k not in KEYWORDS]
    if "$ref" in schema:
        try:
            resolve(spec, schema)
        except (KeyError, TypeError):
            return ["%s: %s is not there" % (where, schema["$ref"])]
        return bad
    names = schema.get("type", [])
    bad += ["%s: type %s" % (where, n) for n in ([names] if isinstance(names, str) else names) if n not in TYPES and n not in ("integer", "number")]
    for k, s in schema.get("properties", {}).items():
        bad += schema_faults(spec, s, where + "." + k)
    bad += ["%s: required '%s' is not among the properties" % (where, k) for k in schema.get("required", []) if k not in schema.get("properties", {})]
    if "items" in schema:
        bad += schema_faults(spec, schema["items"], where + "[]")
    for s in schema.get("anyOf", []) + schema.get("oneOf", []):
        bad += schema_faults(spec, s, where + "|")
    if isinstance(schema.get("additionalProperties"), dict):
        bad += schema_faults(spec, schema["additionalProperties"], where + ".*")
    return bad


def content_faults(spec, holder, where):
    bad = []
    for kind, media in holder.get("content", {}).items():
        bad += [] if re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind) else ["%s: type '%s'" % (where, kind)]
        bad += schema_faults(spec, media.get("schema"), where + " " + kind)
    return bad


def parameter_faults(spec, path, op, where):
    params = [resolve(spec, p) for p in op.get("parameters", [])]
    bad = []
    for p in params:
        if p.get("in") not in ("path", "query", "header") or not p.get("name"):
            bad.append("%s: parameter %s" % (where, p))
            continue
        if p["in"] == "path" and p.get("required") is not True:
            bad.append("%s: path parameter '%s' must be required" % (where, p["name"]))
        bad += schema_faults(spec, p.get("schema"), where + " ?" + p["name"])
    names = [(p["in"], p["name"]) for p in params if "in" in p]
    bad += ["%s: a parameter twice" % where] if len(names) != len(set(names)) else []
    if sorted(re.findall(r"\{(\w+)\}", path)) != sorted(n for i, n in names if i == "path"):
        bad.append("%s: the parameters of the path are not those described" % where)
    return bad


def operation_faults(spec, path, method, op):
    where = "%s %s" % (method.upper(), path)
    bad = parameter_faults(spec, path, op, where)
    bad += [] if method in METHODS and re.fullmatch(r"\w+", op.get("operationId", "")) and op.get("summary") else ["%s: operation" % where]
    if not op.get("responses"):
        bad.append("%s: no responses" % where)
    for status, answer in op.get("responses", {}).items():
        answer = resolve(spec, answer)
        bad += [] if re.fullmatch(r"[1-5]\d\d|default", status) and answer.get("description") else ["%s: response %s" % (where, status)]
        bad += content_faults(spec, answer, "%s %s" % (where, status))
    if "requestBody" in op:
        bad += content_faults(spec, op["requestBody"], where + " body")
        bad += [] if op["requestBody"].get("content") else ["%s: a body without content" % where]
    for need in op.get("security", []):
        bad += ["%s: security '%s'" % (where, k) for k in need if k not in spec["components"]["securitySchemes"]]
    return bad


def operations(spec):
    """(path, method, operation with the parameters of its path) of the whole description."""
    for path, item in spec["paths"].items():
        for method, op in item.items():
            if method in METHODS:
                yield path, method, dict(op, parameters=item.get("parameters", []) + op.get("parameters", []))


def faults(spec):
    bad = [] if re.fullmatch(r"3\.1\.\d+", spec.get("openapi", "")) else ["openapi is not 3.1.x"]
    bad += [] if all(isinstance(spec.get("info", {}).get(k), str) for k in ("title", "version")) else ["info"]
    bad += ["'%s' is no key of a description" % k for k in spec if k not in ("openapi", "info", "servers", "security", "paths", "components", "tags")]
    seen, shapes = set(), set()
    for path, item in spec["paths"].items():
        shape = re.sub(r"\{\w+\}", "{}", path)
        bad += [] if path.startswith("/") and shape not in shapes else ["%s: twice or no path" % path]
        shapes.add(shape)
        bad += ["%s: '%s' is no method" % (path, k) for k in item if k not in METHODS and k not in ("parameters", "summary", "description")]
    for path, method, op in operations(spec):
        bad += operation_faults(spec, path, method, op)
        bad += ["operationId %s twice" % op.get("operationId")] if op.get("operationId") in seen else []
        seen.add(op.get("operationId"))
    for name, schema in spec["components"]["schemas"].items():
        bad += schema_faults(spec, schema, name)
    used = set(re.findall(r"#/components/([\w/]+)", json.dumps(spec)))
    there = {"%s/%s" % (kind, n) for kind in ("schemas", "responses", "parameters") for n in spec["components"].get(kind, {})}
    return bad + ["%s is not there" % u for u in used - there] + ["%s is not used" % u for u in there - used]


# ---- the walk -----------------------------------------------------------------------------------------------------

class Walk:
    def __init__(self, stack, spec):
        self.stack, self.spec = stack, spec
        self.api = Api(stack.tcp, stack.token)
        self.ops, self.seen = {}, {}
        for path, method, op in operations(spec):
            self.ops[op["operationId"]] = (method.upper(), path, op)
            self.seen[op["operationId"]] = set()

    def judge(self, name, status, headers, body, streamed=False):
        """Holds one answer against the description."""
        method, path, op = self.ops[name]
        self.seen[name].add(str(status))
        answer = op["responses"].get(str(status))
        if answer is None:
            return ["status %d is not described: %r" % (status, body[:200])]
        content = resolve(self.spec, answer).get("content", {})
        if method == "HEAD" or status == 101:
            return []
        if not content:
            return ["a body that is not described: %r" % body[:100]] if body else []
        kind = headers.get("content-type", "").split(";")[0]
        if kind not in content:
            return ["type '%s' is not described" % kind]
        schema = content[kind]["schema"]
        if kind == "application/json":
            return check(self.spec, schema, json.loads(body))
        if kind == "application/x-ndjson":
            return [b for line in body.split(b"\n") if line for b in check(self.spec, schema, json.loads(line))]
        return []

    def target(self, name, values, words):
        method, path, op = self.ops[name]
        return method, query(re.sub(r"\{(\w+)\}", lambda m: values[m.group(1)], path), **words)

    def call(self, name, want, values=None, body=None, api=None, headers=None, **words):
        """One request; its JSON (or bytes). A line of TAP says whether status and fields are as described."""
        method, target = self.target(name, dict(DEFAULTS, **(values or {})), words)
        if self.ops[name][2]["responses"].get("101") and want == 101:
            return self.upgrade(name, target, headers)
        status, heads, data = (api or self.api).call(method, target, body, headers)
        bad = self.judge(name, status, heads, data)
        if isinstance(body, dict) and want < 400:
            bad += check(self.spec, self.ops[name][2]["requestBody"]["content"]["application/json"]["schema"], body, "request")
        if status != want:
            bad.insert(0, "status %d, not %s: %r" % (status, want, data[:200]))
        tap.ok(not bad, "%s: %s %s %s: %s" % (name, method, target[:70], status, "; ".join(bad)[:500] or "as described"))
        return json.loads(data) if heads.get("content-type") == "application/json" and data else data

    def upgrade(self, name, target, headers):
        with self.api.conn() as conn:
            ws = WebSocket(conn, target, self.api.headers(headers))
            bad = self.judge(name, ws.reply.status, ws.reply.headers, b"")
            tap.ok(ws.reply.status == 101 and not bad, "%s: %d %s" % (name, ws.reply.status, bad))

    def refusal(self, name, api, what, values=None, words=None, body=None, headers=None, wanted=None):
        """Any refusal will do (or exactly `wanted`), as long as it is described."""
        method, target = self.target(name, dict(DEFAULTS, **(values or {})), words or {})
        status, heads, data = api.call(method, target, body, headers)
        bad = self.judge(name, status, heads, data)
        if status < 400 or (wanted and status != wanted):
            bad.insert(0, "status %d: %r" % (status, data[:100]))
        tap.ok(not bad, "%s %s: %d: %s" % (name, what, status, "; ".join(bad)[:500] or "as described"))
        return status

    def needed(self, name):
        """The parameters without which the request would be refused for another reason."""
        given = {p["name"]: p for p in (resolve(self.spec, p) for p in self.ops[name][2].get("parameters", [])) if p.get("required")}
        words = {n: EXAMPLES[n] for n, p in given.items() if p["in"] == "query"}
        headers = {n: EXAMPLES[n] for n, p in given.items() if p["in"] == "header"}
        if "101" in self.ops[name][2]["responses"]:
            headers.update({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"})
        return words, headers


EXAMPLES = {"cmd": "true", "path": "/etc/passwd", "paths": "/tmp", "X-Inlets-Upstream": "127.0.0.1:1"}
DEFAULTS = {"h": "demo-1", "group": "demo", "node": "demo-1", "id": "ex_00000000", "name": "no-such", "image": "no-such"}
BODIES = {"growDisk": {"size": "1M"}, "mkdir": {"path": "/tmp"}, "createNode": {}, "createSecret": {"name": "refused", "data": "eA=="}, "createToken": {"name": "refused", "scopes": ["read"]},
          "patchTags": {"add": ["a"]}, "patchNetChaos": {"delay_us": 1000}, "createGroup": {"name": "refused"}, "changeGroup": {"vcpu": 1}, "createBuilder": {"size": "16M"}, "nameImage": {"add": "x"}, "keepImage": {}, "putNetPolicy": {"reset": True}, "putGroupPolicy": {"reset": True}, "explainNet": {"target": "192.0.2.1"}}
# How each operation is asked wrongly: parameters, body.
WRONG = {"listNodes": ({"tag": "a", "tag_prefix": "b"}, None), "listGroupNodes": ({"tag": "a", "tag_prefix": "b"}, None), "createNode": ({}, {"cpus": 99}),
         "patchTags": ({}, {"add": ["a"], "replace": ["b"]}), "logs": ({"lines": "x"}, None), "shutdown": ({"action": "explode"}, None),
         "commit": ({}, {"tags": 1}), "forkCommit": ({"wait": "moon"}, {}), "relaunch": ({"wait": "moon"}, None), "exec": ({"cmd": ""}, None), "listBackground": None, "backgroundInfo": None, "backgroundReap": None,
         "backgroundLogs": ({"from_id": "x"}, None), "backgroundKill": ({}, {"signal": "NOPE"}), "backgroundWait": ({"timeout": "601"}, None),
         "copyOut": ({"path": "/etc/passwd", "mode": "zip"}, None), "copyIn": ({"path": "/tmp/x", "mode": "zip"}, b"x"), "readdir": ({}, None), "stat": ({}, None),
         "mkdir": ({}, {}), "remove": ({}, None), "watch": ({"paths": "/tmp", "debounce": "x"}, None), "shell": ({"uid": "x"}, None), "forward": ({}, None),
         "createSecret": ({}, {"name": "../x", "data": "eA=="}), "patchSecret": ({}, {"data": "?"}), "createToken": ({}, {"name": "x", "scopes": ["fly"]}),
         "createGroup": ({}, {"name": "UPPER CASE"}), "createBuilder": ({}, {"size": "1"}), "growDisk": ({}, {"size": "-3G"})}


def groups_and_vms(w):
    w.call("healthz", 200)
    w.call("healthzHead", 200)
    w.call("info", 200)
    w.call("openapi", 200)
    w.call("metrics", 200)
    w.call("listGroups", 200)
    if "createGroup" in w.ops:
        w.call("createGroup", 201, body={"name": "made", "vcpu": 1, "ram_mb": 64, "storage_size": "4M", "network": {"bridge": "brmade", "gateway": "10.77.9.1/24"}})
        w.call("createGroup", 409, body={"name": "made", "vcpu": 1, "ram_mb": 64, "storage_size": "4M"})
        w.call("changeGroup", 200, {"group": "made"}, {"vcpu": 2})
        w.call("changeGroup", 400, {"group": "made"}, {"vcpu": -1})
        w.call("changeGroup", 409, {"group": "demo"}, {"vcpu": 1})
        w.call("listGroups", 200)
        w.call("deleteGroup", 200, {"group": "made"})
        w.call("deleteGroup", 409, {"group": "demo"})
    w.call("createNode", 201, body={"cpus": 1, "tags": ["job=7"], "persistent": True, "userdata": "#!/bin/sh\nexit 0\n"}, wait="userdata", timeout="60s")
    w.call("createNode", 408, body={"cpus": 1}, wait="agent", timeout="1ms")
    w.call("createNode", 413, body=b" " * ((1 << 20) + 1))
    w.call("listNodes", 200)
    w.call("listGroupNodes", 200, tag="job=7")
    w.call("describe", 200)
    w.call("statsAll", 200)
    w.call("statsOne", 200)
    w.call("getTags", 200)
    w.call("patchTags", 200, body={"add": ["x=1"]})
    w.call("logs", 200, lines=5)
    w.call("health", 200)
    w.call("healthHead", 200)


def plain_reads(w):
    """What can be asked without a body or a word: also what is added to the description later."""
    for name, (method, path, op) in w.ops.items():
        words, headers = w.needed(name)
        if method == "GET" and name not in ISOLATED and name != "exportDisk" and not words and not headers and set(re.findall(r"\{(\w+)\}", path)) <= {"h", "group"} and "200" in op["responses"]:
            w.call(name, 200)


def commands(w):
    w.call("exec", 200, cmd="/bin/sh", args=["-c", "echo a; echo b >&2; exit 3"])
    w.call("exec", 200, cmd="/bin/sh", args=["-c", "kill -KILL $$"], stdio="base64")
    w.call("exec", 200, cmd="/bin/sh", args=["-c", "echo a"], buffered=True)
    w.call("exec", 200, body=b"abc", cmd="cat", stdin=True)
    w.call("exec", 413, cmd="head", args=["-c", "70000000", "/dev/zero"], buffered=True)
    started = w.call("exec", 201, cmd="/bin/sh", args=["-c", "echo out; sleep 600"], background=True, stdio="base64")
    one = {"id": started["exec_id"]}
    w.call("listBackground", 200)
    w.call("backgroundInfo", 200, one)
    w.call("backgroundReap", 409, one)
    w.call("backgroundWait", 200, one, timeout=0)
    w.call("backgroundLogs", 200, one)
    w.call("describe", 200)
    for wrong in ("backgroundLogs", "backgroundKill", "backgroundWait"):
        w.call(wrong, 400, one, WRONG[wrong][1], **WRONG[wrong][0])
    w.call("backgroundKill", 200, one, {"signal": "TERM", "grace_ms": 1000})
    w.call("backgroundWait", 200, one, timeout=10)
    w.call("backgroundInfo", 200, one)
    w.call("backgroundLogs", 200, one)
    loud = {"id": w.call("exec", 201, cmd="/bin/sh", args=["-c", "i=0; while [ $i -lt 500 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"], background=True,
                         ring_bytes=4096)["exec_id"]}
    w.call("backgroundWait", 200, loud, timeout=30)
    tap.ok(b'"gap"' in w.call("backgroundLogs", 200, loud), "a gap was among them")
    w.call("backgroundReap", 200, one)
    for name in ("backgroundInfo", "backgroundReap", "backgroundLogs", "backgroundWait", "backgroundKill"):
        w.call(name, 410, one)


def files(w):
    d = w.stack.dir + "/files"
    os.mkdir(d)
    os.chmod(d, 0o777)
    w.call("mkdir", 200, body={"path": d + "/m", "mode": "0755"})
    w.call("mkdir", 409, body={"path": d + "/m"})
    w.call("mkdir", 404, body={"path": d + "/no/deep"})
    w.call("copyIn", 200, body=b"hello", path=d + "/f", uid=0)
    w.call("copyIn", 200, body=b"hello", path=d + "/m", uid=0, mode="cp-v1-binary", copy_semantics="cp-v1", source_name="g", source_type="file")
    w.call("copyOut", 200, path=d + "/f")
    w.call("copyOut", 200, path=d, mode="tar")
    w.call("copyOut", 200, path=d, mode="cp-v1-recursive", copy_semantics="cp-v1")
    w.call("copyOut", 404, path=d + "/nope")
    os.mkdir(w.stack.dir + "/closed", 0o700)
    w.call("copyIn", 403, body=b"x", path=w.stack.dir + "/closed/x")
    w.call("readdir", 200, path=d)
    w.call("readdir", 404, path=d + "/nope")
    w.call("stat", 200, path=d + "/f")
    w.call("stat", 404, path=d + "/nope")
    w.call("remove", 409, path=d + "/m")
    w.call("remove", 200, path=d + "/m", recursive=True)
    w.call("remove", 404, path=d + "/m")
    method, target = w.target("watch", DEFAULTS, {"paths": d, "max_events": 1})
    with w.api.conn() as conn:
        reply = conn.call(method, target, w.api.headers())
        os.mkdir(d + "/new")
        text = reply.read()
        tap.ok(not w.judge("watch", reply.status, reply.headers, text), "watch: %d" % reply.status)
        event = json.loads(next(line[6:] for line in text.decode().split("\n") if line.startswith("data: ")))
        bad = check(w.spec, {"$ref": "#/components/schemas/WatchEvent"}, event)
        tap.ok(not bad, "an event is as described: %s" % (bad or event))


def sockets(w):
    w.call("shell", 101, shell="/bin/sh")
    w.refusal("shell", w.api, "without an upgrade", wanted=426)
    w.refusal("forward", w.api, "without an upgrade", headers={"X-Inlets-Upstream": "127.0.0.1:1"}, wanted=426)
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        w.call("forward", 101, headers={"X-Inlets-Upstream": "127.0.0.1:%d" % server.getsockname()[1]})


ISOLATED = {"getGroupPolicy", "putGroupPolicy", "getNetLog", "getNetPolicy", "putNetPolicy", "explainNet"}


def isolated(w):
    if not ISOLATED <= set(w.ops):
        return
    one = {"h": w.call("createNode", 201, {"group": "iso"}, {"cpus": 1}, wait="agent", timeout="60s")["hostname"]}
    w.call("describe", 200, one)
    w.call("getNetPolicy", 200, one)
    w.call("putNetPolicy", 200, one, {"allow": ["example.com:443"], "drop": ["203.0.113.0/24"]})
    w.call("putNetPolicy", 400, one, {"allow": ["?"]})
    w.call("explainNet", 200, one, {"target": "https://example.com/x"})
    w.call("explainNet", 200, one, {"target": "192.0.2.1:80"})
    w.call("explainNet", 400, one, {})
    tap.ok(b'"gap"' in w.call("getNetLog", 200, one), "the record was read")
    w.call("getNetLog", 200, one, lines=1)
    w.call("getNetLog", 400, one, lines="x")
    bare = {"h": w.call("createNode", 201, {"group": "none"}, {}, wait="agent", timeout="60s")["hostname"]}
    for name in ("getNetPolicy", "putNetPolicy", "explainNet"):
        w.call(name, 409, bare, BODIES.get(name))
    w.call("deleteNode", 200, {"group": "none", "node": bare["h"]})
    w.call("getNetLog", 404)
    group = {"group": "iso"}
    tap.ok(w.call("getGroupPolicy", 200, group)["source"] == "yaml", "the file's rules")
    tap.ok(w.call("putGroupPolicy", 200, group, {"drop": ["203.0.113.0/24"]}) == {"name": "iso", "mode": "isolated", "source": "api", "allow": ["192.0.2.0/24"],
           "drop": ["203.0.113.0/24"]}, "one list of a group is replaced")
    w.call("putGroupPolicy", 400, group, {"allow": ["?"]})
    tap.ok(w.call("putGroupPolicy", 200, group, {"reset": True})["drop"] == [], "and given back")
    for name in ("getGroupPolicy", "putGroupPolicy"):
        w.call(name, 409, {"group": "none"}, BODIES.get(name))
    w.call("deleteNode", 200, {"group": "iso", "node": one["h"]})


def network(w):
    if "patchNetChaos" in w.ops:
        w.call("patchNetChaos", 200, body={"delay_us": 1000, "loss_ppm": 5})
        w.call("patchNetChaos", 400, body={"delay_us": -1})
        tap.ok(w.call("describe", 200) and w.call("getNetChaos", 200)["delay_us"] == 1000, "it is kept")
        w.call("getNetStats", 200)
        w.call("healNet", 200)


def disks(w):
    w.call("growDisk", 200, body={"size": "5M"})
    w.call("growDisk", 409, body={"size": "1M"})
    w.call("growDisk", 413, body=b" " * ((1 << 20) + 1))
    w.call("exportDisk", 409)
    w.call("sparsifyDisk", 409)


def secrets_and_tokens(w):
    w.call("createSecret", 201, body={"name": "s1", "data": "czNjcmV0", "permissions": "0600", "uid": 1000, "gid": 1000})
    w.call("createSecret", 409, body={"name": "s1", "data": "czNjcmV0"})
    w.call("createSecret", 413, body=b" " * ((1 << 20) + 1))
    w.call("listSecrets", 200)
    w.call("patchSecret", 200, {"name": "s1"}, {"permissions": "0640"})
    w.call("patchSecret", 400, {"name": "s1"}, {"data": "?"})
    w.call("patchSecret", 413, {"name": "s1"}, b" " * ((1 << 20) + 1))
    w.call("deleteSecret", 200, {"name": "s1"})
    if "createToken" in w.ops:
        w.call("createToken", 201, body={"name": "once", "scopes": ["read"]})
        w.call("createToken", 409, body={"name": "once", "scopes": ["read"]})
        w.call("createToken", 201, body={"name": "team", "scopes": ["vm"], "max_vms": 2, "max_vcpus": 4, "max_ram": "8G", "max_disk": 1 << 40})
        w.call("createToken", 400, body={"name": "none", "scopes": ["vm"], "max_vms": 0})
        w.call("createToken", 413, body=b" " * ((1 << 20) + 1))
        w.call("listTokens", 200)
        w.call("revokeToken", 200, {"name": "once"})
        w.call("revokeToken", 200, {"name": "team"})
    for name in ("createGroup", "changeGroup"):
        if name in w.ops:
            w.refusal(name, w.api, "with a body that is too large", {"group": "demo"}, body=b" " * ((1 << 20) + 1), wanted=413)


def images(w):
    if "createBuilder" not in w.ops:
        return
    big = b" " * ((1 << 20) + 1)
    builder = w.call("createBuilder", 201, body={"size": "16M"})["hostname"]
    w.call("createBuilder", 404, body={"size": "16M", "from": "no-such"})
    w.call("createBuilder", 404, body={"size": "16M", "network": "no-such"})
    w.call("createBuilder", 413, body=big)
    w.call("keepImage", 409)
    w.call("keepImage", 400, {"h": builder}, {"names": ["no name!"]})
    w.call("keepImage", 413, {"h": builder}, big)
    w.call("keepImage", 400, {"h": builder}, {"go_on": 1})
    copy = {"image": w.call("keepImage", 201, {"h": builder}, {"names": ["walk-copy:1"], "go_on": True})["id"]}
    w.call("deleteImage", 200, copy)
    image = {"image": w.call("keepImage", 201, {"h": builder}, {"names": ["walk:1"]})["id"]}
    w.call("listImages", 200)
    w.call("getImage", 200, image)
    tap.ok(len(w.call("exportImage", 200, image)) == 16 << 20, "a whole image")
    w.call("nameImage", 200, image, {"add": "walk:2"})
    w.call("nameImage", 400, image, {"add": "no name!"})
    w.call("nameImage", 413, image, big)
    w.call("createGroup", 201, body={"name": "over", "vcpu": 1, "ram_mb": 64, "storage_size": "16M", "image": "walk:1", "network": {"mode": "none"}})
    w.call("deleteImage", 409, image)
    w.call("deleteGroup", 200, {"group": "over"})
    w.call("deleteImage", 200, image)


def commits(w):
    big = b" " * ((1 << 20) + 1)
    vm = w.call("createNode", 201, {"group": "demo"}, {"persistent": True}, wait="agent", timeout="60s")["hostname"]
    w.call("commit", 409, {"h": vm})
    w.call("shutdown", 200, {"h": vm})
    w.call("commit", 413, {"h": vm}, big)
    made = w.call("commit", 200, {"h": vm}, {"tags": ["golden"], "labels": {"a": "b"}, "cache_key": "walk"})
    ident = {"id": made["commit_id"]}
    tap.ok(made["labels"] == {"a": "b"} and made["tags"] == ["golden"], "its words come back")
    tap.ok([c["commit_id"] for c in w.call("listCommits", 200, cache_key="walk")] == [ident["id"]] and w.call("listCommits", 200, tag="no") == [], "commits by their words")
    w.call("deleteCommit", 409, ident)
    w.call("forkCommit", 413, ident, big)
    w.call("forkCommit", 408, ident, {}, wait="agent", timeout="1ms")
    fork = w.call("forkCommit", 200, ident, {"tags": ["name=walker"], "tag_mode": "replace", "fixups": ["hostname", "machine-id"], "persistent": False}, wait="agent", timeout="60s")
    w.call("forkCommit", 409, ident, {"tags": ["name=walker"]})
    again = w.call("forkCommit", 200, ident, {})
    tap.ok((fork["child_status"], fork["parent_status"], fork["persistent"], again["child_status"]) == ("running", "stopped", False, "starting"), "forks: %s %s" % (fork, again))
    tap.ok(w.call("describe", 200, {"h": fork["hostname"]})["parent_commit_id"] == ident["id"] and w.call("describe", 200, {"h": vm})["commit_id"] == ident["id"],
           "and who comes from where")
    for name in (fork["hostname"], again["hostname"], vm):
        w.call("deleteNode", 200, {"group": "demo", "node": name})
    w.call("deleteCommit", 200, ident)


def without_rights(w):
    """401 everywhere but where no token is needed; 403 for whoever may not."""
    nobody = Api(w.stack.tcp)
    for name, (method, path, op) in w.ops.items():
        if op.get("security") == []:
            continue
        words, headers = w.needed(name)
        w.refusal(name, nobody, "without a token", words=words, headers=headers, body=BODIES.get(name), wanted=401)
    if "createToken" not in w.ops:
        return
    reader = Api(w.stack.tcp, w.call("createToken", 201, body={"name": "reader", "scopes": ["read"]})["token"])
    other = Api(w.stack.tcp, w.call("createToken", 201, body={"name": "other", "scopes": ["read", "vm", "exec", "files", "net"], "groups": ["fixed"]})["token"])
    for name, (method, path, op) in w.ops.items():
        scopes = [s for need in op.get("security", []) for s in need.get("bearer", [])]
        words, headers = w.needed(name)
        if scopes and scopes != ["read"]:
            w.refusal(name, reader, "with a token that may only read", words=words, headers=headers, body=BODIES.get(name), wanted=403)
        if "{h}" in path or "{group}" in path:
            w.refusal(name, other, "with a token for other groups", words=words, headers=headers, body=BODIES.get(name))
    for name in ("reader", "other"):
        w.call("revokeToken", 200, {"name": name})


def not_there(w):
    missing = {"image": "no-such", "h": "demo-999", "group": "no-such", "node": "demo-999", "name": "no-such", "id": "ex_ffffffff"}
    for name, (method, path, op) in w.ops.items():
        words, headers = w.needed(name)
        if "{" in path:
            w.refusal(name, w.api, "of what is not there", missing, words, BODIES.get(name), headers, None if "501" in op["responses"] else 404)
        if path.startswith("/vm/{h}/exec/{id}"):
            w.refusal(name, w.api, "of an unknown command", {"id": "ex_ffffffff"}, words, BODIES.get(name), headers, 404)


def wrongly_asked(w):
    for name, wrong in WRONG.items():
        if name in w.ops and wrong is not None and not name.startswith("background"):
            headers = w.needed(name)[1] if name == "shell" else {k: v for k, v in w.needed(name)[1].items() if k != "X-Inlets-Upstream"}
            w.refusal(name, w.api, "asked wrongly", words=wrong[0], body=wrong[1], headers=headers, wanted=400)


def power(w):
    w.call("pause", 200)
    for name, (method, path, op) in w.ops.items():
        if "409" in op["responses"] and path.startswith("/vm/{h}/") and "/net/" not in path and name not in ("pause", "resume", "relaunch", "shutdown"):
            words, headers = w.needed(name)
            w.refusal(name, w.api, "of a paused VM", words=words, headers=headers, body=BODIES.get(name), wanted=409)
    w.call("pause", 200)
    w.call("resume", 200)
    w.call("relaunch", 409)
    w.call("shutdown", 200, action="shutdown")
    w.call("growDisk", 200, body={"size": 6 << 20})
    tap.ok(len(w.call("exportDisk", 200)) == 6 << 20, "a whole disk")
    for _ in range(100): # the export's child may still be seen to end
        if w.api.call("POST", "/vm/demo-1/disk/sparsify")[0] == 200:
            break
        time.sleep(0.05)
    w.call("sparsifyDisk", 200)
    for name in ("pause", "resume", "getNetChaos", "patchNetChaos", "healNet", "getNetStats"):
        if name in w.ops:
            w.call(name, 409, body=BODIES.get(name))
    w.call("shutdown", 200)
    w.call("relaunch", 408, wait="agent", timeout="1ms")
    w.call("shutdown", 200)
    w.call("relaunch", 200, wait="agent", timeout="60s")
    w.call("statsAll", 200)
    for name in ("suspend", "restore"):
        if name in w.ops:
            w.refusal(name, w.api, "as offered", {"id": "cmt-none"})
    w.call("deleteNode", 403, {"group": "fixed", "node": "fixed-1"})
    w.call("deleteNode", 200)


def ending(w):
    w.call("daemonShutdown", 202)


def what_was_seen(w):
    for name, (method, path, op) in w.ops.items():
        left = sorted(set(op["responses"]) - w.seen[name] - NOT_HERE - NOT_HERE_OF.get(name, set()))
        tap.ok(not left, "%s %s: every described status was seen%s" % (method, path, "; not %s" % left if left else ""))


def same_routes(spec, front):
    rows = [line.split() for line in subprocess.run([front, "--routes"], capture_output=True, text=True, check=True).stdout.splitlines()]
    served = {(r[0], r[1]): r[2] if len(r) > 2 else None for r in rows}
    there = {}
    for path, method, op in operations(spec):
        need = op.get("security", spec.get("security"))
        there[method.upper(), re.sub(r"\{\w+\}", "{}", path)] = "open" if need == [] else next(iter(need[0].get("bearer", [])), None)
    tap.ok(len(served) > 40, "%d routes" % len(served))
    tap.ok(not set(served) - set(there), "every route is described; missing: %s" % sorted(set(served) - set(there)))
    tap.ok(not set(there) - set(served), "nothing else is described; too many: %s" % sorted(set(there) - set(served)))
    odd = sorted((k, served[k], there[k]) for k in set(served) & set(there) if served[k] and served[k] != there[k])
    tap.ok(not odd, "scopes are those described: %s" % odd)


def main():
    test_checker()
    stack = Stack(sys.argv[1], sys.argv[2])
    try:
        status, headers, body = Api(stack.unix).call("GET", "/openapi.json")
        tap.ok(status == 200 and headers["content-type"] == "application/json", "served, %d bytes" % len(body))
        spec = json.loads(body)
        bad = faults(spec)
        tap.ok(not bad, "well-formed OpenAPI 3.1: %s" % bad[:20])
        same_routes(spec, os.path.join(sys.argv[1], "front"))
        w = Walk(stack, spec)
        for part in (groups_and_vms, plain_reads, commands, files, sockets, network, isolated, disks, images, commits, secrets_and_tokens, without_rights, not_there, wrongly_asked, power, ending):
            try:
                part(w)
            except Exception:
                tap.ok(False, part.__name__)
                print("# " + traceback.format_exc(limit=4).replace("\n", "\n# "), flush=True)
        what_was_seen(w)
    finally:
        stack.close()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
