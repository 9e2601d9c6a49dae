#!/usr/bin/env python3
"""core_reflink.py CORE: the real core on a file system that shares extents (btrfs on a loop device of its own): VMs over a large image, commits and forks
copy nothing and need no block map, and what one writes no other sees. TAP; a said skip where no such file system can be mounted."""
import fcntl, os, shutil, struct, subprocess, sys, tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import OK, T_VM, ok, says  # noqa: E402
from core_commits import CommitWorld, T_COMMIT, commit, delete, disk_of, fork, stopped  # noqa: E402

DATA = 30 << 20  # far more than core would copy
FIEMAP, SHARED = 0xC020660B, 0x2000


def bytes_of(path):
    """(bytes on the disk that no other file shares, bytes that others share)"""
    own = shared = at = 0
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
        while True:
            got = bytearray(struct.pack('=QQIIII', at, (1 << 62) - at, 1, 0, 64, 0) + bytes(64 * 56))
            fcntl.ioctl(f, FIEMAP, got)
            count = struct.unpack_from('=I', got, 20)[0]
            for i in range(count):
                logical, _, length, _, _, flags = struct.unpack_from('=QQQQQI', got, 32 + 56 * i)
                own, shared, at = (own, shared + length, logical + length) if flags & SHARED else (own + length, shared, logical + length)
            if count < 64:
                return own, shared


def test(w):
    w.start()
    images = [n for n in (w.create('ok').str(T_VM) for _ in range(20))]
    used = [bytes_of(os.path.join(w.state, 'vm', n, 'disk.img')) for n in images]
    ok(len(set(images)) == 20 and all(shared > DATA - (1 << 20) and own < 1 << 20 for own, shared in used), '20 VMs share an image of 30 MiB', used[:3])
    ok(not any(os.path.exists(os.path.join(w.state, 'vm', n, 'disk.map')) for n in images), 'without a block map')
    same = open(w.image, 'rb').read(200 * 4096)
    disks = [open(os.path.join(w.state, 'vm', n, 'disk.img'), 'rb').read(200 * 4096) for n in images]
    differ = [[i for i in range(200) if d[i * 4096:(i + 1) * 4096] != same[i * 4096:(i + 1) * 4096]] for d in disks]
    ok(all(len(x) == 1 for x in differ) and len({x[0] for x in differ}) == 20, 'what each wrote at its boot only it has', differ[:3])
    mother = stopped(w)
    m = commit(w, mother)
    ident = m.str(T_COMMIT)
    ok(m.type == OK, 'a commit', says(m))
    own, shared = bytes_of(disk_of(w, ident))
    ok(shared > DATA - (1 << 20) and own < 1 << 20, 'shares its extents with the VM', (own, shared))
    children = [fork(w, ident).str(T_VM) for _ in range(3)]
    used = [bytes_of(os.path.join(w.state, 'vm', n, 'disk.img')) for n in children]
    ok(all(shared > DATA - (1 << 20) and own < 1 << 20 for own, shared in used), 'so do its forks', used)
    for n in w.names():
        delete(w, n)
    ok(w.wait_for(lambda: w.folders() == []), 'all deleted', w.folders())
    ok(w.term() == 0, 'ends well')


def main():
    core_fake.CORE = os.path.abspath(sys.argv[1])
    top = tempfile.mkdtemp(prefix='mica-reflink-')
    at, disk = os.path.join(top, 'at'), os.path.join(top, 'disk')
    os.mkdir(at)
    mounted = False
    try:
        with open(disk, 'wb') as f:
            f.truncate(512 << 20)
        for cmd in (['mkfs.btrfs', '-q', disk], ['mount', '-o', 'loop', disk, at]):
            done = subprocess.run(cmd, capture_output=True, text=True) if shutil.which(cmd[0]) else None
            if not done or done.returncode:
                print(f'1..0 # SKIP no file system that shares extents: {cmd[0]}: {(done.stderr.strip().splitlines() or [""])[-1] if done else "not installed"}')
                return 0
        mounted = True
        os.environ['TMPDIR'] = at
        os.chmod(at, 0o755)
        w = CommitWorld(DATA)
        try:
            test(w)
        finally:
            w.done()
    finally:
        if mounted:
            subprocess.run(['umount', '-l', at])
        shutil.rmtree(top, ignore_errors=True)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
