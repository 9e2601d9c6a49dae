"""What the tests of the command line over a real front and agent share (cli_context.py, cli_bg.py, cli_forward.py): a folder, the environment of
somebody who has nothing set, a TAP counter. The agent runs on this machine: what it runs, it runs here."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from fakecore import T, Rig  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()


class World:
    """.url is HTTPS without a token, .tcp HTTP with the token rig.token, .sock a unix socket"""

    def __init__(self, mica, front, agent):
        self.mica = os.path.abspath(mica)
        self.rig, self.dir = Rig(front, agent), tempfile.mkdtemp(prefix="mica-cli.")
        self.pem = self.rig.core.identity.get(T["CERT"])
        self.fingerprint = self.rig.core.identity.get(T["FINGERPRINT"]).hex(":").upper()
        self.url = "https://127.0.0.1:%d" % self.rig.tls_address[1]
        self.tcp = "http://127.0.0.1:%d" % self.rig.tcp_address[1]
        self.sock = self.rig.api_sock
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "MICA_STATE": self.dir + "/none"}
        os.chmod(self.rig.dir, 0o777)

    def secure(self):
        """the environment of a client over HTTPS"""
        return dict(self.env, MICA_URL=self.url, MICA_FINGERPRINT=self.fingerprint)

    def run(self, *words, stdin=b"", limit_s=60, base=None, **env):
        return subprocess.run([self.mica, *words], input=stdin, capture_output=True, timeout=limit_s, cwd=self.dir, env={**(base or self.env), **env})

    def start(self, *words, base=None, **more):
        return subprocess.Popen([self.mica, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir,
                                env=base or self.env, **more)

    def write(self, name, data):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        return self.rig.close()


def good(done, out, what):
    if not tap.ok(done.returncode == 0 and out in done.stdout, what):
        print("# %d %r %r" % (done.returncode, done.stdout[:600], done.stderr[:600]))


def bad(done, code, words, what):
    """refused with that exit code, in three lines that hold these words"""
    if not tap.ok(done.returncode == code and all(w in done.stderr for w in words) and done.stderr.count(b"\n") == 3, what):
        print("# %d %r %s" % (done.returncode, done.stdout[:300], done.stderr.decode()))


def main(cases):
    """argv: MICA FRONT AGENT [WORD...]"""
    w = World(*sys.argv[1:4])
    for name, case in cases:
        if not sys.argv[4:] or any(x in name for x in sys.argv[4:]):
            print("# " + name, flush=True)
            try:
                case(w)
            except Exception as why:  # one bad case must not hide the others
                import traceback
                tap.ok(False, "%s: %r at line %d" % (name, why, traceback.extract_tb(why.__traceback__)[-1].lineno))
    tap.ok(w.close() == 0, "front ends with core")
    return tap.done()
