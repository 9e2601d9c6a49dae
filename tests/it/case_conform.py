"""The contract from outside (conform.py) against whole guests: over the unix socket, HTTP and HTTPS with a pinned certificate. On a machine
that is emulated all of it runs once, and of the other transports what differs between transports."""
import contextlib
import io
import os

import conform
from client import Api, wait_for
from world import limit, must


DIFFERS = ("case_create", "auth", "keep_alive", "duplex", "exec_go", "exec_gone", "bg_logs", "cp_binary", "cp_chunked", "watch", "shell", "forward", "times", "shutdown")


class Args:
    def __init__(self, base, group, token=None, fingerprint=None, words=(), end=False):
        self.words, self.end = words, end
        self.base, self.group, self.token, self.fingerprint = base, group, token, fingerprint


def run(args):
    """conform.py's own lines become one failure's text."""
    text = io.StringIO()
    conform.bad_times.clear()
    with contextlib.redirect_stdout(text):
        failed = conform.run(args)
    lines = text.getvalue().splitlines()
    must(len([x for x in lines if x.startswith("ok ")]) > 12 or failed, "too few cases ran:", lines)
    must(not failed, "\n".join(x for x in lines if not x.startswith("ok ")))


def daemon(env, name, number, port, tls):
    found = env.daemon(name, number, tcp_port=port, graceful="true",
                       api='port: %d, bind_address: "127.0.0.1", tls: { enabled: %s }' % (port, str(tls).lower()))
    found.api = Api(os.path.join(found.state, "api.sock"))
    found.start()
    with open(os.path.join(found.state, "auth", "token")) as f:
        return found, f.read().strip()


@limit(600)
def case_conform_unix(env):
    """every exchange of the contract over the unix socket"""
    run(Args("unix:" + env.main.sock, env.main.group))


@limit(600)
def case_conform_http(env):
    """and over HTTP with a token"""
    found, token = daemon(env, "cfh", 21, 18090, False)
    run(Args("http://127.0.0.1:18090", "cfh", token, None, () if env.full else DIFFERS, True))
    found.stop()


@limit(600)
def case_conform_https(env):
    """and over HTTPS with the fingerprint that the daemon prints"""
    found, token = daemon(env, "cfs", 22, 18091, True)
    line = wait_for(lambda: [x for x in found.tail(30).splitlines() if "fingerprint" in x], 10)
    must(line, "no fingerprint was printed", found.tail())
    mark = next(w for w in line[0].split() if w.count(":") == 31)
    run(Args("https://127.0.0.1:18091", "cfs", token, mark, () if env.full else DIFFERS, True))
    found.stop()
