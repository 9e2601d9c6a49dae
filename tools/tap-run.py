#!/usr/bin/env python3
"""tap-run.py [-j N] [-t SEC] [-a] [-v] ITEM...: run TAP programs, each bounded in time, and say what came out.

An ITEM is a command line; "@SEC command" gives it its own time limit, "=NAME command" (after the limit) its own name.
A program passes when it exits 0, printed a plan "1..N" and exactly N results. "ok … # SKIP why" and "1..0 # SKIP why"
count as skipped. A program that dies, hangs or loses results is one failure more. The last line of all is
"N passed, N failed, N skipped"; exit 1 when anything failed or nothing passed.

-a: a program that failed beside others within AGAIN_SEC runs twice more with the machine to itself. It failed unless both runs pass; then it is
named as flaky, with what it said the first time, and counted as it last came out: a race to be mended, seen by whoever reads.
A program can do so for single results: "ok … # FLAKY why".
"""
import argparse
import concurrent.futures
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

TAIL_LINES = 60  # of a failed program's output that are shown
RESULT = re.compile(r"^(not )?ok\b\s*(\d*)\s*-?\s*(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(\s*#\s*SKIP\s*(.*))?", re.I)
SKIP = re.compile(r"#\s*SKIP\b\s*(.*)$", re.I)
FLAKY = re.compile(r"#\s*FLAKY\b\s*(.*)$")
TOLD_LINES = 25   # of what follows a result that failed
AGAIN_RUNS = 2    # of one program that failed
AGAIN_SEC = 300   # longer ones see to themselves
AGAIN_ITEMS = 4   # more failures than that are no accident
print_lock = threading.Lock()


def say(text):
    with print_lock:
        print(text, flush=True)


class Item:
    def __init__(self, spec, limit_s):
        words = shlex.split(spec)
        self.limit_s = limit_s
        self.name = None
        while words and words[0][0] in "@=":
            if words[0][0] == "@":
                self.limit_s = int(words[0][1:])
            else:
                self.name = words[0][1:]
            words = words[1:]
        self.argv = words
        self.name = self.name or "/".join(words[0].split("/")[-2:])
        self.passed = self.failed = self.skipped = 0
        self.plan = None
        self.lines = []
        self.skip_reasons = []
        self.flaky = []
        self.seconds = 0.0
        self.spec = spec

    def take(self, line, verbose):
        self.lines.append(line)
        plan, result = PLAN.match(line), RESULT.match(line)
        if plan:
            self.plan = int(plan.group(1))
            if self.plan == 0:
                self.skipped += 1
                self.skip_reasons.append(plan.group(3) or "no reason given")
        elif result:
            skip = SKIP.search(result.group(3))
            if result.group(1):
                self.failed += 1
                say("  not ok: %s: %s" % (self.name, result.group(3)))
            elif skip:
                self.skipped += 1
                self.skip_reasons.append(result.group(3))
            else:
                self.passed += 1
                if FLAKY.search(result.group(3)):
                    self.flaky.append(result.group(3))
        if verbose:
            say("  %s: %s" % (self.name, line))

    def complain(self, why):
        self.failed += 1
        self.lines.append("# tap-run: " + why)
        say("  not ok: %s: %s" % (self.name, why))


def end_group(proc):
    try:
        os.killpg(proc.pid, signal.SIGTERM)
        time.sleep(0.5)
        os.killpg(proc.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(item, verbose):
    start = time.monotonic()
    try:
        proc = subprocess.Popen(item.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True)
    except OSError as e:
        item.complain("cannot start: %s" % e)
        return item
    hit_limit = threading.Event()

    def too_long():
        hit_limit.set()
        end_group(proc)

    timer = threading.Timer(item.limit_s, too_long)
    timer.start()
    for raw in proc.stdout:
        item.take(raw.decode(errors="replace").rstrip("\n"), verbose)
    status = proc.wait()
    timer.cancel()
    item.seconds = time.monotonic() - start
    counted = item.passed + item.failed + item.skipped
    if hit_limit.is_set():
        item.complain("time limit of %d s" % item.limit_s)
    elif item.plan is None:
        item.complain("no plan; exit status %d" % status)
    elif item.plan and item.plan != counted:
        item.complain("planned %d results, gave %d" % (item.plan, counted))
    elif status != 0 and item.failed == 0:
        item.complain("exit status %d" % status)
    return item


def told(lines):
    """What a program said of its failures and flakes: each such result with the lines after it, then its last words."""
    shown = set()
    for n, line in enumerate(lines):
        result = RESULT.match(line)
        if result and (result.group(1) or FLAKY.search(line)):
            end = n + 1
            while end < len(lines) and end - n <= TOLD_LINES and not RESULT.match(lines[end]):
                end += 1
            shown.update(range(n, end))
    shown.update(range(max(0, len(lines) - TAIL_LINES), len(lines)))
    last = -1
    for n in sorted(shown):
        if n != last + 1:
            say("     | …")
        say("     | " + lines[n])
        last = n


def report(item):
    word = "FAIL" if item.failed else ("ok  " if item.passed else "skip")
    say("%s %-28s %4d passed %3d failed %3d skipped %7.2f s" % (word, item.name, item.passed, item.failed, item.skipped, item.seconds))
    for reason in item.skip_reasons:
        say("       skipped: " + reason)
    for name in item.flaky:
        say("       FLAKY: " + name)
    if item.failed or item.flaky:
        told(item.lines)


def again(item, limit_s, verbose):
    """The item as it came out when run alone: the first that failed once more, or the last of those that passed."""
    for n in range(AGAIN_RUNS):
        say("  again, alone (%d of %d): %s" % (n + 1, AGAIN_RUNS, item.name))
        now = run(Item(item.spec, limit_s), verbose)
        report(now)
        if now.failed:
            return now
    now.flaky.append("%s: failed beside others, then passed alone %d times" % (item.name, AGAIN_RUNS))
    say("       FLAKY: " + now.flaky[-1])
    return now


def main():
    parser = argparse.ArgumentParser(description="run TAP programs")
    parser.add_argument("-j", type=int, default=2, help="programs at once")
    parser.add_argument("-t", type=int, default=120, help="seconds each")
    parser.add_argument("-a", action="store_true", help="failed programs run again, alone")
    parser.add_argument("-v", action="store_true", help="show every line")
    parser.add_argument("items", nargs="*")
    args = parser.parse_args()
    items = [Item(spec, args.t) for spec in args.items]
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(args.j, 1)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, item, args.v) for item in items]):
            report(done.result())
    bad = [i for i in items if i.failed]
    if args.a and len(bad) <= AGAIN_ITEMS:
        for item in (i for i in bad if i.seconds < AGAIN_SEC):
            items[items.index(item)] = again(item, args.t, args.v)
    say("")
    for name in [name for item in items for name in item.flaky]:
        say("flaky: " + name)
    passed, failed, skipped = (sum(getattr(i, k) for i in items) for k in ("passed", "failed", "skipped"))
    say("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed or not passed else 0)


main()
