"""The network card: bytes both ways by checksum, queues, and networks that are cut, slow, lossy and narrow while the VM runs. The network is
changed for VM 2 alone; VM 1 shows that it is left in peace."""
import hashlib
import json
import random
import socket
import struct
import threading
import time

from client import wait_for
from world import limit, must, same

GATEWAY = "10.99.1.1"


def chaos(env, vm, **settings):
    """What it is after the change; heals without one."""
    status, _, body = env.api.call("PATCH" if settings else "DELETE", "/vm/%s/net/chaos" % vm, settings or None)
    same(status, 200, body)
    return json.loads(body)


def counters(env, vm):
    return env.api.get("/vm/%s/net/stats" % vm)


def address_of(env, vm):
    return next(n["ip"] for n in env.api.get("/nodes") if n["hostname"] == vm).split("/")[0]


def answers(env, vm):
    return env.api.sh(vm, "ping -c 1 -W 1 %s >/dev/null" % GATEWAY)[0] == 0


def some_bytes(count):
    return random.Random(7).randbytes(count)


class Server(threading.Thread):
    """Takes connections: sends `data` to each, or takes everything from one when there is none."""

    def __init__(self, data=None, count=1):
        super().__init__(daemon=True)
        self.data, self.count, self.got = data, count, []
        self.sock = socket.create_server((GATEWAY, 0))
        self.port = self.sock.getsockname()[1]
        self.start()

    def run(self):
        threads = [threading.Thread(target=self.one, args=(self.sock.accept()[0],), daemon=True) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.sock.close()

    def one(self, conn):
        with conn:
            if self.data is not None:
                conn.sendall(self.data)
                conn.shutdown(socket.SHUT_WR)
                return
            parts = []
            while True:
                got = conn.recv(1 << 18)
                if not got:
                    break
                parts.append(got)
            self.got.append(b"".join(parts))


def take_sum(env, vm, server):
    """MD5 of what the guest got from it: quick on an emulated CPU."""
    code, out, err = env.api.sh(vm, "nc %s %d </dev/null | md5sum" % (GATEWAY, server.port), timeout_s=240)
    same(code, 0, err)
    return out.split()[0].decode()


@limit(240)
def case_bytes(env):
    """many MiB come in and go out whole, with segments of the largest size and several connections at once"""
    many = some_bytes((256 if env.full else 64) << 20)
    for vm, data in (env.vm(1), many[:8 << 20]), (env.vm(2), many):
        before = counters(env, vm)
        same(take_sum(env, vm, Server(data)), hashlib.md5(data).hexdigest(), "into " + vm)
        after = counters(env, vm)
        packets = after["rx_packets"] - before["rx_packets"]
        must(after["rx_bytes"] - before["rx_bytes"] >= len(data), "counted", before, after)
        must(len(data) / packets > 4000, "packets are segmented behind the tap, not before it:", packets)
    small = many[:8 << 20]
    for vm in env.vm(1), env.vm(2):
        server = Server(count=1)
        code, _, err = put_and_send(env, vm, small, server)
        same(code, 0, err)
        server.join(120)
        same([hashlib.md5(g).hexdigest() for g in server.got], [hashlib.md5(small).hexdigest()], "out of " + vm)
        after = counters(env, vm)
        same([after[k] for k in ("rx_bad", "tx_bad", "tx_refused")], [0, 0, 0], "no packet was wrong")
    status, _, text = env.api.call("GET", "/metrics")
    rows = [line for line in text.decode().split("\n") if line.startswith("mica_vm_net_rx_bytes_total{")]
    must(status == 200 and [row for row in rows if 'hostname="%s"' % env.vm(2) in row and int(row.split()[-1]) >= len(many)], "in /metrics", rows)


def put_and_send(env, vm, data, server):
    same(env.api.upload(vm, "/tmp/small", data, timeout_s=120)[0], 200, "upload")
    return env.api.sh(vm, "nc %s %d </tmp/small && rm /tmp/small" % (GATEWAY, server.port), timeout_s=120)


@limit(240)
def case_queues(env):
    """a queue pair for each vCPU; six connections at once on both are whole"""
    for vm, cpus in (env.vm(1), 1), (env.vm(2), 2):
        out = env.api.sh(vm, "ls -d /sys/class/net/eth0/queues/rx-*")[1].split()
        same(len(out), cpus, "queues of " + vm)
    data = some_bytes(2 << 20)
    server = Server(data, count=6)
    script = "for i in 1 2 3 4 5 6; do (nc %s %d </dev/null | md5sum >/tmp/sum$i) & done; wait; cat /tmp/sum*; rm /tmp/sum*" % (GATEWAY, server.port)
    code, out, err = env.api.sh(env.vm(2), script, timeout_s=240)
    same((code, out.decode().split()[::2]), (0, [hashlib.md5(data).hexdigest()] * 6), err)


@limit(120)
def case_cut(env):
    """cut takes the link away and heal brings it back, over a restart of the daemon too; exec goes on meanwhile"""
    vm = env.vm(2)
    must(answers(env, vm), "ping at first")
    before = counters(env, vm)
    same(chaos(env, vm, cut=True)["cut"], True)
    same(env.api.sh(vm, "cat /sys/class/net/eth0/carrier")[1].strip(), b"0", "the guest's link")
    must(not answers(env, vm), "ping while it is cut")
    must(answers(env, env.vm(1)), "the other VM has its network")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    must(wait_for(lambda: sock.sendto(b"x", (address_of(env, vm), 9)) and counters(env, vm)["rx_cut"] > before["rx_cut"], 20), "drops are counted")
    env.main.kill9()
    env.main.start()
    same(env.api.get("/vm/" + vm)["network"]["chaos"]["cut"], True, "the next daemon knows")
    must(not answers(env, vm), "still cut")
    same(chaos(env, vm)["cut"], False)
    must(wait_for(lambda: answers(env, vm), 30), "ping once it is healed")
    must("chaos" not in env.api.get("/vm/" + vm)["network"], "nothing left to describe")


def round_trips(env, vm):
    """Milliseconds of some pings, the least first."""
    code, out, err = env.api.sh(vm, "ping -c 4 -W 10 %s" % GATEWAY, timeout_s=120)
    same(code, 0, err)
    return sorted(float(line.split(b"time=")[1].split()[0]) for line in out.split(b"\n") if b"time=" in line)


@limit(120)
def case_delay(env):
    """a delay makes each round trip longer by no less than that, a jitter by something between"""
    vm = env.vm(2)
    same(chaos(env, vm, delay_us=400000)["delay_us"], 400000)
    must(round_trips(env, vm)[0] >= 400, "every round trip is delayed")
    chaos(env, vm, delay_us=400000, jitter_us=100000)
    must(round_trips(env, vm)[0] >= 300, "with jitter")
    chaos(env, vm)
    must(round_trips(env, vm)[0] < 300, "healed")


@limit(120)
def case_loss(env):
    """a loss of 30 % loses between 20 and 40 of 100 packets, both ways"""
    vm, sock = env.vm(2), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    must(answers(env, vm), "its address is known")
    before = counters(env, vm)
    chaos(env, vm, loss_ppm=300000)
    to = (address_of(env, vm), 0)
    for i in range(1500):  # pings; those that come are answered
        sock.sendto(struct.pack(">BBHHH", 8, 0, 0xFFFF - 0x0800 - i, 0, i), to)
        if i % 50 == 49:
            time.sleep(0.05)  # the tap's queue is short
    after = wait_for(lambda: [c for c in [counters(env, vm)] if c["tx_packets"] + c["tx_lost"] - before["tx_packets"] - before["tx_lost"] >= 800], 30)
    chaos(env, vm)
    must(after, "the guest answers most of what comes", counters(env, vm), before)
    after = after[0]
    for way, least in ("rx", 1000), ("tx", 800):
        lost, passed = (after[way + key] - before[way + key] for key in ("_lost", "_packets"))
        must(lost + passed >= least, way, "enough to judge", lost, passed)
        must(0.2 < lost / (lost + passed) < 0.4, way, "lost", lost, "of", lost + passed)
    must(wait_for(lambda: answers(env, vm), 30), "healed")


@limit(180)
def case_limit(env):
    """a limit holds both ways and is gone with heal; the bytes are whole"""
    vm, data = env.vm(2), some_bytes(1 << 20)
    same(chaos(env, vm, rx_bytes_per_s=250000, tx_bytes_per_s=250000)["rx_bytes_per_s"], 250000)
    start = time.monotonic()
    same(take_sum(env, vm, Server(data)), hashlib.md5(data).hexdigest(), "in")
    took = time.monotonic() - start
    must(took > 2, "1 MiB at 250 kB/s came in", took, "s")
    server, start = Server(), time.monotonic()
    same(put_and_send(env, vm, data, server)[0], 0)
    server.join(60)
    took = time.monotonic() - start
    must(server.got == [data] and took > 2, "went out in", took, "s")
    after = counters(env, vm)
    must(after["rx_held"] or after["tx_held"], "packets were held", after)  # a slow guest may stay below the limit one way
    chaos(env, vm)


@limit(180)
def case_flood(env):
    """a flood from outside: exec in the VM that is flooded and in the other one goes on, its chaos can be changed, its network is back afterwards"""
    vm, stop = env.vm(2), threading.Event()
    to = (address_of(env, vm), 9)

    def blast(size):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while not stop.is_set():
            sock.sendto(bytes(size), to)

    threads = [threading.Thread(target=blast, args=(size,), daemon=True) for size in (1, 1400)]
    before = counters(env, vm)
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            same(env.api.sh(vm, "echo through", timeout_s=100)[1], b"through\n", "the flooded VM")
            same(env.api.sh(env.vm(1), "echo through", timeout_s=100)[1], b"through\n", "the other VM")
        chaos(env, vm, rx_packets_per_s=100)
        same(env.api.sh(vm, "echo through", timeout_s=100)[1], b"through\n", "with a limit")
        chaos(env, vm)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    must(counters(env, vm)["rx_packets"] > before["rx_packets"] + 1000, "it was a flood", counters(env, vm))
    must(wait_for(lambda: answers(env, vm), 30), "ping afterwards")


@limit(60)
def case_words(env):
    """mica vm net: what it says, and what is refused"""
    vm = env.vm(2)
    done = env.cli("vm", "net", "delay", vm, "1ms", "--jitter", "0.5ms")
    same((done.returncode, done.stdout), (0, ("%s: delay 1ms ±0.5ms\n" % vm).encode()), done.stderr)
    done = env.cli("vm", "net", "limit", vm, "100mbit", "--out", "--pps", "10k")
    same(done.stdout, ("%s: delay 1ms ±0.5ms, out 100mbit, out 10000 packets/s\n" % vm).encode(), done.stderr)
    same(env.cli("vm", "net", "loss", vm, "0.5%").stdout, ("%s: delay 1ms ±0.5ms, loss 0.5%%, out 100mbit, out 10000 packets/s\n" % vm).encode())
    done = env.cli("vm", "net", "heal", vm)
    same(done.stdout, ("%s: as it should be\n" % vm).encode(), done.stderr)
    must(b"tx_packets" in env.cli("vm", "net", "stats", vm).stdout, "stats")
    for args in ("delay", vm, "soon"), ("loss", vm, "5"), ("limit", vm, "1parsec"), ("limit", vm):
        same(env.cli("vm", "net", *args).returncode, 2, args)
    for body, word in ({"cut": 1}, "cut"), ({"delay_us": -1}, "delay_us"), ({"loss_ppm": 2000000}, "percent"), ({"jitter_us": 5}, "jitter"), ({"cutt": True}, "cutt"):
        status, _, answer = env.api.call("PATCH", "/vm/%s/net/chaos" % vm, body)
        must(status == 400 and word in answer.decode(), "refused", body, status, answer)
    same(env.api.call("GET", "/vm/nobody-1/net/chaos")[0], 404)
