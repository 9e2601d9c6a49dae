"""Launches at once."""
import threading

from client import query
from world import limit, must, same


@limit(400)
def case_launch_many(env):
    """many launches at once: each gets its own name and address, each answers, all are deleted"""
    count = 64 if env.full else 6
    names, wrong = [], []
    same(env.api.call("GET", "/healthz")[0], 200)

    def one():
        try:
            names.append(env.main.create(timeout="300s", cpus=1, ram_bytes=64 << 20))
        except Exception as e:
            wrong.append(repr(e))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(wrong, [])
    same(len(set(names)), count, "names")
    nodes = [n for n in env.api.get("/nodes") if n["hostname"] in names]
    same(len({n["ip"] for n in nodes}), count, "addresses")
    for name in names:
        same(env.api.sh(name, "hostname", timeout_s=120)[1].decode().strip(), name)
    for name in names:
        same(env.main.delete(name)[0], 200)
    same([n["hostname"] for n in env.api.get("/nodes") if n["hostname"] in names], [])
