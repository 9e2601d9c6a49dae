"""Recipes: a file is copied in, a program of Debian's works on it, the result is copied out. Started by heavy.sh."""
import math
import os
import struct
import zlib

from debian import guest
from world import Skip, limit, must, same

TAR = "media.tar.gz"


def wav():
    """A second of 440 Hz, 16 bits, mono."""
    data = b"".join(struct.pack("<h", int(12000 * math.sin(2 * math.pi * 440 * i / 16000))) for i in range(16000))
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack("<I", len(data)) + data


def png_pixels(data):
    """(width, height, first pixel's red, green, blue) of an 8-bit RGB or RGBA PNG without interlace."""
    must(data.startswith(b"\x89PNG\r\n\x1a\n"), "no PNG", data[:16])
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[at + 8:at + 21])
            must(depth == 8 and colour in (2, 6) and not interlace, "depth, colour", depth, colour)
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    return width, height, tuple(zlib.decompress(packed)[1:4])  # the first pixel is the same under every filter


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
    d = guest(env, TAR, 1024)
    put(env, d, "tone.wav", wav())
    code, out, err = d.exec("ffmpeg -nostdin -v error -i tone.wav tone.flac && ffmpeg -nostdin -v error -i tone.flac -bitexact back.wav", limit_s=120)
    same(code, 0, err)
    flac = take(env, d, "tone.flac")
    must(flac.startswith(b"fLaC") and 1000 < len(flac) < 32000, flac[:16], len(flac))
    same(take(env, d, "back.wav")[-32000:], wav()[-32000:], "the samples")


@limit(300)
def case_chromium(env):
    """headless Chromium: a page goes in, a screenshot comes out in its colours"""
    if env.patience > 1:
        raise Skip("left out in the rig: on an emulated CPU the browser was not done after four minutes")
    d = guest(env, TAR, 1024)
    put(env, d, "page.html", b"<html><body style='background: rgb(12, 200, 90)'><script>document.title = 6 * 7</script><h1>mica</h1></body></html>")
    code, out, err = d.exec("chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --window-size=320,240 --screenshot=shot.png file://$HOME/page.html",
                            limit_s=250)
    must(code == 0, out, err)
    same(png_pixels(take(env, d, "shot.png")), (320, 240, (12, 200, 90)))
