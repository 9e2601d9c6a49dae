"""Recipes: a file is copied in, a program of Debian's works on it, the result is copied out. Started by heavy.sh."""
import math
import os
import re
import struct
import time
import zlib

from debian import guest
from world import Skip, limit, must, same

TAR, RAM_MB = "media.tar.gz", 2048
SHOT_SEC = 225  # times the patience
WHOLE = 6       # times the headless shell's time: the whole browser's for the same picture, on an emulated CPU
PAGE = b"""<!doctype html><html><body style="margin: 0; background: rgb(12, 200, 90)">
<div id="box" style="position: absolute; left: 40px; top: 60px; width: 100px; height: 50px"></div><h1>mica</h1>
<script>document.getElementById("box").style.background = "rgb(" + 6 * 7 + ", 7, 249)"</script></body></html>
"""
FLAGS = "--disable-gpu --window-size=320,240"
took_s = {}


def wav():
    """A second of 440 Hz, 16 bits, mono."""
    data = b"".join(struct.pack("<h", int(12000 * math.sin(2 * math.pi * 440 * i / 16000))) for i in range(16000))
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack("<I", len(data)) + data


def png_colours(data):
    """(width, height, {(red, green, blue): pixels}) of an 8-bit RGB or RGBA PNG without interlace; all its checksums are looked at."""
    must(data.startswith(b"\x89PNG\r\n\x1a\n"), "no PNG", data[:16])
    at, packed, kind = 8, b"", b""
    while kind != b"IEND":
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        piece = data[at + 8:at + 8 + size]
        same(struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0], zlib.crc32(kind + piece), kind)
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", piece)
            must(depth == 8 and colour in (2, 6) and not interlace, "depth, colour", depth, colour)
        elif kind == b"IDAT":
            packed += piece
        at += 12 + size
    step = 3 if colour == 2 else 4
    raw, row, colours = zlib.decompress(packed), bytes(width * step), {}
    same(len(raw), (width * step + 1) * height, "bytes of pixels")
    for start in range(0, len(raw), width * step + 1):
        row = unfiltered(raw[start], raw[start + 1:start + 1 + width * step], row, step)
        for x in range(0, len(row), step):
            pixel = tuple(row[x:x + 3])
            colours[pixel] = colours.get(pixel, 0) + 1
    return width, height, colours


def unfiltered(kind, line, above, step):
    """A row's bytes, as the PNG specification's chapter 9 gives them back."""
    out = bytearray(line)
    for i in range(len(out)):
        left, up, corner = out[i - step] if i >= step else 0, above[i], above[i - step] if i >= step else 0
        if kind == 4:
            near = left + up - corner
            guess = min((abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner))[2]
        else:
            guess = (0, left, up, (left + up) // 2)[kind]
        out[i] = (out[i] + guess) & 255
    return bytes(out)


def put(env, d, name, data):
    here = os.path.join(env.top, name)
    with open(here, "wb") as f:
        f.write(data)
    done = d.cli("vm", "cp", here, "%s:/home/ubuntu/%s" % (d.vm, name))
    same(done.returncode, 0, done.stderr)


def take(env, d, name):
    here = os.path.join(env.top, name)
    done = d.cli("vm", "cp", "%s:/home/ubuntu/%s" % (d.vm, name), here)
    same(done.returncode, 0, done.stderr)
    with open(here, "rb") as f:
        return f.read()


@limit(900)
def case_ffmpeg(env):
    """ffmpeg: a WAV goes in, FLAC comes out, and decodes to the same samples"""
    d = guest(env, TAR, RAM_MB)
    put(env, d, "tone.wav", wav())
    code, out, err = d.exec("ffmpeg -nostdin -v error -i tone.wav tone.flac && ffmpeg -nostdin -v error -i tone.flac -bitexact back.wav", limit_s=120)
    same(code, 0, err)
    flac = take(env, d, "tone.flac")
    must(flac.startswith(b"fLaC") and 1000 < len(flac) < 32000, flac[:16], len(flac))
    same(take(env, d, "back.wav")[-32000:], wav()[-32000:], "the samples")


def cpu_s(d):
    """What the browser's processes have used of the guest's CPU."""
    return int(d.root("cat /proc/[0-9]*/stat 2>/dev/null | awk '$2 ~ /chrom/ { n += $14 + $15 } END { print n + 0 }'")[1]) / 100


def too_slow(env, d, name, limit_s):
    """A browser that did not end: on an emulated CPU, and while it makes progress, that is no failure."""
    before = cpu_s(d)
    time.sleep(5)
    after = cpu_s(d)
    took_s[name] = limit_s
    must(env.patience > 1 and after > before, name, "hangs: it used", after, "s of the guest's CPU in", limit_s, "s, and lately", after - before)
    raise Skip("on this emulated CPU %s was still at work after %d s (%d s of the guest's CPU)" % (name, limit_s, after))


def screenshot(env, d, name, command):
    """It goes on without us, so that no limit of an exec's counts; it has ended when its picture is whole."""
    limit_s = SHOT_SEC * env.patience
    code, out, err = d.exec("command -v %s || echo none" % name)
    same(code, 0, err)
    if out == "none\n":
        raise Skip("this guest's root file system has no " + name)
    put(env, d, "page.html", PAGE)
    begin = time.monotonic()
    done = d.cli("vm", "bg", "exec", d.vm, "-s", "/bin/sh", "--", "rm -f shot.png; exec %s %s --screenshot=$HOME/shot.png file://$HOME/page.html" % (command, FLAGS))
    same(done.returncode, 0, done.stderr)
    ident = re.search(rb"exec_id=(ex_\w+)", done.stdout)[1].decode()
    try:
        done = d.cli("vm", "bg", "wait", d.vm, ident, "--timeout", "%ds" % limit_s, limit_s=SHOT_SEC + 30)
        if done.returncode == 124:
            too_slow(env, d, name, limit_s)
        must(done.returncode == 0, name, done.returncode, done.stderr, d.cli("vm", "bg", "logs", d.vm, ident).stderr[-2000:])
    finally:
        d.cli("vm", "bg", "kill", d.vm, ident)
    took_s[name] = time.monotonic() - begin
    width, height, colours = png_colours(take(env, d, "shot.png"))
    print("# %s: %.1f s; %d colours" % (name, took_s[name], len(colours)))
    same((width, height), (320, 240), "size")
    same(colours.get((42, 7, 249)), 5000, "pixels of the box that the script has coloured")
    must(colours.get((12, 200, 90), 0) > 60000 and colours.get((0, 0, 0), 0) > 200, "the page's colour and its letters", colours.get((12, 200, 90)), colours.get((0, 0, 0)))


@limit(300)
def case_headless_shell(env):
    """Chromium's headless shell, in its own sandbox: a page goes in, a screenshot comes out, pixel for pixel"""
    screenshot(env, guest(env, TAR, RAM_MB), "chromium-headless-shell", "chromium-headless-shell")


@limit(300)
def case_chromium(env):
    """the whole browser, headless, in its own sandbox: the same page, the same screenshot"""
    took, limit_s = took_s.get("chromium-headless-shell", 0), SHOT_SEC * env.patience
    if env.patience > 1 and took * WHOLE > limit_s:
        raise Skip("on this emulated CPU the headless shell took %d s; the whole browser takes %d times that, and %d s are the limit" % (took, WHOLE, limit_s))
    screenshot(env, guest(env, TAR, RAM_MB), "chromium", "chromium --headless")
