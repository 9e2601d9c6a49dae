#!/usr/bin/env python3
"""core_images.py CORE: builders, the image store, and VMs made from stored images, in the real core between the made-up front, jail, netd and
vmm of core_fake.py. TAP."""
import os, stat, struct, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import (C_DELETE, C_DESCRIBE, C_LOGS, C_NODES, C_RELAUNCH, C_SHUTDOWN, OK, T_ADD, T_CTEXT, T_GROUP, T_IMAGE, T_NAME, T_PERSISTENT,  # noqa: E402
                       T_STATUS, T_TIMEOUT, T_VM, TEXT, World, ok, refused, says)

T_GO_ON = 211
C_IMAGE_LIST, C_IMAGE_GET, C_IMAGE_NAME, C_IMAGE_DELETE, C_BUILDER, C_IMAGE_KEEP, C_IMAGE_EXPORT = range(128, 135)
T_SIZE, T_CREATED, T_STORED, T_USERS = 64, 41, 208, 209
VT_DISK = core_fake.VT_DISK
DATA = 20 << 20  # more than core would rather copy


def tags_of_vmm():
    """V_T_BASE_FD and V_T_MAP_FD stand at the end of lib/wire/vmm.h's list; their numbers are what the header says."""
    import re
    text = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../lib/wire/vmm.h')).read()
    body = re.sub(r'/\*.*?\*/', '', text[text.index('enum vmm_tag'):], flags=re.S)
    value, found = 0, {}
    for name, number in re.findall(r'(V_T_\w+)(?:\s*=\s*(\d+))?', body[:body.index('}')]):
        value = int(number) if number else value + 1
        found[name] = value
    return found


NAMES = tags_of_vmm()


def fields(p):
    at, out = 0, {}
    while at + 8 <= len(p):
        tag, _, n = struct.unpack_from('<HHI', p, at)
        out[tag] = p[at + 8:at + 8 + n]
        at += 8 + n
    return out


def disks(m):
    return [v for t, v in m.fields if t == VT_DISK]


class Vmm(core_fake.Vmm):
    """Tells on its console what disks it has; a builder's fills its second one."""

    def boot(self, m):
        words = dict(w.split('=', 1) for w in m.str(core_fake.VT_CMDLINE).split() if '=' in w)
        lines = [f'init {words["init"]}']
        for d in disks(m):
            f = {t: struct.unpack('<Q', v)[0] for t, v in fields(d).items() if len(v) == 8}
            fd = lambda tag: m.fds[f[NAMES[tag]]] if NAMES[tag] in f else None
            top, base, map_ = fd('V_T_FD'), fd('V_T_BASE_FD'), fd('V_T_MAP_FD')
            st = os.fstat(top)
            lines.append(f'disk {st.st_size} {st.st_blocks * 512} {os.pread(top, 8, 0).hex()}'
                         + (f' base {os.fstat(base).st_size} {os.pread(base, 8, 0).hex()} map {os.pread(map_, 8, 0).decode()}' if base is not None else ''))
            if base is not None:
                try:
                    os.pwrite(base, b'x', 0)
                    lines.append('base is writable')
                except OSError:
                    pass
        if words['MICA_HOST'].startswith('mica-builder-'):
            f = {t: struct.unpack('<Q', v)[0] for t, v in fields(disks(m)[1]).items() if len(v) == 8}
            target, base, map_ = (m.fds[f[NAMES[tag]]] if NAMES[tag] in f else None for tag in ('V_T_FD', 'V_T_BASE_FD', 'V_T_MAP_FD'))
            if base is not None:
                write_over(target, base, map_)
            elif os.pread(target, 8, 0) == bytes(8):
                os.pwrite(target, b'new disk' + os.urandom(DATA - 8), 0)
            else:
                os.pwrite(target, b'changed!', 0)
        super().boot(m)
        os.write(self.console, ('\n'.join(lines) + '\n').encode())


def write_over(top, base, map_):
    """As lib/disk: the first grain, 4 KiB at 0 or, where that is the top's already, the next; then its bit in the map."""
    bits = os.pread(map_, 1, 4096)[0]
    grain = 0 if not bits & 1 else 1
    os.pwrite(top, (b'changed!' if grain == 0 else b'and more') + os.pread(base, 4096, 4096 * grain)[8:], 4096 * grain)
    os.pwrite(map_, bytes([bits | 1 << grain]), 4096)


core_fake.Vmm = Vmm


def console(w, vm):
    m = w.ask(C_LOGS, (T_VM, vm))
    text = os.pread(m.fds[0], 65536, 0).decode()
    os.close(m.fds[0])
    return text


def builder(w, *more, size=64 << 20):
    return w.ask(C_BUILDER, (T_SIZE, size), (T_TIMEOUT, 8000), *more)


def keep(w, vm, *names, report='{"format":"rootfs"}'):
    return w.ask(C_IMAGE_KEEP, (T_VM, vm), *[(T_NAME, n) for n in names], (T_CTEXT, report))


def piped(m):
    with open(m.fds[0], 'rb') as f:
        return f.read()


def piped_off(m):
    """Was there a pipe? It is not read."""
    for fd in m.fds:
        os.close(fd)
    return m.type == OK


def images(w):
    return {m.str(T_IMAGE): m for m in w.items(C_IMAGE_LIST)}


def store(w):
    return sorted(os.listdir(os.path.join(w.state, 'images')))


def test_make(w):
    ok(images(w) == {} and store(w) == [], 'an empty store')
    for size, word in ((0, "'size' must be"), (1 << 20, "'size' must be"), ((64 << 20) + 1, "'size' must be"), (1 << 60, "'size' must be")):
        m = builder(w, size=size)
        ok(refused(m, 400, word), f'a disk of {size} bytes', says(m))
    m = builder(w, (T_NAME, 'nothing'))
    ok(refused(m, 404, 'mica image list'), 'from an image that is not there', says(m))
    m = builder(w)
    ok(m.type == OK and m.str(T_VM) == 'mica-builder-1', 'a builder', says(m))
    vm = m.str(T_VM)
    ok([os.stat(os.path.join(w.state, 'images', i, 'disk.img')).st_size for i in store(w)] == [64 << 20] and store(w)[0][0] == '.' and images(w) == {} and 'mica-builder' not in [g.str(T_NAME) for g in w.items(core_fake.C_GROUPS)],
       'has a second disk, and no host group or image that shows')
    for names, report, word in ((['-x'], '', 'letters'), (['a b'], '', 'letters'), (['img-1'], '', 'letters'), (['a//b'], '', 'letters'), (['x' * 300], '', 'letters'),
                                (['a'] * 17, '', 'at most 16'), (['web'], 'two\nlines', 'one line'), (['web'], b'\xff', 'one line'), (['web'], 'x' * 50000, 'one line')):
        m = keep(w, vm, *names, report=report)
        ok(refused(m, 400, word), f'refused: {names[0][:20]} {word}', says(m))
    m = keep(w, vm, 'web:1', 'registry.example/x/web')
    ok(m.type == OK and m.all(T_NAME) == ['web:1', 'registry.example/x/web:latest'] and m.num(T_SIZE) == 64 << 20, 'is kept', says(m))
    first = m.str(T_IMAGE)
    ok(w.wait_for(lambda: vm not in w.names() and w.folders() == []), 'and the builder is gone')
    st = os.stat(os.path.join(w.state, 'images', first, 'disk.img'))
    ok(store(w) == [first] and st.st_mode & 0o222 == 0 and DATA <= st.st_blocks * 512 < 2 * DATA, 'its disk is in the store, read-only and sparse')
    m = w.ask(C_IMAGE_GET, (T_NAME, 'web:1'))
    ok(m.str(T_CTEXT) == '{"format":"rootfs"}' and m.num(T_USERS) == 0, 'with its report', says(m))
    ok(w.ask(C_IMAGE_GET, (T_NAME, 'registry.example/x/web')).str(T_IMAGE) == first and w.ask(C_IMAGE_GET, (T_NAME, first)).str(T_IMAGE) == first, 'found by each name and by id')
    ok(refused(w.ask(C_IMAGE_GET, (T_NAME, 'web')), 404), 'not by another')
    m = w.ask(C_IMAGE_EXPORT, (T_NAME, 'web:1'))
    ok(m.type == OK and m.num(T_SIZE) == 64 << 20 and piped(m) == open(os.path.join(w.state, 'images', first, 'disk.img'), 'rb').read(), 'exported: its bytes', says(m))
    many = [w.ask(C_IMAGE_EXPORT, (T_NAME, 'web:1')) for _ in range(9)]
    ok([m.type for m in many[:8]] == [OK] * 8 and refused(many[8], 503, 'try again'), 'eight at once', [says(m) for m in many])
    for m in many[:8]:
        os.close(m.fds[0])
    ok(w.wait_for(lambda: piped_off(w.ask(C_IMAGE_EXPORT, (T_NAME, 'web:1')))), 'and more once they end')
    ok(refused(w.ask(C_IMAGE_EXPORT, (T_NAME, 'web')), 404), 'nothing of a name that is not there')
    m = keep(w, 'ok-1', 'x') if 'ok-1' in w.names() else keep(w, 'mica-builder-9', 'x')
    ok(m.type != OK, 'only builders become images', says(m))
    return first


def test_from(w, first):
    m = builder(w, (T_NAME, 'web:1'), size=1 << 26)
    vm = m.str(T_VM)
    text, at = console(w, vm), os.path.join(w.state, 'images', [i for i in store(w) if i[0] == '.'][0])
    ok('disk 67108864' in text and text.count(b'new disk'.hex()) == 1, 'a builder that starts from an image has its disk', text)
    if os.path.exists(at + '/disk.map'):
        ok(f'base {64 << 20}' in text and 'writable' not in text and os.stat(at + '/disk.img').st_blocks * 512 < 1 << 20, 'which lies over the image', text)
    else: # a file system that shares extents
        ok(True, 'which shares its files')
    ok(refused(w.ask(C_IMAGE_DELETE, (T_NAME, first)), 409, vm), 'which holds the image')
    m = keep(w, vm, 'web:1')
    second = m.str(T_IMAGE)
    ok(m.type == OK and second != first, 'a second image', says(m))
    ok(images(w)[first].all(T_NAME) == ['registry.example/x/web:latest'], 'takes the name from the first')
    path = lambda i: os.path.join(w.state, 'images', i, 'disk.img')
    ok(open(path(first), 'rb').read(8) == b'new disk' and open(path(second), 'rb').read(8) == b'changed!', 'and leaves its disk as it was')
    m = w.ask(C_IMAGE_NAME, (T_NAME, second), (T_ADD, 'registry.example/x/web'))
    ok(m.type == OK and images(w)[first].all(T_NAME) == [], 'a name is given to another image', says(m))
    w.ask(C_IMAGE_NAME, (T_NAME, first), (T_ADD, 'old'))
    return second


def test_steps(w):
    """a builder that goes on while a copy of its disk is stored; from the built-in image; in a host group"""
    vm = builder(w, (T_NAME, 'min')).str(T_VM)
    ok(f'disk {64 << 20}' in console(w, vm), 'a builder from the built-in image', console(w, vm))
    before = store(w)
    m = w.ask(C_IMAGE_KEEP, (T_VM, vm), (T_NAME, 'step:1'), (T_CTEXT, '{"format":"build"}'), (T_GO_ON, 1))
    one = m.str(T_IMAGE)
    ok(m.type == OK and m.num(T_SIZE) == 64 << 20 and vm in w.names() and one in store(w), 'goes on after a copy is stored', says(m))
    path = lambda i: os.path.join(w.state, 'images', i, 'disk.img')
    st = os.stat(path(one))
    ok(st.st_size == 64 << 20 and st.st_mode & 0o222 == 0 and open(path(one), 'rb').read(8) == open(path([i for i in store(w) if i[0] == '.'][0]), 'rb').read(8),
       'which is whole, and read-only')
    m = w.ask(C_IMAGE_KEEP, (T_VM, vm), (T_NAME, 'step:1'), (T_GO_ON, 1))
    ok(m.type == OK and m.str(T_IMAGE) != one and images(w)[one].all(T_NAME) == [], 'another takes its name', says(m))
    two = m.str(T_IMAGE)
    m = keep(w, vm, 'built:1')
    ok(m.type == OK and set(store(w)) - set(before) == {one, two, m.str(T_IMAGE)}, 'and in the end itself', says(m))
    for i in (one, two, m.str(T_IMAGE)):
        ok(w.ask(C_IMAGE_DELETE, (T_NAME, i)).type == OK, 'removed')
    ok(refused(builder(w, (T_GROUP, 'nothing')), 404, "'network' names no host group"), 'the network of no host group')
    m = builder(w, (T_GROUP, 'missing'))
    vm = m.str(T_VM)
    ok(m.type == OK and vm.startswith('missing-') and 'init /sbin/init' in console(w, vm), 'in a host group it has its own root disk, whatever the group has', says(m))
    ok(w.ask(C_DELETE, (T_GROUP, 'missing'), (T_VM, vm)).type == OK and w.wait_for(lambda: not any(x[0] == '.' for x in store(w))), 'and goes as any VM', store(w))


def test_steps_over(w):
    """a build's steps over an image: each what its stage changed, in the end one disk"""
    path = lambda i, name='disk.img': os.path.join(w.state, 'images', i, name)
    read = lambda p, n, at=0: os.pread(os.open(p, os.O_RDONLY | os.O_CLOEXEC), n, at)
    m = keep(w, builder(w).str(T_VM), 'over:1')
    base = m.str(T_IMAGE)
    vm = builder(w, (T_NAME, 'over:1'), size=96 << 20).str(T_VM)
    m = w.ask(C_IMAGE_KEEP, (T_VM, vm), (T_NAME, 'step:a'), (T_CTEXT, '{"format":"build"}'), (T_GO_ON, 1))
    step = m.str(T_IMAGE)
    overlay = os.path.exists(path(step, 'disk.map'))
    ok(m.type == OK and m.num(T_SIZE) == 96 << 20 and os.stat(path(step)).st_size == 96 << 20, 'a step over an image', says(m))
    if not overlay:
        return
    ok(m.num(T_STORED) < 1 << 20 and read(path(step), 8) == b'changed!', 'takes what was changed', m.num(T_STORED))
    ok(w.ask(C_DELETE, (T_GROUP, 'mica-builder'), (T_VM, vm)).type == OK, 'its builder goes')
    ok(refused(w.ask(C_IMAGE_DELETE, (T_NAME, 'over:1')), 409, 'mica image prune'), 'the image under it stays', says(w.ask(C_IMAGE_DELETE, (T_NAME, 'over:1'))))
    ok(refused(w.create('plain', (T_IMAGE, 'step:a')), 409, 'build it with -t') and refused(w.ask(C_IMAGE_EXPORT, (T_NAME, 'step:a')), 409, 'export that'), 'no VM is made of it, and it is not exported')
    w.kill9()
    w.start(GROUPS)
    ok(refused(w.ask(C_IMAGE_DELETE, (T_NAME, base)), 409, step), 'also after a restart')
    vm = builder(w, (T_NAME, 'step:a'), size=96 << 20).str(T_VM)
    text = console(w, vm)
    ok(f'base {64 << 20}' in text and f'disk {96 << 20}' in text, 'a builder goes on from it', text)
    m = w.ask(C_IMAGE_KEEP, (T_VM, vm), (T_NAME, 'step:b'), (T_GO_ON, 1))
    second = m.str(T_IMAGE)
    ok(m.type == OK and read(path(second), 8) == b'changed!' and read(path(second), 8, 4096) == b'and more' and read(path(step), 8, 4096) == bytes(8), 'a second step over the same image', says(m))
    ok(w.ask(C_IMAGE_DELETE, (T_NAME, 'step:a')).type == OK and refused(w.ask(C_IMAGE_DELETE, (T_NAME, base)), 409), 'the first step goes, the image is held by the builder and the second')
    m = keep(w, vm, 'result:1')
    result = m.str(T_IMAGE)
    ok(m.type == OK and sorted(os.listdir(path(result, ''))) == ['disk.img', 'meta'], 'the end is one disk', says(m))
    want = open(path(base), 'rb').read()
    got = open(path(result), 'rb').read()
    ok(len(got) == 96 << 20 and got[:8] == b'changed!' and got[4096:4104] == b'and more' and got[8:4096] == want[8:4096] and got[4104:64 << 20] == want[4104:] and not any(got[64 << 20:]),
       'with what lay under it')
    ok(w.ask(C_IMAGE_DELETE, (T_NAME, 'step:b')).type == OK and w.ask(C_IMAGE_DELETE, (T_NAME, base)).type == OK and w.ask(C_IMAGE_DELETE, (T_NAME, 'result:1')).type == OK, 'and then all can go')
    ok(w.wait_for(lambda: not {base, step, second, result} & {i.lstrip('.') for i in store(w)}), 'and leave nothing', store(w))


def test_vms(w, first):
    m = w.create('stored', (T_PERSISTENT, 1))
    vm = m.str(T_VM)
    text = console(w, vm)
    folder = os.path.join(w.state, 'vm', vm)
    ok(m.type == OK and 'init /usr/lib/mica/init' in text, 'a VM from a stored image starts its init', says(m) + text)
    if os.path.exists(folder + '/disk.map'):
        ok(f'base {64 << 20} {b"new disk".hex()} map micamap1' in text and 'writable' not in text, 'its disk lies over the image, which it cannot write', text)
        st = os.stat(folder + '/disk.img')
        ok(st.st_size == 128 << 20 and st.st_blocks == 0, 'and takes no space')
    else: # a file system that shares extents
        ok(b'new disk'.hex() in text, 'its disk shares the image', text)
    ok(images(w)[first].num(T_USERS) == 1, 'the image knows it')
    m = w.ask(C_DESCRIBE, (T_VM, vm))
    ok(m.str(T_IMAGE) == 'old:latest', 'and it the image', m.str(T_IMAGE))
    m = w.ask(C_IMAGE_DELETE, (T_NAME, 'old'))
    ok(refused(m, 409, f"VM '{vm}'"), 'which cannot be deleted now', says(m))
    m = w.create('plain', (T_IMAGE, 'web:1'))
    ok(m.type == OK and b'changed!'.hex() in console(w, m.str(T_VM)), 'an image chosen at launch', says(m))
    w.ask(C_DELETE, (T_GROUP, 'plain'), (T_VM, m.str(T_VM)))
    m = w.create('plain', (T_IMAGE, 'nothing'))
    ok(refused(m, 400, 'names no image'), 'one that is not there', says(m))
    m = w.create('missing')
    ok(refused(m, 409, "'nowhere:1', which is not there"), 'an image that is not there', says(m))
    m = w.create('tight')
    ok(refused(m, 409, 'larger storage_size'), 'an image larger than the disk', says(m))
    return vm


def test_restart(w, first, vm):
    b = builder(w).str(T_VM)
    keep(w, builder(w).str(T_VM))
    nameless = [i for i, m in images(w).items() if not m.all(T_NAME)]
    ok(len(nameless) == 1, 'an image without a name')
    open(os.path.join(w.state, 'images', nameless[0], 'meta'), 'a').write('rubbish')
    os.mkdir(os.path.join(w.state, 'images', '.img-0123456789abcdef'))
    for name in ('disk.img', 'disk.map', 'disk.new', 'meta', '.meta.new'):
        open(os.path.join(w.state, 'images', '.img-0123456789abcdef', name), 'w').write('half')
    before = images(w)
    w.kill9()
    w.start(GROUPS)
    w.read_lines()
    ok(w.wait_for(lambda: b not in w.names() and b not in w.folders()), 'a builder does not outlive the daemon')
    after = images(w)
    ok(set(before) - set(after) == set(nameless) and any('is left alone' in x for x in w.lines), 'images are read again, a damaged one is told of', w.lines)
    ok('.img-0123456789abcdef' not in store(w) and nameless[0] in store(w), 'an unfinished one is removed, the damaged one stays')
    ok(any("wants image 'nowhere:1'" in x for x in w.lines), 'and what a host group lacks is told')
    w.ask(C_SHUTDOWN, (T_VM, vm))
    m = w.ask(C_RELAUNCH, (T_VM, vm), (core_fake.T_WAIT, 'agent'), (T_TIMEOUT, 8000))
    ok(m.type == OK and b'new disk'.hex() in console(w, vm), 'a VM over an image is relaunched', says(m))
    w.ask(C_DELETE, (T_GROUP, 'stored'), (T_VM, vm))
    m = w.ask(C_IMAGE_DELETE, (T_NAME, 'old'))
    ok(refused(m, 409, "host group 'stored'"), 'a host group holds its image', says(m))
    m = w.ask(C_IMAGE_DELETE, (T_NAME, 'web:1'))
    ok(refused(m, 409, "host group 'tight'"), 'also by one name of two', says(m))
    m = w.ask(C_IMAGE_DELETE, (T_NAME, 'registry.example/x/web'))
    ok(m.type == OK and 'has others' in m.str(T_CTEXT) and len(images(w)) == 2, 'the other name goes alone', says(m))
    spare = keep(w, builder(w).str(T_VM), 'spare').str(T_IMAGE)
    m = w.ask(C_IMAGE_DELETE, (T_NAME, 'spare'))
    ok(m.type == OK and len(images(w)) == 2, 'with the last name the image', says(m))
    ok(w.wait_for(lambda: not any(spare in x for x in store(w))), 'and its files', store(w))


CONFIG = '''config:
  host_groups:
  - { name: stored, count: 0, vcpu: 1, ram_mb: 64, storage_size: 128M, image: old, network: { mode: none } }
  - { name: plain, count: 0, vcpu: 1, ram_mb: 64, storage_size: 128M, network: { mode: none } }
  - { name: missing, count: 0, vcpu: 1, ram_mb: 64, storage_size: 128M, image: "nowhere:1", network: { mode: none } }
  - { name: tight, count: 0, vcpu: 1, ram_mb: 64, storage_size: 32M, image: "web:1", network: { mode: none } }
  api: { port: %d }
'''
GROUPS = ()


class StoreWorld(World):
    def start(self, *args, **how):
        return super().start(config=CONFIG % self.port)


def main():
    core_fake.CORE = sys.argv[1]
    w = StoreWorld()
    with core_fake.told(w):
        w.start()
        first = test_make(w)
        test_from(w, first)
        test_steps(w)
        test_steps_over(w)
        vm = test_vms(w, first)
        test_restart(w, first, vm)
        ok(w.term() == 0, 'ends well')
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
