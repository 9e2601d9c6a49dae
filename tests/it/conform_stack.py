#!/usr/bin/env python3
"""conform_stack.py BIN-FOLDER AGENT [WORD...]: conform.py over the unix socket, HTTP and HTTPS against the daemon of real parts (stack.py). TAP."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402


def run(tap, words, what):
    p = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        good = line.startswith("ok ")
        if good or line.startswith("not ok "):
            tap.n += 1
            tap.failed += not good
            line = "%sok %d - %s" % ("" if good else "not ", tap.n, line.split(" - ", 1)[1])
        if not line.startswith("1.."):
            print(line, end="", flush=True)
    tap.ok(p.wait() in (0, 1), "conform.py ran to its end over " + what)


def main():
    tap = Tap()
    for tls, kinds in ((False, ("unix", "http")), (True, ("https",))):
        stack = Stack(sys.argv[1], sys.argv[2], tls=tls)
        try:
            for kind in kinds:
                words = [sys.executable, os.path.join(HERE, "conform.py"), "--base", stack.base(kind), "--group", "demo"]
                words += [] if kind == "unix" else ["--token=" + stack.token]  # which may begin with a dash
                words += ["--fingerprint", stack.fingerprint] if tls else []
                if kind == "unix":
                    run(tap, words[:-1] + ["iso", "case_create", "network", "describe"], "unix, in an isolated group")
                run(tap, words + (["--end"] if kind == kinds[-1] else []) + sys.argv[3:], kind)
        finally:
            codes = stack.close()
        tap.ok(codes == [0, 0], "core and front ended well: %s" % codes)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
