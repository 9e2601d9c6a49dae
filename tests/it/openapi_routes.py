#!/usr/bin/env python3
"""openapi_routes.py: api/openapi.yaml describes exactly the rows of api/front/routes.c, and its references exist. TAP."""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read(path):
    with open(os.path.join(TOP, path)) as f:
        return f.read()


def described(text):
    """{(METHOD, /path/{})} by the file's own indentation: paths at 2, methods at 4."""
    rows, inside, path = set(), False, None
    for line in text.split("\n"):
        if re.match(r"\S", line):
            inside = line == "paths:"
        elif inside and re.match(r"  /", line):
            path = re.sub(r"\{\w+\}", "{}", line.strip().rstrip(":"))
        elif inside and re.match(r"    \w+:$", line):
            rows.add((line.strip().rstrip(":").upper(), path))
    return rows


def main():
    tap = Tap()
    yaml = read("api/openapi.yaml")
    served = set(re.findall(r'\{ "([A-Z]+)", "(/[^"]*)",', read("api/front/routes.c")))
    there = described(yaml)
    tap.ok(len(served) > 40, "%d routes" % len(served))
    tap.ok(not served - there, "every route is described; missing: %s" % sorted(served - there))
    tap.ok(not there - served, "nothing else is described; too many: %s" % sorted(there - served))
    for kind, name in sorted(set(re.findall(r"#/components/(\w+)/(\w+)", yaml))):
        section = re.search(r"\n  %s:\n((?:    .*\n)+)" % kind, yaml)
        tap.ok(section and re.search(r"^    %s:" % name, section.group(1), re.M), "%s/%s exists" % (kind, name))
    ids = re.findall(r"operationId: (\w+)", yaml)
    tap.ok(len(ids) == len(set(ids)) == len(there), "every operation has an id of its own")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
