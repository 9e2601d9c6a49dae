"""Everything of contract 1.3 to 1.6 that is no exec, copy or shell."""
import json
import re
import time

from client import query, wait_for
from world import Skip, limit, must, same

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")


def case_info(env):
    """GET /info and /healthz"""
    info = env.api.get("/info")
    same((info["platform"], info["arch"]), ("linux", "amd64"))
    must(info["version"] and "git_commit" in info, info)
    same(env.api.call("GET", "/healthz")[0], 200)
    status, _, body = env.api.call("HEAD", "/healthz")
    same((status, body), (200, b""))


def case_hostgroup(env):
    """GET /hostgroup"""
    groups = env.api.get("/hostgroup")
    same([(g["name"], g["count"], g["ram_bytes"], g["cpus"], g["arch"]) for g in groups], [("it", 0, 128 << 20, 2, "x86_64")])


def case_empty_lists(env):
    """no VM yet: [] and not null; nodes of an unknown group: 404"""
    if not env.vms:
        same(env.api.get("/nodes"), [])
        same(env.api.get("/hostgroup/it/nodes"), [])
    same(env.api.call("GET", "/hostgroup/nope/nodes")[0], 404)


@limit(120)
def case_create_and_health(env):
    """create without wait answers at once; health is no 2xx until the agent answers; then uptimes in ns"""
    begin = time.monotonic()
    status, _, body = env.api.call("POST", "/hostgroup/it/nodes", {"tags": ["job=7", "owner=a b"], "cpus": 1, "ram_bytes": 128 << 20, "github_user": "x"})
    took = time.monotonic() - begin
    must(status in (200, 201), status, body)
    made = json.loads(body)
    name = made["hostname"]
    first = env.api.call("GET", "/vm/%s/health" % name)[0]
    must(first >= 400 or took > 0.4, "health right after create was", first)
    must(re.match(r"^it-\d+$", name), name)
    must(re.match(r"^10\.99\.1\.\d+/24$", made["ip"]), made)
    must(RFC3339.match(made["created_at"]), made)
    same((made["hostgroup"], made["persistent"], made["tags"]), ("it", False, ["job=7", "owner=a b"]))
    ready = wait_for(lambda: env.api.call("GET", "/vm/%s/health" % name)[0] == 200, 60 * env.patience, 0.2)
    must(ready, "health never became 200")
    health = env.api.get("/vm/%s/health" % name)
    must(health["agent_uptime"] > 0 and health["system_uptime"] > health["agent_uptime"] // 100, health)
    must(health["agent_version"] and health["userdata_ran"] in (True, False), health)
    must(health["system_uptime"] > 10_000_000, "uptime in ns", health)
    status, _, body = env.api.call("HEAD", "/vm/%s/health" % name)
    same((status, body), (200, b""))
    env.vms.setdefault(1, name)


def case_lists(env):
    """the VM in both lists, with filters; the Go SDK's %3F path"""
    name = env.vm()
    node = [n for n in env.api.get("/nodes") if n["hostname"] == name][0]
    same((node["hostgroup"], node["cpus"], node["ram_bytes"], node["status"], node["arch"]), ("it", 1, 128 << 20, "Running", "x86_64"))
    must(re.match(r"^10\.99\.1\.\d+$", node["ip"]), "ip without prefix length", node)
    must(RFC3339.match(node["created_at"]), node)
    must("last_agent_call" not in node or RFC3339.match(node["last_agent_call"]), node)
    names = lambda path: [n["hostname"] for n in env.api.get(path)]
    must(name in names("/hostgroup/it/nodes"))
    if "job=7" in node["tags"]:
        same(names("/nodes?tag=job%3D7"), [name])
        same(names("/nodes?tag=job%3D"), [])
        same(names("/nodes?tag_prefix=job%3D"), [name])
        same(names("/hostgroup/it/nodes%3Ftag=job%253D7"), [name])
        same(names("/hostgroup/it/nodes%3Ftag=job%253D8"), [])


def case_describe(env):
    """GET /vm/{h}: node fields, network with arrays"""
    got = env.api.get("/vm/" + env.vm())
    same((got["hostname"], got["hostgroup"], got["status"], got["cpus"]), (env.vm(), "it", "Running", 1))
    for part in ("host_group", "effective"):
        must(isinstance(got["network"][part]["allow"], list) and isinstance(got["network"][part]["drop"], list), got)
    same(got["network"]["mode"], "bridge")
    must(isinstance(got["open_agent_connections"], int), got)
    must(not any(got.get(k) == "" for k in ("created_at", "last_agent_call")), "empty time", got)


def case_last_agent_call(env):
    """last_agent_call appears after an exec"""
    env.api.sh(env.vm(), "true")
    node = [n for n in env.api.get("/nodes") if n["hostname"] == env.vm()][0]
    must(RFC3339.match(node.get("last_agent_call", "")), node)


def case_logs(env):
    """the console: all, the last 20 lines, n lines; 404 for others"""
    env.api.sh(env.vm(), "i=1; while [ $i -le 30 ]; do echo con-$i >/dev/console; i=$((i+1)); done; sleep 0.3")
    everything = env.api.get("/vm/%s/logs?lines=0" % env.vm())
    same(everything["hostname"], env.vm())
    must("con-1" in everything["content"] and "con-30" in everything["content"], "console", everything)

    def tail(query):
        return env.api.get("/vm/%s/logs%s" % (env.vm(), query))["content"].replace("\r", "").rstrip("\n").split("\n")
    same(tail("?lines=2"), ["con-29", "con-30"])
    same(tail(""), ["con-%d" % n for n in range(11, 31)], "20 lines by default")
    same(env.api.call("GET", "/vm/it-999/logs")[0], 404)


def case_hostname_and_network(env):
    """in the guest: its name, its address; it reaches the host's end of the bridge"""
    name = env.vm()
    same(env.api.sh(env.vm(), "hostname")[1].decode().strip(), name)
    address = [n["ip"] for n in env.api.get("/nodes") if n["hostname"] == name][0]
    must(address.encode() in env.api.sh(env.vm(), "ip -4 addr show dev eth0 || ifconfig eth0")[1], "address", address)
    code, out, err = env.api.sh(env.vm(), "ping -c 1 -W 5 10.99.1.1")
    same(code, 0, "ping of the gateway: %s %s" % (out, err))


def case_limits(env):
    """more cpus or memory than the group has: 400; disk_image: 400; broken JSON: 400; unknown group: 404"""
    path = "/hostgroup/it/nodes"
    for body in ({"cpus": 3}, {"ram_bytes": 1 << 40}, {"cpus": -1}, {"cpus": 0.5}, {"disk_image": "x"}, {"ram_bytes": 4096}, b"{", b"[]", b'{"cpus":"two"}'):
        status, _, answer = env.api.call("POST", path, body)
        same(status, 400, "create with %r: %s" % (body, answer))
        must(json.loads(answer)["error"], answer)
    same(env.api.call("POST", "/hostgroup/nope/nodes", {})[0], 404)
    same(env.api.call("POST", path + "?wait=moon", {})[0], 400)
    same(env.api.call("POST", path + "?wait=agent&timeout=soon", {})[0], 400)


def case_timeout_408(env):
    """wait=agent with a timeout that is too short: 408, and the VM is gone again"""
    before = {n["hostname"] for n in env.api.get("/nodes")}
    status, _, body = env.api.call("POST", "/hostgroup/it/nodes?wait=agent&timeout=20ms", {"cpus": 1})
    same(status, 408, body)
    must(json.loads(body)["error"], body)
    same({n["hostname"] for n in env.api.get("/nodes")}, before)


def case_unknown(env):
    """unknown VMs and routes: 404 in JSON; a wrong method: 404 or 405"""
    for method, path in (("GET", "/vm/it-999"), ("GET", "/vm/it-999/health"), ("POST", "/vm/it-999/shutdown"), ("GET", "/nope"), ("GET", "/vm"),
                         ("DELETE", "/hostgroup/it/nodes/it-999"), ("DELETE", "/hostgroup/nope/nodes/it-1"), ("GET", "/vm/commits/x/y/z")):
        status, headers, body = env.api.call(method, path)
        same(status, 404, "%s %s" % (method, path))
        must(json.loads(body)["error"], path, body)
    must(env.api.call("PUT", "/info")[0] in (404, 405), "PUT /info")


def case_head_unknown(env):
    """HEAD of an unknown VM's health: 404 without body"""
    status, _, body = env.api.call("HEAD", "/vm/it-999/health")
    same((status, body), (404, b""))


def case_tags(env):
    """GET and PATCH tags"""
    path = "/vm/%s/tags" % env.vm()
    before = env.api.get(path)
    same(before["hostname"], env.vm())
    status, _, body = env.api.call("PATCH", path, {"add": ["extra=1"]})
    if status in (404, 405, 501):
        raise Skip("PATCH tags is not offered yet")
    must(200 <= status < 300, status, body)
    must("extra=1" in env.api.get(path)["tags"])
    env.api.call("PATCH", path, {"remove": ["extra=1"]})
    same(env.api.get(path)["tags"], before["tags"])
