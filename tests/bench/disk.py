#!/usr/bin/env python3
"""disk.py CORE: what making a VM over a stored image costs the host: time until its record is written, and bytes that its files take; and the space of 20
clones. Real core, its vmm made up (tests/it/core_images.py), so no KVM is needed. Images of 100 MB and 10 GB, the latter sparse with 1 GB of data."""
import os, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'it'))

import core_fake, core_images  # noqa: E402
from core_fake import C_DELETE, OK, T_GROUP, T_PERSISTENT, T_VM, World, says  # noqa: E402

MB = 1000 * 1000
SIZES = {'small': (104 * MB // 4096 * 4096, 100 * MB), 'large': (10 << 30, 1000 * MB)}
CLONES = 20
CONFIG = '''config:
  host_groups:
  - { name: small, count: 0, vcpu: 1, ram_mb: 64, storage_size: 20G, image: "small:1", network: { mode: none } }
  - { name: large, count: 0, vcpu: 1, ram_mb: 64, storage_size: 20G, image: "large:1", network: { mode: none } }
  api: { port: %d }
'''


class BenchWorld(World):
    def start(self):
        return super().start(config=CONFIG % self.port)


def fill(w, vm, data):
    """The builder's second disk: data in pieces of 4 MiB, evenly over it."""
    store = os.path.join(w.state, 'images')
    path = next(os.path.join(store, i, 'disk.img') for i in os.listdir(store) if i[0] == '.')
    piece, size = os.urandom(4 << 20), os.stat(path).st_size
    n = data // len(piece)
    with open(path, 'r+b') as f:
        for i in range(n):
            f.seek((size // n * i) & ~4095)
            f.write(piece[:min(len(piece), size // n & ~4095)])


def taken(folder):
    return sum(os.lstat(os.path.join(folder, f)).st_blocks * 512 for f in os.listdir(folder) if f.startswith('disk.'))


def free(w):
    s = os.statvfs(w.state)
    return s.f_bfree * s.f_frsize


def measure(w, group):
    times, before = [], free(w)
    for _ in range(CLONES):
        begin = time.monotonic()
        m = w.create(group, (T_PERSISTENT, 1), wait=None)
        times.append(time.monotonic() - begin)
        if m.type != OK:
            sys.exit(says(m))
    folders = [os.path.join(w.state, 'vm', f) for f in w.folders()]
    times.sort()
    print(f'{group}: image {SIZES[group][0] / 1e9:.1f} GB with {SIZES[group][1] / 1e6:.0f} MB of data: a VM is made in {times[len(times) // 2] * 1000:.1f} ms '
          f'(max {times[-1] * 1000:.1f}), writes {max(map(taken, folders)) / 1024:.0f} KiB; {CLONES} clones take {sum(map(taken, folders)) / 1024:.0f} KiB '
          f'(file system: {(before - free(w)) / 1024:.0f} KiB)', flush=True)
    for f in w.folders():
        w.ask(C_DELETE, (T_GROUP, group), (T_VM, f))


def main():
    core_fake.CORE = os.path.abspath(sys.argv[1])
    core_images.DATA = 8 << 20
    w = BenchWorld()
    try:
        w.start()
        for group, (size, data) in SIZES.items():
            vm = core_images.builder(w, size=size).str(T_VM)
            fill(w, vm, data)
            m = core_images.keep(w, vm, group + ':1')
            if m.type != OK:
                sys.exit(says(m))
            measure(w, group)
    finally:
        w.done()


main()
