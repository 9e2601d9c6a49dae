"""netd and jail of core_fake.py that keep what they are asked in `seen`, refuse on order, and answer with what a test says in `replies`."""
import os

import core_fake
from core_fake import ERR, OK, STATUS, TEXT, frame, recv, send

seen = []     # (who, type, message) in the order they came
refuse = {}   # type → (status, sentence), once
replies = {}  # type → (fields, number of descriptors) that go with OK


def answer(sock, m):
    fields, n = replies.get(m.type, ((), 0))
    refused = refuse.pop(m.type, None)
    fds = [] if refused else [os.open('/dev/null', os.O_RDWR) for _ in range(n)]
    try:
        send(sock, frame(ERR, m.id, (STATUS, refused[0]), (TEXT, refused[1])) if refused else frame(OK, m.id, *fields), fds)
    except BrokenPipeError:
        pass # core has gone; what it asked for before is still read
    for fd in fds:
        os.close(fd)


class Netd(core_fake.Netd):
    def run(self):
        while True:
            try:
                m = recv(self.sock)
            except ConnectionResetError:
                continue # core went before it read all replies: told once, before what it still sent
            except OSError:
                return
            if not m:
                return
            seen.append(('netd', m.type, m))
            for fd in m.fds:
                os.close(fd)
            try:
                answer(self.sock, m)
            except OSError:
                return


class Jail(core_fake.Jail):
    def serve(self, m):
        seen.append(('jail', m.type, m))
        if m.type in replies:
            answer(self.sock, m)
        else:
            super().serve(m)


core_fake.Netd, core_fake.Jail = Netd, Jail


def asked(who, kind):
    return [m for w, t, m in seen if w == who and t == kind]
