"""Isolated VMs: a whole guest with a /30 of its own, between an internet and a LAN made of namespaces. What it reaches, by rules that change while it
runs, after the daemon was killed, and that nothing is left of it."""
import json
import os

import netlab
from client import wait_for
from world import Skip, limit, must, same

WEB, LAN, HOST_LAN = "198.51.100.2", "192.168.50.2", "192.168.50.1"
WEB6 = "2001:db8:1::2"
CONFIG = """config:
  host_groups:
  - name: iso
    storage_size: 256M
    count: 0
    vcpu: 1
    ram_mb: 128
    network: { mode: isolated, range: 169.254.100.0/22, drop: ["%s"] }
  graceful_shutdown: false
  api: { bind_address: "./api.sock" }
""" % (WEB + ":81")


def links(host):
    return {line.split(":")[1].split("@")[0].strip() for line in host.ip("-o", "link").splitlines()}


def tables(host):
    return {line for line in host.run("nft", "list", "tables").stdout.splitlines() if "mica" in line}


def lab(env):
    """The world around the host, made once."""
    if hasattr(env, "lab"):
        return env.lab
    if os.geteuid() != 0:
        raise Skip("needs root to make network namespaces")
    host = netlab.here()
    inet, lan = netlab.Ns(), netlab.Ns()
    netlab.veth(host, "itwan", inet, "eth0")
    netlab.veth(host, "itlan", lan, "eth0")
    for ns, dev, addrs in ((host, "itwan", ("198.51.100.1/24", "2001:db8:1::1/64")), (inet, "eth0", (WEB + "/24", WEB6 + "/64")),
                           (host, "itlan", (HOST_LAN + "/24",)), (lan, "eth0", (LAN + "/24",))):
        for a in addrs:
            ns.ip("addr", "add", a, "dev", dev, *(["nodad"] if ":" in a else []))
    env.lab_servers = [netlab.Servers(ns, tcp=(80, 81)) for ns in (inet, lan, host)]
    env.lab_links, env.lab_tables = links(host), tables(host) # other daemons of the suite have theirs
    env.lab = host
    return host


def reaches(api, vm, addr, port=80):
    """The server says who asks: that line, or None. A refusal comes at once, so that time is what a slow guest takes."""
    out = api.sh(vm, "timeout 20 nc %s %d </dev/null" % (addr, port))[1]
    return out.decode(errors="replace").strip() or None


@limit(120)
def case_isolated_starts(env):
    """an isolated VM has its address in the reply, and reaches the internet and nothing near"""
    lab(env)
    env.iso = env.daemon("iso", 6)
    with open(env.iso.file, "w") as f:
        f.write(CONFIG)
    env.iso.start()
    env.iso_vm = env.iso.create()
    api, vm = env.iso.api, env.iso_vm
    same(next(n["ip"] for n in api.get("/nodes") if n["hostname"] == vm), "169.254.100.2")
    same(api.get("/vm/%s" % vm)["network"]["mode"], "isolated", "describe says")
    same(reaches(api, vm, WEB), "198.51.100.1", "the internet")
    same([reaches(api, vm, a) for a in (LAN, HOST_LAN, "198.51.100.1")], [None] * 3, "LAN and host")
    same(reaches(api, vm, WEB, 81), None, "what is dropped by name")
    must(api.sh(vm, "ping -c 1 -W 5 169.254.100.1 >/dev/null")[0] == 0, "the gateway answers")


@limit(120)
def case_isolated_ipv6(env):
    """it has IPv6 where its kernel has it"""
    api, vm = env.iso.api, env.iso_vm
    if api.sh(vm, "test -e /proc/net/if_inet6")[0] != 0:
        raise Skip("this guest kernel has no IPv6")
    same(reaches(api, vm, WEB6), "2001:db8:1::1", "the internet by IPv6")


@limit(180)
def case_isolated_policy(env):
    """rules change while it runs"""
    api, vm = env.iso.api, env.iso_vm
    status, _, body = api.call("PUT", "/vm/%s/net/policy" % vm, {"allow": [LAN, WEB + ":81"], "drop": []})
    same(status, 200, body)
    same([reaches(api, vm, LAN), reaches(api, vm, WEB, 81), reaches(api, vm, WEB)], ["192.168.50.1", "198.51.100.1", None], "only what is allowed")


@limit(240)
def case_isolated_two(env):
    """two VMs do not see each other, unless one is named"""
    api, vm = env.iso.api, env.iso_vm
    other = env.iso.create(network={"allow": ["0.0.0.0/0", "169.254.100.2"]})
    api.sh(vm, "(while true; do echo hello | nc -l -p 80; done) >/dev/null 2>&1 &")
    api.sh(other, "(while true; do echo hello | nc -l -p 80; done) >/dev/null 2>&1 &")
    same(reaches(api, vm, "169.254.100.6"), None, "one that is not named")
    same(reaches(api, other, "169.254.100.2"), "hello", "one that is")
    found = api.sh(other, "nslookup %s" % vm)[1]
    must(b"Address: 169.254.100.2" in found, "the gateway knows its name", found)
    log = lambda: api.call("GET", "/vm/%s/net/log" % other)[2]
    must(wait_for(lambda: b'"dst":"169.254.100.2"' in log().replace(b": ", b":"), 20 * env.patience, 0.3), "and the flow is on record", log()[-500:])
    status, _, body = env.iso.delete(other)
    must(status in (200, 204), status, body)


@limit(240)
def case_isolated_daemon_killed(env):
    """the daemon is killed and comes back: the rules hold meanwhile and after"""
    api, vm = env.iso.api, env.iso_vm
    host = env.lab
    link = links(host) - env.lab_links
    env.iso.kill9()
    same(links(host) - env.lab_links, link, "the links stay")
    env.iso.start()
    must(wait_for(lambda: api.call("GET", "/vm/%s/health" % vm)[0] == 200, 60 * env.patience, 0.2), "it is back")
    same([reaches(api, vm, LAN), reaches(api, vm, WEB)], ["192.168.50.1", None], "the rules are those of before")
    status, _, body = api.call("PUT", "/vm/%s/net/policy" % vm, {"allow": [], "drop": []})
    same(status, 200, body)
    same(reaches(api, vm, WEB), "198.51.100.1", "and can be changed again")


@limit(120)
def case_isolated_ends(env):
    """nothing is left of it"""
    env.iso.delete(env.iso_vm)
    must(wait_for(lambda: links(env.lab) == env.lab_links, 20 * env.patience, 0.2), links(env.lab) - env.lab_links)
    env.iso.stop()
    same(tables(env.lab) - env.lab_tables, set(), "tables")
