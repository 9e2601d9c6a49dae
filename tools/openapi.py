#!/usr/bin/env python3
"""openapi.py FILE.yaml [-c]: the API's description as compact JSON on stdout; with -c as a C source that holds it (front serves it as
/openapi.json). Reads the subset of YAML that api/openapi.yaml keeps to: block maps, block lists of one-line items, one-line flow
collections, plain or double-quoted scalars, comments on lines of their own. Anything else is an error with its line."""
import json
import re
import sys

TOKEN = re.compile(r'\s*(?:([{}\[\],])|("(?:[^"\\]|\\.)*")|([^{}\[\],"]+))')


class Bad(Exception):
    pass


def scalar(text):
    text = text.strip()
    if text.startswith('"'):
        return json.loads(text)
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "null", "~"):
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if text[0] in "&*!|>'%@`" or ": " in text or " #" in text:
        raise Bad("a scalar that must be quoted: %s" % text)
    return text


class Flow:
    """One value on one line."""

    def __init__(self, text):
        self.text, self.at = text, 0
        self.value = self.read()
        if self.text[self.at:].strip():
            raise Bad("more after the value: %s" % self.text[self.at:])

    def take(self):
        m = TOKEN.match(self.text, self.at)
        if not m:
            raise Bad("the line ends too early")
        self.at = m.end()
        return m.group(1), m.group(2) or m.group(3)

    def peek(self, mark):
        rest = self.text[self.at:].lstrip()
        if rest.startswith(mark):
            self.at = len(self.text) - len(rest) + 1
            return True
        return False

    def read(self):
        rest = self.text[self.at:].lstrip()
        if not rest or rest[0] not in '{["':
            if self.at == 0:
                self.at = len(self.text)
                return scalar(rest)
        mark, text = self.take()
        if mark == "{":
            return self.inside("}", {})
        if mark == "[":
            return self.inside("]", [])
        if mark:
            raise Bad("'%s' where a value belongs" % mark)
        return scalar(text)

    def inside(self, end, out):
        while not self.peek(end):
            if end == "}":
                key, value = self.member()
                if key in out:
                    raise Bad("'%s' twice" % key)
                out[key] = value
            else:
                out.append(self.read())
            if not self.peek(","):
                if not self.peek(end):
                    raise Bad("no '%s'" % end)
                break
        return out

    def member(self):
        m = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s{}\[\],":]+):\s+').match(self.text, self.at)
        if not m:
            raise Bad("no 'key: value' at %s" % self.text[self.at:])
        self.at = m.end()
        return key_of(m.group(1)), self.read()


def key_of(text):
    return json.loads(text) if text.startswith('"') else text


def lines_of(text):
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, len(line) - len(line.lstrip(" ")), line.strip()


def block(rows, at, indent):
    """The value whose lines begin at rows[at] with that indent: (value, index after it)."""
    out = [] if rows[at][2].startswith("- ") else {}
    while at < len(rows) and rows[at][1] == indent:
        number, _, text = rows[at]
        try:
            if isinstance(out, list):
                value = text[2:]
                m = re.match(r"([\w-]+): (\S.*)$", value)
                out.append({m.group(1): Flow(m.group(2)).value} if m and value[0] not in '{["' else Flow(value).value)
                at += 1
                continue
            m = re.match(r'("(?:[^"\\]|\\.)*"|[^\s":]+):(?:\s+(.*))?$', text)
            if not m:
                raise Bad("no 'key: value'")
            key = key_of(m.group(1))
            if key in out:
                raise Bad("'%s' twice" % key)
            at += 1
            if m.group(2):
                out[key] = Flow(m.group(2)).value
            elif at < len(rows) and rows[at][1] > indent:
                out[key], at = block(rows, at, rows[at][1])
            else:
                out[key] = None
        except (Bad, ValueError) as why:
            raise Bad("line %d: %s" % (number, why) if not str(why).startswith("line ") else str(why)) from None
    if at < len(rows) and rows[at][1] > indent:
        raise Bad("line %d: deeper than it may be" % rows[at][0])
    return out, at


def load(path):
    with open(path, encoding="utf-8") as f:
        rows = list(lines_of(f.read()))
    value, at = block(rows, 0, 0)
    if at != len(rows):
        raise Bad("line %d: does not belong anywhere" % rows[at][0])
    return value


def c_source(text):
    """String literals of whole characters, so that no escape runs into what follows."""
    rows = [text[i:i + 110] for i in range(0, len(text), 110)]
    body = "\n".join('\t"%s"' % row.replace("\\", "\\\\").replace('"', '\\"').replace("??", '?""?') for row in rows)
    return ('/* Made from api/openapi.yaml by tools/openapi.py. */\n#include "api/front/openapi.h"\n\nconst char openapi_json[] =\n%s;\n'
            "const size_t openapi_json_bytes = sizeof(openapi_json) - 1;\n" % body)


def main():
    try:
        text = json.dumps(load(sys.argv[1]), separators=(",", ":"), ensure_ascii=True)
    except (Bad, OSError) as why:
        sys.exit("error: %s: %s" % (sys.argv[1], why))
    sys.stdout.write(c_source(text) if "-c" in sys.argv[2:] else text + "\n")


if __name__ == "__main__":
    main()
