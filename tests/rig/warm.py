#!/usr/bin/env python3
"""warm.py CONSOLE MONITOR STATE: wait for L1-READY on the console log, then have QEMU save its state to a file and quit."""
import os
import socket
import sys
import time

console, monitor, state = sys.argv[1:]


def wait_ready(limit_s):
    end = time.monotonic() + limit_s
    born = time.monotonic()
    while time.monotonic() < end:
        if time.monotonic() > born + 5 and not os.path.exists(monitor):
            break  # QEMU ended, or never began
        try:
            with open(console, "rb") as f:
                if b"L1-READY" in f.read():
                    return
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise SystemExit("warm: no L1-READY")


class Monitor:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.read_prompt()

    def read_prompt(self):
        text = b""
        while not text.rstrip().endswith(b"(qemu)"):
            got = self.sock.recv(65536)
            if not got:
                raise SystemExit("warm: the monitor went away")
            text += got
        return text.decode(errors="replace")

    def run(self, line):
        self.sock.sendall(line.encode() + b"\n")
        return self.read_prompt()


wait_ready(90)
time.sleep(0.5)  # let L1 settle in its read of the serial port
mon = Monitor(monitor)
mon.run("migrate_set_parameter max-bandwidth 100G")
mon.run('migrate -d "exec:cat >%s.new"' % state)
for _ in range(1200):
    answer = mon.run("info migrate")
    if "completed" in answer:
        break
    if "failed" in answer:
        raise SystemExit("warm: " + answer)
    time.sleep(0.05)
else:
    raise SystemExit("warm: the state did not finish")
mon.sock.sendall(b"quit\n")
os.rename(state + ".new", state)
