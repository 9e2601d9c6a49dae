#!/usr/bin/env python3
"""packed.py UNPACKED: what lib/arc makes of gzip and zstd, honest, cut and broken, against Python's own zlib and Debian's zstd. TAP."""
import gzip, hashlib, os, random, shutil, struct, subprocess, sys, zlib
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
    r, bad = random.Random(9), []
    for i in range(300): # ends and stored blocks at every place of the reader's buffer
        some = short[:r.randrange(1, 5000)] + r.randbytes(r.randrange(600))
        packed = pack(some, r.choice((0, 1, 6)), r.choice((0, 4))) + pack(short[:r.randrange(300)]) * r.randrange(2) + bytes(r.randrange(40))
        want = gzip.decompress(packed)
        bad += [i] * (not same(u(packed, chunk=r.choice((1 << 30, 1, 9, 100, 700))), want))
    t.ok(not bad, f'gzip: ends anywhere: {bad[:9]}')
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


def zstd(data, *words):
    return subprocess.run(['zstd', '-q', '-c', *words], input=data, capture_output=True, check=True).stdout


def block(kind, data, n=None):
    """A frame with a window of 128 KiB and one last block."""
    return b'\x28\xb5\x2f\xfd\x00\x38' + struct.pack('<I', 1 | kind << 1 | (len(data) if n is None else n) << 3)[:3] + data


def zstd_honest(t, u):
    for name, data in texts():
        data = data[:400000]
        levels = [['--fast=5'], ['-1'], ['-3', '--no-check'], ['-7', '--no-content-size'], ['-13'], ['-19', '--long=24']]
        bad = [w for w in levels if not same(u(zstd(data, *w), 'z'), data)]
        t.ok(not bad, f'zstd: {name}: {bad}')
    name, data = list(texts())[2]
    all_levels = [n for n in range(1, 23) if not same(u(zstd(data[:50000], '--ultra', f'-{n}'), 'z'), data[:50000])]
    t.ok(not all_levels, f'zstd: every level: {all_levels}')
    short = zstd(data[:40000])
    t.ok(all(same(u(short, 'z', chunk=n), data[:40000]) for n in (1, 2, 3, 7, 1000)), 'zstd: in pieces of any size')
    skip = struct.pack('<II', 0x184d2a53, 5) + b'hello'
    t.ok(same(u(skip + short + skip + zstd(b'') + zstd(data) + skip, 'z'), data[:40000] + data), 'zstd: several frames, others are skipped')
    far = os.urandom(300000)
    t.ok(same(u(zstd(far + bytes(9 << 20) + far, '--long=27'), 'z'), far + bytes(9 << 20) + far), 'zstd: what lies far back')
    t.ok(same(u(block(1, b'x', 1000), 'z'), b'x' * 1000) and same(u(block(0, b'raw'), 'z'), b'raw'), 'zstd: blocks that are not packed')


def zstd_hostile(t, u):
    data = list(texts())[2][1][:6000] + os.urandom(300)
    for words, what in (((), 'with checksum'), (('-19', '--no-check'), 'without')):
        packed, check = zstd(data, *words), not words
        bad = [n for n in range(len(packed)) if u(packed[:n], 'z')[0] != EPROTO]
        t.ok(not bad, f'zstd: {what}, cut anywhere, is refused: {bad[:9]}')
        r, wrong = random.Random(7), []
        for _ in range(700):
            at, broken = r.randrange(len(packed) * 8), bytearray(packed)
            broken[at // 8] ^= 1 << at % 8
            got = u(bytes(broken), 'z', chunk=r.choice((1 << 30, 5, 64)))
            if check and got[0] not in (EPROTO, -95) and not same(got, data):
                wrong.append((at, got))
        t.ok(not wrong, f'zstd: {what}, a bit of it turned: {wrong[:3]}')
    t.ok('window of 256 MiB' in u(b'\x28\xb5\x2f\xfd\x00\x90' + bytes(9), 'z')[3] and 'larger window' not in u(zstd(b'x'), 'z')[3], 'zstd: a window that is too large')
    t.ok('window' in u(b'\x28\xb5\x2f\xfd\xe0' + b'\xff' * 8 + bytes(9), 'z')[3], 'zstd: a content that is too large')
    t.ok('dictionary' in u(b'\x28\xb5\x2f\xfd\x01\x38\x05' + bytes(9), 'z')[3], 'zstd: a dictionary')
    t.ok('length' in u(b'\x28\xb5\x2f\xfd\x20\x09' + block(0, b'raw')[6:], 'z')[3], 'zstd: another length than it says')
    for what, words in ((block(3, b'x'), 'no such block'), (block(0, b'', 1 << 18), 'no such block'), (block(2, b''), 'impossible'), (block(2, b'\x00\x01\x00'), 'impossible'),
                        (block(2, bytes(40)), 'impossible'), (block(2, b'\xff' * 40), 'impossible'), (block(0, b'raw') + b'rubbish', 'more after'), (b'\x28\xb5', 'cut short'), (b'', 'empty')):
        got = u(what, 'z')
        t.ok(got[0] == EPROTO and words in got[3], f'zstd: {what[6:14]}: {got[3]}')


def main(path):
    t, u = Tap(), Unpacked(path)
    honest(t, u)
    hostile(t, u)
    if shutil.which('zstd'):
        zstd_honest(t, u)
        zstd_hostile(t, u)
    else:
        t.skip('zstd', 'there is no program zstd')
    u.p.stdin.close()
    t.ok(u.p.wait() == 0, 'nothing broke')
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
