"""Published ports into a real guest, without a network card: bytes to their end both ways, many at once, over a daemon that is killed, gone with the VM."""
import hashlib
import os
import socket
import threading

from client import query, wait_for
from world import limit, must, same

DATA = os.urandom(65536) * (4 << 4)  # 4 MiB


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def through(port, data):
    """What comes back of it; the end of what is sent is the end of what is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as s:
        sender = threading.Thread(target=send_all, args=(s, data))
        sender.start()
        got = b""
        try:
            while piece := s.recv(262144):
                got += piece
        finally:
            s.shutdown(socket.SHUT_RDWR) if sender.is_alive() else None
            sender.join()
        return got


def send_all(s, data):
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # whoever reads the answer sees that it is short


def in_the_end(port, data):
    """As through(), once the guest's nc takes the connection: its queue holds two, and the kernel resets one in twenty of thirty that come at once."""
    return wait_for(lambda: through(port, data), 60, 0.2)


def serves(port):
    try:
        return through(port, b"ping") == b"ping"
    except OSError:
        return False


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
        return False
    except ConnectionRefusedError:
        return True


@limit(240)
def case_publish(env):
    """a port of the host leads into a guest: 4 MiB both ways, a digest after the end, 30 at once; kill -9; pause; deletion"""
    echo, digest = free_port(), free_port()
    own = env.daemon("pub", 78).start()
    vm = own.create(cpus=1, publish=["%d:7000" % echo, "127.0.0.1:%d:7001" % digest])
    same(own.api.get("/vm/" + vm)["publish"], ["127.0.0.1:%d:7000" % echo, "127.0.0.1:%d:7001" % digest])
    for port, command in ((7000, "cat"), (7001, "sha256sum")):
        status, _, body = own.api.call("POST", query("/vm/%s/exec" % vm, cmd="nc", args=["-ll", "-p", str(port), "-e", command], background=True), timeout_s=60)
        must(status in (200, 201), "nc in the guest", status, body)
    must(wait_for(lambda: serves(echo), 60), "an answer from the guest")
    same(hashlib.sha256(through(echo, DATA)).hexdigest(), hashlib.sha256(DATA).hexdigest(), "4 MiB there and back")
    must(wait_for(lambda: through(digest, b"x"), 60), "the other port")
    same(through(digest, DATA).split()[0].decode(), hashlib.sha256(DATA).hexdigest(), "an answer after the end")
    answers = {}
    threads = [threading.Thread(target=lambda i=i: answers.update({i: in_the_end(echo, b"%d" % i * 1000)})) for i in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    same(answers, {i: b"%d" % i * 1000 for i in range(30)}, "30 at once")
    own.kill9()
    own.start()
    must(wait_for(lambda: serves(echo), 60), "served again after kill -9")
    same(own.api.call("POST", "/vm/%s/pause" % vm, {})[0], 200)
    must(not serves(echo), "nobody is served by a paused VM")
    same(own.api.call("POST", "/vm/%s/resume" % vm, {})[0], 200)
    must(wait_for(lambda: serves(echo), 60), "served again after a pause")
    same(own.delete(vm)[0], 200)
    must(refused(echo) and refused(digest), "nobody listens once the VM is gone")
    own.stop()
