"""GET /vm/{h}/shell: contract 1.11."""
import struct
import time

from client import Broken, WebSocket, query
from world import must, same

DATA, SIZE, SHUTDOWN, HEARTBEAT, END = 1, 2, 3, 4, 5


def frame(kind, data=b""):
    return struct.pack(">BI", kind, len(data)) + data


class Shell:
    def __init__(self, env, conn, vm=None, **params):
        self.ws = WebSocket(conn, query("/vm/%s/shell" % (vm or env.vm()), **params))
        self.said = b""
        self.ended = False
        self.close_code = None

    def step(self):
        opcode, message = self.ws.recv()
        if opcode == 8:
            self.close_code = struct.unpack(">H", message[:2])[0] if message else 0
            self.ended = True
            return
        if opcode in (9, 10):
            return
        same(opcode, 2, "opcode")
        must(len(message) <= 32768, "message of", len(message), "bytes")
        kind, size = struct.unpack(">BI", message[:5])
        same(size, len(message) - 5, "length field")
        if kind == DATA:
            self.said += message[5:]
        elif kind in (END, SHUTDOWN):
            self.ended = True

    def until(self, text):
        while text not in self.said and not self.ended:
            self.step()
        must(text in self.said, "shell never said", text, "but", self.said)


def case_dialogue(env):
    """a root shell: window size, a command, its answer, end of session, close 1000"""
    with env.api.conn() as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        same(shell.ws.reply.status, 101)
        shell.ws.send(frame(SIZE, struct.pack(">II", 100, 33)))
        shell.ws.send(frame(DATA, b"stty size; echo sum=$((20+3))\n"))
        shell.until(b"sum=23")
        must(b"33 100" in shell.said, "window size", shell.said)
        shell.ws.send(frame(SIZE, struct.pack(">II", 132, 50)))
        shell.ws.send(frame(DATA, b"stty size; id -u; tty; echo 'e''nd'\n"))
        shell.until(b"end")
        must(b"50 132" in shell.said and b"\r\n0\r\n" in shell.said and b"/dev/pts/" in shell.said, shell.said)
        shell.ws.send(frame(DATA, b"exit\n"))
        while not shell.ended:
            shell.step()
        while shell.close_code is None:
            shell.step()
        same(shell.close_code, 1000)


def case_default_user(env):
    """without uid: the default user; control-C reaches the command"""
    with env.api.conn() as conn:
        shell = Shell(env, conn)
        shell.ws.send(frame(DATA, b"echo user=$(id -u)\n"))
        shell.until(b"user=1000")
        shell.ws.send(frame(DATA, b"sleep 500\n"))
        time.sleep(1)
        shell.ws.send(frame(DATA, b"\x03"))
        shell.ws.send(frame(DATA, b"echo st''ill\n"))
        shell.until(b"still")
        shell.ws.send(frame(SHUTDOWN))


def case_heartbeat_and_ping(env):
    """heartbeats and pings are taken"""
    with env.api.conn() as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        shell.ws.send(frame(HEARTBEAT))
        shell.ws.send(b"ping!", opcode=9)
        while True:
            opcode, message = shell.ws.recv()
            if opcode == 10:
                same(message, b"ping!")
                break
        shell.ws.send(frame(DATA, b"echo on''going\n"))
        shell.until(b"ongoing")


def case_text_message(env):
    """a text message is ignored or closes this session with a code; the VM goes on"""
    with env.api.conn(10) as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        shell.ws.send(b"words", opcode=1)
        shell.ws.send(frame(DATA, b"echo a''live\n"))
        try:
            while b"alive" not in shell.said and shell.close_code is None:
                shell.step()
        except (Broken, OSError):
            pass
        must(b"alive" in shell.said or shell.close_code == 1003, "neither ignored nor closed with 1003", shell.close_code)
    same(env.api.sh(env.vm(), "echo alive")[1], b"alive\n")


def case_much_output(env):
    """200 KB through the terminal, none lost"""
    with env.api.conn() as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        shell.ws.send(frame(DATA, b"stty -echo; i=0; while [ $i -lt 2000 ]; do printf 'L%0100d\\n' $i; i=$((i+1)); done; echo 'fi''n'\n"))
        shell.until(b"fin\r\n")
        same(shell.said.count(b"\nL") + (1 if shell.said.startswith(b"L") else 0), 2000, "lines")


def case_client_vanishes(env):
    """a client that vanishes takes its shell with it"""
    with env.api.conn() as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        shell.ws.send(frame(DATA, b"exec sleep 31337\n"))
        time.sleep(1)
    gone = b""
    for _ in range(40):
        gone = env.api.sh(env.vm(), "ps | grep -q '[s]leep 31337' || echo gone")[1]
        if gone:
            break
        time.sleep(0.25)
    same(gone, b"gone\n")


def case_refusals(env):
    """unknown VM 404; no upgrade 4xx; a lying length ends the session only"""
    with env.api.conn() as conn:
        same(Shell(env, conn, vm="it-999").ws.reply.status, 404)
    status, _, _ = env.api.call("GET", "/vm/%s/shell" % env.vm())
    must(400 <= status < 500, status)
    with env.api.conn() as conn:
        shell = Shell(env, conn, uid=0, shell="/bin/sh")
        shell.ws.send(struct.pack(">BI", DATA, 0xFFFFFFFF) + b"x")
        shell.ws.send(b"\x01")
        try:
            while not shell.ended:
                shell.step()
        except Exception:
            pass
    same(env.api.sh(env.vm(), "echo alive")[1], b"alive\n")
