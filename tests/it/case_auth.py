"""TCP with the token file: contract 1.1."""
import glob
import json
import os

from client import Api
from world import must, same

FIXED = "fixed-token-of-the-test-0123456789"


def tcp(env):
    found = [d for d in env.daemons if d.name == "tcp"]
    if found:
        return found[0]
    return env.daemon("tcp", 7, api='port: 18080, bind_address: "127.0.0.1", auth: { enabled: true, token: "%s" }' % FIXED,
                      tcp_port=18080).start()


def case_healthz_open(env):
    """/healthz needs no token"""
    same(tcp(env).api.call("GET", "/healthz")[0], 200)


def case_401(env):
    """no token, wrong token, prefix of the token, other schemes: 401 in JSON, on every route"""
    daemon = tcp(env)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer " + FIXED[:-1]}, {"Authorization": "Bearer " + FIXED + "x"},
                    {"Authorization": "Bearer "}, {"Authorization": "Basic " + FIXED}, {"Authorization": FIXED}, {"Authorization": "Bearer " + "t" * 5000}):
        for method, path in (("GET", "/info"), ("GET", "/nodes"), ("POST", "/hostgroup/tcp/nodes"), ("POST", "/vm/tcp-1/exec?cmd=id"),
                             ("GET", "/vm/tcp-1/shell"), ("GET", "/nope"), ("POST", "/daemon/shutdown")):
            status, _, body = daemon.api.call(method, path, headers=headers)
            same(status, 401, "%s %s with %s" % (method, path, str(headers)[:60]))
            must(json.loads(body)["error"], body)


def case_right_token(env):
    """the right token; the scheme's case does not matter"""
    same(Api(tcp(env).address, FIXED).get("/info")["platform"], "linux")
    same(tcp(env).api.call("GET", "/info", headers={"authorization": "bearer " + FIXED})[0], 200)


def case_unix_ignores_token(env):
    """on the unix socket with auth off an empty or odd bearer is ignored"""
    same(env.api.call("GET", "/info", headers={"Authorization": "Bearer "})[0], 200)
    same(env.api.call("GET", "/info", headers={"Authorization": "Bearer zzz"})[0], 200)


def case_cli_token(env):
    """the command line: no token is exit 1 and says so; --token-file works"""
    daemon = tcp(env)
    url = "http://127.0.0.1:18080"
    done = env.alone("info", "--url", url, "--token", "wrong")
    must(done.returncode != 0 and b"error:" in done.stderr and b"token" in done.stderr.lower(), done.stderr)
    path = os.path.join(env.top, "token")
    with open(path, "w") as f:
        f.write(FIXED + "\n")
    done = env.alone("info", "--url", url, "--token-file", path)
    same(done.returncode, 0, done.stderr)


def case_port_in_use(env):
    """a second daemon on the same port: a clear error, and the first goes on"""
    tcp(env)
    other = env.daemon("tcp2", 8, api='port: 18080, bind_address: "127.0.0.1"', tcp_port=18080)
    done = env.alone("up", other.file, cwd=other.dir, limit_s=15)
    must(done.returncode != 0, "it should not start", done.stdout, done.stderr)
    must(b"18080" in done.stderr and b"use" in done.stderr, done.stderr)
    same(tcp(env).api.call("GET", "/healthz")[0], 200)
