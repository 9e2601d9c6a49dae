#!/usr/bin/env python3
"""packed.py UNPACKED: what lib/arc makes of gzip, honest, cut and broken, against Python's own zlib. TAP."""
import gzip, hashlib, os, random, struct, subprocess, sys, zlib
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap

EPROTO = -71


class Unpacked:
    def __init__(self, path):
        self.p = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, data, kind='g', chunk=1 << 30):
        """(result, bytes, their digest, sentence)"""
        self.p.stdin.write(struct.pack('<cII', kind.encode(), chunk, len(data)) + data)
        self.p.stdin.flush()
        err, n = struct.unpack('<iQ', self.p.stdout.read(12))
        digest, text = self.p.stdout.read(32), b''
        while (c := self.p.stdout.read(1)) != b'\0':
            text += c
        return err, n, digest, text.decode()


def same(got, data):
    return got[:3] == (0, len(data), hashlib.sha256(data).digest())


def texts():
    r = random.Random(5)
    words = [bytes(r.randrange(97, 123) for _ in range(r.randrange(1, 12))) for _ in range(3000)]
    yield 'nothing', b''
    yield 'a byte', b'x'
    yield 'text', b' '.join(r.choice(words) for _ in range(120000))
    yield 'noise', r.randbytes(300000)
    yield 'zeroes', bytes(3 << 20)
    yield 'periods', b''.join(r.randbytes(n) * (70000 // n) for n in (1, 2, 3, 5, 7, 8, 9, 258, 259, 32767, 32768))
    yield 'skewed', bytes(min(int(r.expovariate(0.05)), 255) for _ in range(200000))  # long codes
    yield 'both', r.randbytes(70000) + b'again and again ' * 9000 + r.randbytes(70000)


def pack(data, level=6, strategy=0, mem=8):
    z = zlib.compressobj(level, zlib.DEFLATED, 31, mem, strategy)
    return z.compress(data) + z.flush()


def honest(t, u):
    for name, data in texts():
        bad = [(level, strategy) for level in range(10) for strategy in range(5) if not same(u(pack(data, level, strategy)), data)]
        t.ok(not bad, f'gzip: {name}: {bad}')
    name, data = list(texts())[2]
    t.ok(same(u(pack(data, mem=1)), data) and same(u(gzip.compress(data)), data), 'gzip: many small blocks, and with a file name')
    short = data[:40000]
    t.ok(all(same(u(pack(short), chunk=n), short) for n in (1, 2, 3, 7, 15, 16, 17, 1000)), 'gzip: in pieces of any size')
    full = b'\x1f\x8b\x08\x1e' + bytes(6) + b'\x05\0extra' + b'name\0' + b'comment\0' + b'hc' + pack(short)[10:]
    t.ok(same(u(full), short), 'gzip: every field of the head')
    t.ok(same(u(pack(short) + pack(b'') + pack(data)), short + data) and same(u(pack(short) + bytes(70000)), short), 'gzip: several members, zeroes after them')
    z = zlib.compressobj(6, zlib.DEFLATED, 31)
    flushed = b''.join(z.compress(short[i:i + 100]) + z.flush(zlib.Z_FULL_FLUSH if i % 200 else zlib.Z_SYNC_FLUSH) for i in range(0, len(short), 100)) + z.flush()
    t.ok(same(u(flushed), short), 'gzip: flushed often')


def hostile(t, u):
    data = list(texts())[2][1][:3000] + os.urandom(500)
    for packed, what in ((pack(data), 'own codes'), (pack(data, strategy=4), 'fixed codes'), (pack(data, 0), 'stored')):
        bad = [n for n in range(len(packed)) if u(packed[:n])[0] != EPROTO]
        t.ok(not bad, f'gzip: {what}, cut anywhere, is refused: {bad[:9]}')
        t.ok('cut short' in u(packed[:-3])[3], f'gzip: {what}: which is said')
        r, wrong = random.Random(6), []
        for _ in range(1000):
            at, broken = r.randrange(len(packed) * 8), bytearray(packed)
            broken[at // 8] ^= 1 << at % 8
            got = u(bytes(broken), chunk=r.choice((1 << 30, 5, 64)))
            if got[0] != EPROTO and not same(got, data): # some do not matter: the time in the head
                wrong.append((at, got))
        t.ok(not wrong, f'gzip: {what}, a bit of it turned, is refused or does not matter: {wrong[:3]}')
    for body, words in ((b'\x07', 'kind of block'), (b'\x01\x05\x00\x05\x00hello', 'complement'), (b'\x03\x02', 'not there'), (b'\x05' + b'\xff' * 40, ''), (b'\xfd' + b'\xff' * 40, '')):
        got = u(b'\x1f\x8b\x08' + bytes(7) + body + bytes(60))
        t.ok(got[0] == EPROTO and words in got[3], f'gzip: {body[:6]}: {got[3]}')
    for head in (b'\x1f\x8b\x07' + bytes(7), b'\x1f\x8b\x08\x20' + bytes(6)):
        t.ok('unknown method' in u(head + bytes(60))[3], f'gzip: head {head[:4]}')
    t.ok('more after' in u(pack(data) + b'rubbish')[3] and 'checksum' in u(pack(data)[:-8] + bytes(8))[3], 'gzip: more behind it, a wrong checksum')
    t.ok(u(b'')[0] == EPROTO, 'gzip: nothing')


def main(path):
    t, u = Tap(), Unpacked(path)
    honest(t, u)
    hostile(t, u)
    u.p.stdin.close()
    t.ok(u.p.wait() == 0, 'nothing broke')
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
