"""`mica up` with a file that is wrong: an error with file:line and a remedy, before anything is started."""
import os

from world import must, same

GROUP = """  - name: %s
    storage: image
    storage_size: 256M
    count: 0
    vcpu: 1
    ram_mb: 128
    network: { mode: bridge, bridge: br%s, tap_prefix: t%s, gateway: %s }
"""


def group(name="a", gateway="10.98.1.1/24", **change):
    text = GROUP % (name, name, name, gateway)
    for key, value in change.items():
        text = "\n".join("    %s: %s" % (key, value) if line.strip().startswith(key + ":") else line for line in text.split("\n"))
    return text


def refuse(env, text, *words, name="bad.yaml"):
    path = os.path.join(env.top, name)
    if isinstance(text, str):
        text = text.encode()
    with open(path, "wb") as f:
        f.write(text)
    done = env.alone("up", path, limit_s=15)
    must(done.returncode not in (0, None) and done.returncode > 0, "status", done.returncode, text[:200], done.stderr)
    must(b"error:" in done.stderr, "no 'error:' in", done.stderr)
    for word in words:
        must(word.encode() in done.stderr, "no", word, "in", done.stderr)
    return done


API = '  api: { bind_address: "./a.sock" }\n'


def case_unknown_key(env):
    """an unknown key: line and the nearest key"""
    refuse(env, "config:\n  host_groups:\n" + group().replace("vcpu:", "vcpus:") + API, "bad.yaml:7", "vcpus", "vcpu")
    refuse(env, "config:\n  host_groups:\n" + group() + "  hipervisor: x\n" + API, "bad.yaml:10", "hypervisor")


def case_doubled(env):
    """doubled group names, doubled keys"""
    refuse(env, "config:\n  host_groups:\n" + group("a") + group("a", "10.98.2.1/24") + API, "bad.yaml:", "a")
    refuse(env, "config:\n  host_groups:\n" + group().replace("count: 0", "vcpu: 2") + API, "bad.yaml:", "vcpu")


def case_overlap(env):
    """overlapping networks"""
    refuse(env, "config:\n  host_groups:\n" + group("a", "10.98.0.1/16") + group("b", "10.98.2.1/24") + API, "bad.yaml:", "10.98")


def case_sizes(env):
    """impossible sizes: 0 vcpu, 99 vcpu, no memory, two kinds of memory, more than the host has, odd storage"""
    for change in ({"vcpu": 0}, {"vcpu": 99}, {"ram_mb": 0}, {"ram_mb": -5}, {"ram_mb": 99999999}, {"count": -1}, {"storage_size": "0"},
                   {"storage_size": "25X"}, {"storage_size": "-1G"}, {"storage_size": "99999999999999G"}, {"vcpu": "two"}, {"count": 1000000}):
        refuse(env, "config:\n  host_groups:\n" + group(**change) + API, "bad.yaml:", next(iter(change)).split("_")[0])
    refuse(env, "config:\n  host_groups:\n" + group().replace("ram_mb: 128", "ram_mb: 128\n    ram_gb: 1") + API, "bad.yaml:", "ram")


def case_names(env):
    """group names that are paths, too long, empty or 'commits'-like"""
    for name in ("../x", "a/b", "''", "-a", "A B", "x" * 80, '"a\\0b"'):
        refuse(env, "config:\n  host_groups:\n" + group().replace("name: a", "name: " + name) + API, "bad.yaml:")


def case_network(env):
    """a gateway that is no address, a mode that is none"""
    for gateway in ("10.98.1.1", "10.98.1.300/24", "hello", "10.98.1.1/33", "10.98.1.1/31"):
        refuse(env, "config:\n  host_groups:\n" + group("a", gateway) + API, "bad.yaml:")
    refuse(env, "config:\n  host_groups:\n" + group().replace("mode: bridge", "mode: bridges") + API, "bad.yaml:", "bridge")


def case_not_yaml(env):
    """no YAML, no document, binary, 2 MB of it, deep nesting, aliases without end"""
    for text in (b"config: [", b"", b"\x00\x01\x02", b"just text", b"config: 3", b"config:\n  host_groups: {}\n", b"[" * 20000,
                 b"config:\n" + b"  a: b\n" * 300000, b"a: &a [*a]\n", b"x: &x [1,1]\ny: &y [*x,*x]\nconfig: *y\n", b"config: \xff\xfe\n"):
        refuse(env, text)


def case_missing_file(env):
    """a file that is not there; a folder"""
    done = env.alone("up", os.path.join(env.top, "nope.yaml"), limit_s=15)
    must(done.returncode > 0 and b"nope.yaml" in done.stderr, done.stderr)
    done = env.alone("up", env.top, limit_s=15)
    must(done.returncode > 0 and b"error:" in done.stderr, done.stderr)


def case_new_is_accepted(env):
    """what `mica new` writes is a configuration that parses, and says what was asked"""
    done = env.alone("new", "demo", "--count", "0", "--cpu", "1", "--ram", "1")
    same(done.returncode, 0, done.stderr)
    must(b"host_groups" in done.stdout and b"demo" in done.stdout, done.stdout)
