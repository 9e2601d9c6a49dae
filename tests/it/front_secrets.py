#!/usr/bin/env python3
"""front_secrets.py FRONT AGENT: /secrets and /metrics of the real front, with a stand-in for core (fakecore.py). TAP on stdout."""
import base64
import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api  # noqa: E402
import fakecore  # noqa: E402
from fakecore import CREATE, ITEM, Refused, Rig, T  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()
LIST, PUT, PATCH, DELETE, METRICS = range(48, 53)
MORE = """DATA SIZE PERM UID GID MODIFIED_NS SECRETS_SET BY_API CODE LOAD_1 LOAD_5 LOAD_15 MEM_TOTAL MEM_AVAILABLE OPEN_FILES OPEN_SOCKETS
 EGRESS_TX EGRESS_RX""".split()
for at, name in enumerate(MORE):
    T[name] = T["GPU_COUNT"] + 1 + at
NS = 1788256800123456789
TIME = "2026-09-01T10:00:00.123456789Z"


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


class Core(fakecore.FakeCore):
    def answer(self, m):
        secrets = self.__dict__.setdefault("secrets", {})
        name = m.text(T["NAME"]) if m.kind in (PUT, PATCH, DELETE) else None
        if m.kind == LIST:
            for n in secrets:
                self.chan.send(ITEM, self.secret(n), ident=m.id)
            return [], []
        if m.kind == PUT and name in secrets:
            raise Refused(409, "there is one")
        if m.kind in (PATCH, DELETE) and name not in secrets:
            raise Refused(404, "no such secret")
        if m.kind == DELETE:
            del secrets[name]
            return [(T["TEXT"], "gone")], []
        if m.kind in (PUT, PATCH):
            s = secrets.setdefault(name, dict(PERM=0o600, UID=0, GID=0, DATA=b""))
            s.update({k: m.num(T[k]) for k in ("PERM", "UID", "GID") if m.num(T[k]) is not None})
            s["DATA"] = m.get(T["DATA"]) or s["DATA"]
            return self.secret(name), []
        if m.kind == METRICS:
            for group in ("demo", 'o"dd\\'):
                self.chan.send(ITEM, [(T["GROUP"], group), (T["GPU_COUNT"], 0)], ident=m.id)
            for api, state, n in ((0, "Running", 2), (1, "Paused", 1)):
                self.chan.send(ITEM, [(T["GROUP"], "demo"), (T["BY_API"], api), (T["STATUS"], state), (T["COUNT"], n)], ident=m.id)
            self.chan.send(ITEM, [(T["GROUP"], "demo"), (T["CODE"], 201), (T["COUNT"], 7)], ident=m.id)
            return [(T["LOAD_1"], 105), (T["LOAD_5"], 7), (T["LOAD_15"], 0), (T["MEM_TOTAL"], 1 << 34), (T["MEM_AVAILABLE"], 1 << 33),
                    (T["OPEN_FILES"], 3), (T["OPEN_SOCKETS"], 4), (T["EGRESS_TX"], 5)], []
        return super().answer(m)

    def secret(self, name):
        s = self.secrets[name]
        return [(T["NAME"], name), (T["SIZE"], len(s["DATA"])), (T["MODIFIED_NS"], NS)] + [(T[k], s[k]) for k in ("PERM", "UID", "GID")]


fakecore.FakeCore = Core


def b64(data):
    return base64.b64encode(data).decode()


def case_refused(rig):
    good = {"name": "a", "data": "eA=="}
    for body in (b"{", b"[]", {}, {"name": "a"}, {"data": "eA=="}, dict(good, name=7), dict(good, data=7), dict(good, data=None), dict(good, data="eA="),
                 dict(good, data="e!=="), dict(good, data="eA==\n"), dict(good, data="eB=="), dict(good, permissions="0800"), dict(good, permissions=384),
                 dict(good, permissions="rw"), dict(good, uid=-1), dict(good, uid=1 << 32), dict(good, gid="1000"), dict(good, uid=1.5), dict(good, name="a\0b")):
        status, headers, text = rig.api.call("POST", "/secrets", body)
        same((status, headers.get("content-type")), (400, "application/json"), "POST %r: 400" % (body if len(body) < 100 else "…",))
        tap.ok(json.loads(text)["error"] and b"eA" not in text, "… with a sentence that shows no data")
    same(rig.api.call("POST", "/secrets", dict(good, data=b64(b"x" * 32769)))[0], 413, "too large: 413")
    same(rig.api.call("POST", "/secrets", b" " * (1 << 20) + b"{}")[0], 413, "a body over 1 MiB: 413")
    for method in ("PATCH", "DELETE"):
        for name in ("nosuch", "x" * 65, "..%2f..%2flock", "%2e%2e"):
            same(rig.api.call(method, "/secrets/" + name, {} if method == "PATCH" else None)[0], 404, "%s %s: 404" % (method, name[:20]))
    same(rig.api.call("PATCH", "/secrets/a", {"data": "!"})[0], 400, "PATCH with bad data: 400")
    for method, path in (("GET", "/secrets"), ("POST", "/secrets"), ("PATCH", "/secrets/a"), ("DELETE", "/secrets/a")):
        same(Api(rig.tcp_address).call(method, path)[0], 401, "%s %s without a token: 401" % (method, path))
    same((rig.api.call("PUT", "/secrets/a")[0], rig.api.call("GET", "/secrets/a")[0]), (405, 405), "no other methods")
    same(rig.api.get("/secrets"), [], "and nothing is kept")


def case_secrets(rig):
    api = rig.api
    status, _, body = api.call("POST", "/secrets", {"name": "api-key", "data": "czNjcmV0", "permissions": "0640", "uid": 1000, "gid": 1001})
    one = {"name": "api-key", "size": 6, "permissions": "0640", "uid": 1000, "gid": 1001, "modified_at": TIME, "mod_time": TIME}
    same((status, json.loads(body)), (201, one), "created: 201")
    same(rig.core.secrets["api-key"]["DATA"], b"s3cret", "core got the bytes")
    same(api.call("POST", "/secrets", {"name": "api-key", "data": "eA=="})[0], 409, "twice: 409")
    same(api.call("PATCH", "/secrets/api-key", {"data": "", "permissions": "0400", "uid": 4294967295})[0], 200, "changed: 200")
    asked = rig.core.asked[-1]
    same((asked.get(T["DATA"]), asked.num(T["PERM"]), asked.num(T["UID"])), (None, 0o400, None), "empty data is none, nor is 'no user' a user")
    same(api.call("PATCH", "/secrets/api-key", {"data": b64(b"\0\xff" * 16384)})[0], 200, "the largest")
    same(rig.core.secrets["api-key"]["DATA"], b"\0\xff" * 16384, "… whole")
    status, _, text = api.call("GET", "/secrets")
    same((status, json.loads(text)), (200, [dict(one, size=32768, permissions="0400")]), "listed, without data")
    api.call("POST", "/secrets", {"name": "empty", "data": ""})
    same(rig.core.secrets["empty"]["DATA"], b"", "an empty one")
    same(api.call("DELETE", "/secrets/empty")[0], 200, "deleted: 200")
    same(api.call("DELETE", "/secrets/empty")[0], 404, "twice: 404")


def case_create(rig):
    for body, names, given in (({}, [], None), ({"secrets": None}, [], None), ({"secrets": []}, [], 1), ({"secrets": ["a", "b"]}, ["a", "b"], 1)):
        rig.api.call("POST", "/hostgroup/demo/nodes", body)
        asked = next(m for m in reversed(rig.core.asked) if m.kind == CREATE)
        same((asked.all(T["SECRET"]), asked.num(T["SECRETS_SET"])), (names, given), "create with %r" % body)
    same(rig.api.call("POST", "/hostgroup/demo/nodes", {"secrets": "a"})[0], 400, "secrets that are no list: 400")


def case_metrics(rig):
    same(Api(rig.tcp_address).call("GET", "/metrics")[0], 401, "metrics without a token: 401")
    rig.api.call("GET", "/vm/nosuch-1")
    rig.api.call("BREW", "/info")
    status, headers, text = rig.api.call("GET", "/metrics")
    same((status, headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"), "200, Prometheus text")
    lines = text.decode().splitlines()
    for line in ('slicer_vm_gpu_count{host_group="demo"} 0', 'slicer_vm_gpu_count{host_group="o\\"dd\\\\"} 0',
                 'slicer_vm_running{host_group="demo",api="false",state="running"} 2', 'slicer_vm_running{host_group="demo",api="true",state="paused"} 1',
                 'slicer_vm_launch_total{host_group="demo",code="201"} 7', "slicer_system_load_avg_1 1.05", "slicer_system_load_avg_5 0.07",
                 "slicer_system_load_avg_15 0.00", "slicer_system_memory_total_bytes 17179869184", "slicer_system_memory_available_bytes 8589934592",
                 "slicer_system_open_files 3", "slicer_system_open_connections 4", "slicer_system_egress_tx 5"):
        tap.ok(line in lines, line)
    tap.ok("slicer_system_egress_rx" not in text.decode(), "what is not known is left out")
    names, seen = set(), []
    for line in lines:
        m = re.fullmatch(r'# (HELP|TYPE) (\w+) .+|(\w+)(\{(\w+="([^"\\]|\\.)*",?)+\})? [0-9.]+', line)
        if not tap_quiet(m, line):
            continue
        name = m.group(2) or re.sub("_(bucket|sum|count)$", "", m.group(3)) if "duration" in line else m.group(2) or m.group(3)
        if not seen or seen[-1] != name:
            seen.append(name)
        names.add(name)
    same(len(seen), len(names), "every line has the format's shape, every family stands together")
    get = {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in lines}
    total = 'slicer_api_requests_total{method="%s",code="%d"}'
    tap.ok(int(get[total % ("GET", 404)]) >= 1 and int(get[total % ("POST", 400)]) >= 10 and int(get[total % ("other", 405)]) == 1, "requests by method and code")
    buckets = [int(v) for k, v in get.items() if k.startswith('slicer_api_request_duration_seconds_bucket{method="GET",code="404"')]
    tap.ok(len(buckets) == 12 and buckets == sorted(buckets) and
           buckets[-1] == int(get[total % ("GET", 404)]) == int(get['slicer_api_request_duration_seconds_count{method="GET",code="404"}']) and
           0 < float(get['slicer_api_request_duration_seconds_sum{method="GET",code="404"}']) < 60, "a histogram of their durations: %s" % buckets)


def tap_quiet(good, line):
    return good or tap.ok(False, line)


def main():
    rig = Rig(sys.argv[1], sys.argv[2])
    rig.api = Api(rig.api_sock)
    for case in [f for name, f in globals().items() if name.startswith("case_")]:
        print("# " + case.__name__, flush=True)
        case(rig)
    same(rig.close(), 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
