#!/usr/bin/env python3
"""core_full.py CORE: what is done to disks, images and commits in a state folder without room: refused with 507, what was there stays good, nothing is left
behind, and with room again it works. Real core, its vmm made up, a small tmpfs in a mount namespace of its own (root; else one skip). TAP."""
import os, subprocess, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_commits, core_fake, core_images  # noqa: E402
from core_commits import C_COMMIT_DELETE, T_COMMIT, CommitWorld, commit, fork, stopped  # noqa: E402
from core_disks import C_DISK_SPARSIFY, grow, size_of, start  # noqa: E402
from core_fake import C_DELETE, OK, T_GROUP, T_NAME, T_VM, ok, refused, says  # noqa: E402
from core_images import C_IMAGE_NAME, T_ADD, builder, keep  # noqa: E402

DATA = 3 << 20  # of the built-in image, not zero
ROOM = 32 << 20


class Filler:
    """Takes what is free, but for so many bytes."""

    def __init__(self, w, left=0):
        self.path = os.path.join(w.state, 'filler')
        with open(self.path, 'wb', buffering=0) as f:
            try:
                while True:
                    f.write(bytes(65536))
            except OSError:
                pass
            f.truncate(f.tell() - f.tell() % 4096 - left)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.path)


def tree(w):
    return sorted(os.path.join(at, name) for at, dirs, files in os.walk(w.state) for name in dirs + files if name not in ('filler', 'console.log'))


def same_tree(w, before, what):
    ok(w.wait_for(lambda: tree(w) == before), what, set(tree(w)) ^ set(before))


def test_commits(w, vm):
    before = tree(w)
    with Filler(w, left=1 << 20):
        m = commit(w, vm)
        ok(refused(m, 507, 'No space left'), 'a commit is refused', says(m))
        same_tree(w, before, 'and nothing of it is left')
    m = commit(w, vm)
    ok(m.type == OK, 'with room it is made', says(m))
    ident = m.str(T_COMMIT)
    before = tree(w)
    with Filler(w, left=1 << 20):
        m = fork(w, ident)
        ok(refused(m, 507, 'free some, or delete VMs'), 'a fork is refused', says(m))
        same_tree(w, before, 'and nothing of it is left')
    m = fork(w, ident)
    ok(m.type == OK, 'with room it starts', says(m))
    w.ask(C_DELETE, (T_GROUP, 'ok'), (T_VM, m.str(T_VM)))
    return ident


def test_disks(w, vm):
    before, size = tree(w), size_of(w, vm)
    with Filler(w):
        m = grow(w, vm, 128 << 20)
        ok(refused(m, 507, 'No space left') and size_of(w, vm) == size, 'a disk whose record cannot be written does not grow', (says(m), size_of(w, vm)))
        same_tree(w, before, 'and nothing is left of that')
        m = w.ask(C_DISK_SPARSIFY, (T_VM, vm))
        ok(m.type == OK, 'zeros are given back', says(m))
    m = grow(w, vm, 128 << 20)
    ok(m.type == OK and size_of(w, vm) == (128 << 20,) * 2 and start(w, vm).type == OK, 'with room it grows and starts', says(m))


def test_images(w):
    before = tree(w)
    b = builder(w).str(T_VM)
    with Filler(w):
        m = keep(w, b, 'web:1')
        ok(refused(m, 507, 'No space left'), 'an image is refused', says(m))
        same_tree(w, before, 'and neither it nor its builder is left')
    b = builder(w).str(T_VM)
    ok(keep(w, b, 'web:1').type == OK, 'with room it is there')
    w.wait_for(lambda: not any(f.startswith('mica-builder') for f in w.folders()))
    with Filler(w):
        m = w.ask(C_IMAGE_NAME, (T_NAME, 'web:1'), (T_ADD, 'web:2'))
        ok(refused(m, 507) and len(core_images.images(w)) == 1, 'a name that cannot be written is refused', says(m))
        names = [m.all(T_NAME) for m in core_images.images(w).values()]
        ok(names == [['web:1']], 'and is not there', names)
        names = w.ask(C_IMAGE_NAME, (T_NAME, 'web:2'), (T_ADD, 'x:1'))
        ok(refused(names, 404), 'for nobody', says(names))


def test_restart(w, vm, ident):
    ok(w.term() == 0, 'ends well')
    with Filler(w):
        w.start()
        there = w.names(), list(core_commits.listed(w)), len(core_images.images(w))
        ok(there == ([vm], [ident], 1), 'a daemon that starts without room has all', (there, w.lines))
        w.ask(C_DELETE, (T_GROUP, 'ok'), (T_VM, vm))
        m = w.ask(C_COMMIT_DELETE, (T_COMMIT, ident))
        ok(m.type == OK, 'and can make some: VMs and commits go', says(m))
    ok(w.term() == 0, 'ends well')


def main():
    if os.getuid():
        print('1..0 # SKIP needs root: a file system of its own')
        return 0
    if os.environ.get('CORE_FULL') != 'apart':
        os.environ['CORE_FULL'] = 'apart'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private', sys.executable] + sys.argv)
    core_fake.CORE, core_images.DATA = sys.argv[1], DATA
    w = CommitWorld(data=DATA)
    os.mkdir(w.state)
    with core_fake.told(w):
        try:
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % ROOM, 'none', w.state], check=True)
            w.start()
            vm = stopped(w)
            ident = test_commits(w, vm)
            test_disks(w, vm)
            test_images(w)
            test_restart(w, vm, ident)
        finally:
            subprocess.run(['umount', '-l', w.state], check=False)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
