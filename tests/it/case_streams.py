"""Many streams through one VM's vsock device and agent, and what they cost its process."""
import os
import resource
import struct
import time

from client import WebSocket, json, payload, query, wait_for
from world import limit, must, same, vmm_pids


def agent_has_room(own, vm):
    return own.api.call("POST", query("/vm/%s/exec" % vm, cmd="true", buffered=True), timeout_s=60)[0] == 200


@limit(300)
def case_agent_used_up(env):
    """all commands that one VM may have at once hear what they are told, one more is refused (512; without -f 96 and no refusal: tests/it/load.py)"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    count = 512 if env.full else 96
    own = env.daemon("streams", 77, ram_mb=512).start()
    vm = own.create(cpus=1, timeout="300s")
    conns = []
    for _ in range(count):
        conn = own.api.conn(200)
        conn.start("POST", query("/vm/%s/exec" % vm, cmd="cat", stdin=True, uid=0, stdio="base64"), chunked=True)
        conns.append(conn)
    replies = [conn.response() for conn in conns]
    same([r.status for r in replies if r.status != 200], [], "all started")
    frames = [r.lines() for r in replies]
    same({next(f)["type"] for f in frames}, {"started"})
    if env.full:
        status, headers, body = own.api.call("POST", query("/vm/%s/exec" % vm, cmd="true"), timeout_s=60)
        same((status, headers.get("retry-after")), (503, "1"), "one more")
        must("512" in json.loads(body)["error"], body)
    for i, conn in enumerate(conns):
        conn.chunk(b"%d\n" % i)
    same(sum(payload(next(f)) == b"%d\n" % i for i, f in enumerate(frames)), count, "echoes")
    for conn in conns:
        conn.last_chunk()
    same(sum(next(f)["exit_code"] == 0 for f in frames), count, "exits")
    for conn in conns:
        conn.close()
    must(wait_for(lambda: agent_has_room(own, vm), 30), "room again")
    same(own.delete(vm)[0], 200)
    own.stop()


@limit(200)
def case_idle_shells(env):
    """idle shells cost the VM's process next to nothing"""
    vm, count, shells = env.vm(), 100, []
    before = {pid: (descriptors(pid), private_heap_kib(pid)) for pid in vmm_pids()}
    for _ in range(count):
        conn = env.api.conn(100)
        ws = WebSocket(conn, query("/vm/%s/shell" % vm, shell="/bin/sh", uid=0))
        same(ws.reply.status, 101)
        shells.append((conn, ws))
    for _, ws in shells:
        ws.send(b"\x01" + struct.pack(">I", 1) + b"\r")
        ws.recv()
    time.sleep(1)
    pid = max(before, key=lambda p: descriptors(p) - before[p][0])
    same(descriptors(pid) - before[pid][0], count, "descriptors")
    grown = private_heap_kib(pid) - before[pid][1]
    must(grown < 4 * count, "%d shells cost the VM's process %d KiB" % (count, grown))
    for conn, _ in shells:
        conn.close()


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def private_heap_kib(pid):
    """Resident KiB of what the process allocated itself: not the guest's memory, not files."""
    total, ours = 0, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                ours = len(words) < 6 or words[5] in ("[heap]", "[stack]", "[anon]")
            elif ours and words[0] == "Rss:":
                total += int(words[1])
    return total
