#!/usr/bin/env python3
"""suite.py [-f] [-k WORD] MICA [ROOM...]: the whole-guest tests over the real one-file program. TAP on stdout.

Runs wherever it is started: on a machine whose /dev/kvm boots the kernel, or in the rig's L1 (tests/it/run.sh decides).
One daemon and two VMs (1 and 2 vCPUs) serve most cases. -f takes the full sizes (1 GiB through exec, 64 launches);
without it they are scaled down for an emulated CPU. ROOMs are the case_*.py files; default those below, in that order (not config, which needs no guest).
Everything is made below one temporary folder and ended at the end. A case that fails runs twice more; when both pass it is said
to be FLAKY, with what its failure said.
"""
import argparse
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import world  # noqa: E402

ROOMS = ["run", "api", "exec", "stdin", "streams", "cp", "shell", "fs", "cli", "bg", "image", "build", "disk", "fork", "auth", "conform", "badinput", "net", "iso", "publish", "flood", "adopt", "walls", "rootless", "full", "many", "own", "kernels", "end"]


AGAIN_RUNS = 2   # of a case that failed
AGAIN_CASES = 3  # more failures than that are no accident


class TooLong(BaseException):
    pass


def on_alarm(*_):
    raise TooLong()


def cases_of(room):
    module = importlib.import_module("case_" + room)
    found = [value for name, value in vars(module).items() if name.startswith("case_") and callable(value)]
    return sorted(found, key=lambda f: f.__code__.co_firstlineno)


def run_case(env, case):
    """(ok, text after the name: a reason to skip, or lines of a failure)"""
    signal.alarm(getattr(case, "limit_s", 60) * env.patience)
    try:
        case(env)
        return True, ""
    except world.Skip as why:
        return True, " # SKIP %s" % why
    except TooLong:
        return False, "time limit\n" + "".join(traceback.format_stack(limit=8))
    except Exception:
        return False, traceback.format_exc(limit=6)
    finally:
        signal.alarm(0)


def run_again(env, case, began_with):
    """A case that failed runs twice more, on daemons of its own made afresh: it did fail unless both runs pass (one that is left out does not)."""
    for n in range(AGAIN_RUNS):
        env.forget(began_with, n)
        good, text = run_case(env, case)
        if not good or text:
            return False, text
    return True, ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", dest="full", action="store_true")
    parser.add_argument("-k", dest="word", default="")
    parser.add_argument("mica")
    parser.add_argument("rooms", nargs="*")
    args = parser.parse_intermixed_args()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    top = tempfile.mkdtemp(prefix="mica-it.")
    os.chmod(top, 0o755)  # the daemon's processes run as other users
    env = world.World(os.path.abspath(args.mica), top, args.full)
    count = failed = reruns = 0
    begin = time.monotonic()
    try:
        for room in args.rooms or ROOMS:
            for case in cases_of(room):
                name = "%s: %s" % (room, " ".join((case.__doc__ or case.__name__).split()))
                if not re.search(args.word, name + " " + case.__name__):
                    continue
                start = time.monotonic()
                daemons = list(env.daemons)
                good, text = run_case(env, case)
                first = ""
                if not good and reruns < AGAIN_CASES:
                    reruns += 1
                    first = text + env.tell()
                    good, text = run_again(env, case, daemons)
                    if good:
                        text = " # FLAKY failed, then passed %d times" % AGAIN_RUNS
                count += 1
                failed += not good
                name = name.replace("#", "no.")
                print("%sok %d - %s (%.1f s)%s" % ("" if good else "not ", count, name, time.monotonic() - start,
                                                   text if good else ""), flush=True)
                if first or not good:
                    for line in (first or text + env.tell()).splitlines():
                        print("# " + line, flush=True)
    finally:
        env.end()
        shutil.rmtree(top, ignore_errors=True)
    print("# %d cases in %.0f s" % (count, time.monotonic() - begin))
    print("1..%d" % count)
    sys.exit(1 if failed else 0)


main()
