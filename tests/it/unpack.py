#!/usr/bin/env python3
"""rootfs/unpack as it runs in a builder: in a root of its own with busybox, on archives made here, honest and hostile.

usage: unpack.py unpack init agent busybox   (needs root: owners, devices, chroot)
"""
import gzip, hashlib, io, json, os, shutil, stat, subprocess, sys, tarfile, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import Tap


def sha(data):
    return hashlib.sha256(data).hexdigest()


def tar(entries, fmt=tarfile.PAX_FORMAT):
    """entries: (name, dict of TarInfo fields, content) …"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=fmt) as t:
        for name, how, data in entries:
            i = tarfile.TarInfo(name)
            pax = how.get('pax')
            if pax:
                i.pax_headers = pax
            i.type = how.get('type', tarfile.REGTYPE)
            i.mode = how.get('mode', 0o755 if i.type == tarfile.DIRTYPE else 0o644)
            i.uid, i.gid = how.get('own', (0, 0))
            i.linkname = how.get('link', '')
            i.devmajor, i.devminor = how.get('dev', (0, 0))
            i.mtime = how.get('mtime', 1700000000)
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
    return out.getvalue()


def dir_(name, **how):
    return (name, {'type': tarfile.DIRTYPE, **how}, b'')


def file_(name, data=b'x', **how):
    return (name, how, data)


def sym(name, to):
    return (name, {'type': tarfile.SYMTYPE, 'link': to}, b'')


def hard(name, to):
    return (name, {'type': tarfile.LNKTYPE, 'link': to}, b'')


def config(layers, **more):
    return json.dumps({'architecture': 'amd64', 'os': 'linux', 'config': {'Env': ['A=1'], 'Cmd': ['sh', '-c', 'x'], 'Entrypoint': None, 'User': 'app',
                       'WorkingDir': '/srv', 'Labels': {'k': 'v'}}, 'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + sha(l) for l in layers]}, **more}).encode()


def docker(layers, diff=None, tags=('web:1', 'web:latest'), conf=None, names=None):
    conf = conf or config(diff or layers)
    names = names or [f'{sha(l)}/layer.tar' for l in layers]
    manifest = json.dumps([{'Config': sha(conf) + '.json', 'RepoTags': list(tags), 'Layers': names}]).encode()
    return tar([file_(sha(conf) + '.json', conf)] + [file_(n, l) for n, l in zip(names, layers)] + [file_('manifest.json', manifest)])


def oci(layers, packed, conf=None, lie=None, nested=False):
    blobs = [conf or config(layers)] + packed
    desc = lambda b, t: {'mediaType': t, 'digest': 'sha256:' + sha(b), 'size': len(b)}
    manifest = json.dumps({'schemaVersion': 2, 'config': desc(blobs[0], 'application/vnd.oci.image.config.v1+json'),
                           'layers': [desc(b, 'application/vnd.oci.image.layer.v1.tar+gzip') for b in packed]}).encode()
    blobs.append(manifest)
    top = {**desc(manifest, 'application/vnd.oci.image.manifest.v1+json'), 'annotations': {'org.opencontainers.image.ref.name': 'web:2'}}
    if nested:
        wrong = {**top, 'digest': 'sha256:' + '0' * 64, 'platform': {'os': 'linux', 'architecture': 'arm64'}}
        inner = json.dumps({'schemaVersion': 2, 'manifests': [wrong, {**top, 'platform': {'os': 'linux', 'architecture': 'amd64'}}]}).encode()
        blobs.append(inner)
        top = desc(inner, 'application/vnd.oci.image.index.v1+json')
    entries = [file_('oci-layout', b'{"imageLayoutVersion":"1.0.0"}'), file_('index.json', json.dumps({'schemaVersion': 2, 'manifests': [top]}).encode())]
    return tar(entries + [file_('blobs/sha256/' + sha(b), lie if lie and b is packed[0] else b) for b in blobs])


class World:
    def __init__(self, programs):
        self.root = tempfile.mkdtemp(prefix='mica-unpack-')
        unpack, init, agent, busybox = programs
        for d in ('bin', 'sbin', 'usr/local/bin', 'tmp', 'proc', 'dev'):
            os.makedirs(os.path.join(self.root, d))
        os.mknod(self.root + '/dev/null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        shutil.copy(unpack, self.root + '/bin/unpack')
        shutil.copy(init, self.root + '/sbin/init')
        shutil.copy(agent, self.root + '/usr/local/bin/slicer-agent')
        shutil.copy(busybox, self.root + '/bin/busybox')
        os.symlink('busybox', self.root + '/bin/gzip')
        subprocess.run(['mount', '--bind', '/proc', self.root + '/proc'], check=True)
        self.out = ''

    def unpack(self, archive, *flags, pad=0):
        """The new root's path and the report; None when it failed (the sentence is in self.error)."""
        self.close_target()
        self.target = os.path.join(self.root, 'target')
        os.mkdir(self.target)
        with open(self.root + '/tmp/archive', 'wb') as f:
            f.write(archive + b'\0' * pad)
        p = subprocess.run(['chroot', self.root, '/bin/unpack', '--bytes', str(len(archive)), *flags, '/tmp/archive', '/target'], capture_output=True,
                           text=True, timeout=170, env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})
        self.error = p.stderr.strip()
        return json.loads(p.stdout) if p.returncode == 0 else None

    def close_target(self):
        shutil.rmtree(os.path.join(self.root, 'target'), ignore_errors=True)

    def at(self, path):
        return os.path.join(self.target, path)

    def read(self, path):
        with open(self.at(path), 'rb') as f:
            return f.read()

    def close(self):
        subprocess.run(['umount', '-l', self.root + '/proc'])
        shutil.rmtree(self.root, ignore_errors=True)


BASE = tar([dir_('./'), dir_('./etc'), file_('./etc/a', b'one'), file_('./etc/b', b'two', mode=0o4755, own=(1000, 2000)), dir_('usr/lib'), sym('lib', 'usr/lib'),
            file_('usr/lib/so', b'lib'), hard('etc/hard', 'etc/a'), ('dev/null', {'type': tarfile.CHRTYPE, 'dev': (1, 3), 'mode': 0o666}, b''),
            ('run/fifo', {'type': tarfile.FIFOTYPE}, b''), dir_('old'), file_('old/1'), file_('old/2'), file_('gone'), dir_('tree/deep/er'), file_('tree/deep/er/x'),
            file_('cap', b'c', pax={'SCHILY.xattr.user.mica': 'höher'}), file_('n' * 120 + '/' + 'm' * 120, b'long'), file_('zero', b'\0' * (3 << 20) + b'end'),
            sym('l' * 150, 't' * 300)])
TOP = tar([file_('etc/a', b'ONE'), file_('.wh.gone', b''), file_('etc/.wh.nothing', b''), file_('old/.wh..wh..opq', b''), file_('old/3', b'3'), file_('.wh.tree', b''),
           file_('lib/so2', b'through a link'), dir_('tree'), file_('tree/new', b'n')])


def check_image(t, w, r, what):
    e = lambda p: os.path.lexists(w.at(p))
    t.ok(r is not None, f'{what}: unpacked: {w.error}')
    if r is None:
        return
    st = os.stat(w.at('etc/b'))
    t.ok((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), int(st.st_mtime)) == (1000, 2000, 0o4755, 1700000000), f'{what}: owner, set-uid bit and time')
    t.ok(w.read('etc/a') == b'ONE' and w.read('etc/hard') == b'one', f'{what}: a file of a later layer replaces one, its hard link stays')
    t.ok(not e('gone') and not e('etc/nothing') and sorted(os.listdir(w.at('old'))) == ['3'] and os.listdir(w.at('tree')) == ['new'], f'{what}: whiteouts and an opaque folder')
    t.ok(int(os.stat(w.at('tree')).st_mtime) == 1700000000, f'{what}: a folder has its time although files came after it')
    t.ok(w.read('usr/lib/so2') == b'through a link' and os.readlink(w.at('lib')) == 'usr/lib', f'{what}: through a link inside the image')
    st = os.stat(w.at('dev/null'))
    t.ok(stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3) and stat.S_ISFIFO(os.stat(w.at('run/fifo')).st_mode), f'{what}: device and fifo')
    t.ok(os.getxattr(w.at('cap'), 'user.mica') == 'höher'.encode(), f'{what}: extended attribute')
    t.ok(w.read('n' * 120 + '/' + 'm' * 120) == b'long' and os.readlink(w.at('l' * 150)) == 't' * 300, f'{what}: long names')
    t.ok(w.read('zero') == b'\0' * (3 << 20) + b'end' and os.stat(w.at('zero')).st_blocks < 1024, f'{what}: zeroes become holes')
    t.ok(not [n for d in os.walk(w.target) for n in d[2] if n.startswith('.wh.')], f'{what}: no whiteout is left')


def honest(t, w):
    r = w.unpack(docker([BASE, TOP]), pad=300)
    check_image(t, w, r, 'docker archive')
    t.ok(r and r['names'] == ['web:1', 'web:latest'] and r['env'] == ['A=1'] and r['cmd'] == ['sh', '-c', 'x'] and r['entrypoint'] == [] and r['user'] == 'app'
         and r['workdir'] == '/srv' and r['labels'] == {'k': 'v'} and r['layers'] == 2 and r['architecture'] == 'amd64', f'its configuration is reported: {r}')
    check_image(t, w, w.unpack(gzip.compress(docker([BASE, TOP])), pad=77), 'docker archive in gzip')
    packed = [gzip.compress(BASE), gzip.compress(TOP)]
    r = w.unpack(oci([BASE, TOP], packed))
    check_image(t, w, r, 'OCI layout')
    t.ok(r and r['names'] == ['web:2'] and r['digest'] == 'sha256:' + sha(config([BASE, TOP])), 'with name and digest')
    check_image(t, w, w.unpack(oci([BASE, TOP], packed, nested=True)), 'OCI index within an index')
    if shutil.which('zstd'):
        zstd = lambda data: subprocess.run(['zstd', '-qc'], input=data, capture_output=True, check=True).stdout
        check_image(t, w, w.unpack(oci([BASE, TOP], [zstd(BASE), packed[1]])), 'OCI layout with a layer in zstd')
        check_image(t, w, w.unpack(zstd(docker([BASE, TOP]))), 'docker archive in zstd')
    r = w.unpack(tar([file_('./etc/a', b'A'), file_('/abs', b'B')]))
    t.ok(r and r['format'] == 'rootfs' and w.read('etc/a') == b'A' and w.read('abs') == b'B', f'a plain root file system {w.error}')
    r = w.unpack(gzip.compress(tar([file_('./etc/a', b'A'), file_('/abs', os.urandom(400000))])))
    t.ok(r and r['format'] == 'rootfs' and w.read('etc/a') == b'A' and len(w.read('abs')) == 400000, f'the same in gzip {w.error}')
    plain = tar([file_('etc/a', b'A'), file_('manifest.json', b'{}'), file_('zero', bytes(1 << 20)), file_('tail', b'x' + bytes(200000))])
    for packed in (plain, gzip.compress(plain)):
        r = w.unpack(packed)
        t.ok(r and r['format'] == 'rootfs' and r['digest'] == 'sha256:' + sha(plain) and w.read('manifest.json') == b'{}' and os.stat(w.at('zero')).st_blocks < 64 and len(w.read('tail')) == 200001,
             f'one that has a file manifest.json, with its digest {w.error}')
    r = w.unpack(gzip.compress(tar([file_('data/1', b'1'), file_('unusual', b'2')])))
    t.ok(r and r['format'] == 'rootfs' and w.read('data/1') == b'1' and sorted(os.listdir(w.target)) == ['data', 'unusual'], f'one with unusual names {w.error}')
    r = w.unpack(oci([TOP, TOP], [gzip.compress(TOP)] * 2))
    t.ok(r and r['layers'] == 2 and w.read('tree/new') == b'n', f'an OCI layout with one digest twice {w.error}')
    many = tar([file_(f'f{i}') for i in range(5000)])
    t.ok(w.unpack(many) and len(os.listdir(w.target)) == 5000, f'one of 5 000 files {w.error}')
    r = w.unpack(tar([file_('g' * 140, b'G'), sym('s', 'u' * 200)], tarfile.GNU_FORMAT))
    t.ok(r and w.read('g' * 140) == b'G' and os.readlink(w.at('s')) == 'u' * 200, f'names of GNU tar {w.error}')
    # the same layer twice in one archive, the second a link: as docker before version 25 writes it
    names = ['1/layer.tar', '2/layer.tar']
    conf = config([TOP, TOP])
    manifest = json.dumps([{'Config': sha(conf) + '.json', 'RepoTags': None, 'Layers': names}]).encode()
    r = w.unpack(tar([file_(sha(conf) + '.json', conf), file_(names[0], TOP), sym(names[1], '../1/layer.tar'), file_('manifest.json', manifest)]))
    t.ok(r and r['layers'] == 2 and r['names'] == [], f'a layer that is a link to another {w.error}')


def refused(t, w, archive, words, what):
    outside = os.path.join(w.root, 'tmp', 'outside')
    r = w.unpack(archive)
    t.ok(r is None and words in w.error and w.error.startswith('error: '), f'{what}: {w.error[:160]}')
    t.ok(not os.path.exists(outside) and sorted(os.listdir(w.root)) == sorted(['bin', 'sbin', 'usr', 'tmp', 'proc', 'dev', 'target']), f'{what}: nothing outside')


def hostile(t, w):
    refused(t, w, b'', 'empty', 'nothing')
    refused(t, w, b'hello' * 500, 'not a tar archive', 'no archive')
    refused(t, w, docker([BASE])[:70000], 'cut short', 'a cut archive')
    refused(t, w, docker([BASE[:20000]]), 'cut short', 'a cut layer')
    refused(t, w, gzip.compress(docker([BASE]))[:-2000], 'broken', 'cut gzip')
    refused(t, w, docker([tar([file_('../../tmp/outside')])]), "names must be relative", '../ in a name')
    refused(t, w, docker([BASE], diff=[TOP]), 'damaged', 'a layer that is not what the configuration says')
    refused(t, w, oci([BASE], [gzip.compress(BASE)], lie=gzip.compress(TOP)), 'damaged', 'a blob that is not what its digest says')
    refused(t, w, oci([BASE], [gzip.compress(BASE)], conf=b'{}x'), 'configuration', 'a configuration that is no JSON')
    refused(t, w, docker([BASE], conf=config([BASE, TOP])), '1 layers', 'fewer layers than diff_ids')
    refused(t, w, docker([BASE], names=['not/../there']), "'not/../there'", 'a layer that is not there')
    refused(t, w, tar([file_('manifest.json', b'[]')]), 'no image', 'an empty manifest')
    refused(t, w, tar([file_('manifest.json', b'[' * 100000)]), 'manifest.json', 'a depth bomb')
    refused(t, w, tar([sym('manifest.json', 'manifest.json')]), 'link that leads nowhere', 'a manifest that is a link to itself')
    refused(t, w, tar([file_('oci-layout', b'{}')]), 'neither', 'a layout without index')
    refused(t, w, docker([tar([hard('x', '../../tmp/archive')])]), 'leaves the image', 'a hard link out')
    refused(t, w, docker([tar([file_('f'), file_('f/x')])]), 'folder cannot be had', 'a folder that is a file')
    refused(t, w, docker([tar([sym('l', '/nowhere'), file_('l/x')])]), 'leads nowhere', 'a link to nothing as a folder')
    refused(t, w, docker([tar([sym('l', 'l'), file_('l/x')])]), 'folder cannot be had', 'a link loop')
    refused(t, w, docker([tar([file_('a', pax={f'SCHILY.xattr.user.{i}': 'v' for i in range(40)})])]), 'attributes', 'too many attributes')
    refused(t, w, docker([tar([('s', {'type': b'S'}, b'')])]), "type 'S'", 'a sparse entry')
    refused(t, w, b'\xfd7zXZ\0' + b'0' * 2000, 'only gzip and zstd', 'xz')
    refused(t, w, b'\x28\xb5\x2f\xfd' + b'0' * 2000, 'broken', 'broken zstd')
    for fmt in ('gnu', 'posix'): # 10 GB of hole in a few KiB
        with tempfile.TemporaryDirectory(prefix='mica-sparse-') as d:
            with open(d + '/big', 'wb') as f:
                f.truncate(10 << 30)
                f.seek(5 << 30)
                f.write(b'in the middle')
            sparse = subprocess.run(['tar', '--sparse', '--format=' + fmt, '-C', d, '-cf', '-', 'big'], capture_output=True, check=True).stdout
        refused(t, w, sparse, 'without', f'a sparse file of 10 GB, {fmt}')
        refused(t, w, docker([sparse]), '--sparse', f'the same in a layer, {fmt}')
    claim = bytearray(tar([file_('f', b'x' * 512)]))
    claim[124:136] = b'77777777777\0' # 8 GiB
    claim[148:156] = b'%06o\0 ' % (sum(claim[:148]) + 8 * 32 + sum(claim[156:512]))
    refused(t, w, bytes(claim), 'cut short', 'a file that says it has 8 GiB')
    refused(t, w, docker([bytes(claim)]), 'cut short', 'the same in a layer')
    refused(t, w, tar([file_('etc/a'), file_('../../tmp/outside')]), 'names must be relative', '../ in a root file system')
    refused(t, w, gzip.compress(tar([file_('etc/a', os.urandom(300000))]))[:-900], 'cut short', 'a root file system in cut gzip')
    # not refused, but kept inside: links that point out resolve within the image
    r = w.unpack(docker([tar([dir_('tmp'), sym('out', '/tmp'), sym('up', '../../../tmp')]), tar([file_('out/outside', b'1'), file_('up/outside2', b'2'), file_('up/.wh.archive', b'')])]))
    t.ok(r is not None and w.read('tmp/outside') == b'1' and w.read('tmp/outside2') == b'2', f'links that point out end inside {w.error}')
    t.ok(os.listdir(w.root + '/tmp') == ['archive'], 'and a whiteout through one takes nothing outside')


def spreading(t, w):
    data = bytes(70000) + b'middle' + bytes(300000) + os.urandom(5000) + bytes(1 << 20)
    with open(w.root + '/tmp/packed', 'wb') as f:
        f.write(gzip.compress(data))
    with open(w.root + '/tmp/disk', 'wb') as f:
        f.truncate(4 << 20)
    p = subprocess.run(['chroot', w.root, '/bin/unpack', '--spread', '/tmp/packed', '/tmp/disk'], capture_output=True)
    with open(w.root + '/tmp/disk', 'rb') as f:
        got = f.read()
    t.ok(p.returncode == 0 and got == data + bytes((4 << 20) - len(data)) and os.stat(w.root + '/tmp/disk').st_blocks * 512 <= 32 << 10, f'an empty file system is spread thinly {p.stderr}')
    p = subprocess.run(['chroot', w.root, '/bin/unpack', '--spread', '/tmp/none', '/tmp/disk'], capture_output=True)
    t.ok(p.returncode == 1 and b'/tmp/none' in p.stderr, f'of a file that is not there: {p.stderr}')
    for name in ('packed', 'disk'):
        os.unlink(w.root + '/tmp/' + name)


def adoption(t, w):
    small = tar([dir_('etc'), file_('etc/passwd', b'root:x:0:0::/root:/bin/sh'), file_('etc/group', b'root:x:0:\n'), file_('etc/shadow', b'root:*::::::\n'),
                 file_('etc/resolv.conf', b'nameserver 1'), file_('etc/hostname', b'builder\n'), sym('bin', 'usr/bin'), file_('usr/bin/sh', b'#', mode=0o755)])
    r = w.unpack(small, '--adopt')
    t.ok(r and r['systemd'] is False and r['user_added'] is True and r['init'] == '/usr/lib/mica/init', f'a root file system without init: {r} {w.error}')
    same = lambda a, b: open(a, 'rb').read() == open(b, 'rb').read()
    t.ok(same(w.at('usr/local/bin/slicer-agent'), w.root + '/usr/local/bin/slicer-agent') and same(w.at('usr/lib/mica/init'), w.root + '/sbin/init')
         and os.stat(w.at('usr/lib/mica/init')).st_mode & 0o111, 'has our agent and init')
    t.ok(not os.path.lexists(w.at('usr/lib/mica/next')), 'which stays the first program')
    t.ok(os.readlink(w.at('etc/resolv.conf')) == '/run/resolv.conf' and not os.path.lexists(w.at('etc/hostname')) and w.read('etc/machine-id') == b'', 'name, machine id and resolver come at boot')
    t.ok(w.read('etc/passwd').decode().splitlines()[1] == 'ubuntu:x:1000:1000::/home/ubuntu:/bin/sh' and b'ubuntu:!' in w.read('etc/shadow')
         and os.stat(w.at('home/ubuntu')).st_uid == 1000, 'user ubuntu is there')
    big = tar([dir_('etc/sudoers.d'), file_('etc/passwd', b'root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n'), sym('lib', 'usr/lib'),
               file_('usr/lib/systemd/systemd', b'#!', mode=0o755), file_('etc/hosts', b'127.0.0.1 me\n'), sym('etc/resolv.conf', '../run/systemd/resolve/stub')])
    r = w.unpack(big, '--adopt')
    t.ok(r and r['systemd'] is True and r['user_added'] is False and os.readlink(w.at('usr/lib/mica/next')) == '/lib/systemd/systemd', f'a root file system with systemd: {r} {w.error}')
    t.ok(os.readlink(w.at('etc/systemd/system/multi-user.target.wants/slicer-agent.service')) == '/etc/systemd/system/slicer-agent.service'
         and b'ExecStart=/usr/local/bin/slicer-agent' in w.read('etc/systemd/system/slicer-agent.service'), 'has the agent as a unit')
    t.ok(os.readlink(w.at('etc/systemd/system/sysinit.target.wants/mica-network.service')) == '/etc/systemd/system/mica-network.service'
         and b'ExecStart=/usr/lib/mica/init --network' in w.read('etc/systemd/system/mica-network.service') and b'NamePolicy=keep' in w.read('etc/systemd/network/10-mica.link'),
         'and one for name and network, should systemd be the first program')
    t.ok(w.read('etc/hosts') == b'127.0.0.1 me\n' and not os.path.exists(w.at('home/ubuntu')), "keeps its own user and hosts")
    w.unpack(tar([sym('etc', '/proc/self'), sym('usr', '../../..'), sym('home', '/tmp')]), '--adopt')
    t.ok(open(w.root + '/sbin/init', 'rb').read(4) == b'\x7fELF' and os.listdir(w.root + '/tmp') == ['archive'], f'links in the way lead nowhere outside {w.error[:100]}')


def main(programs):
    t = Tap()
    if os.geteuid() != 0:
        t.skip('unpack', 'needs root for owners and devices')
        return t.done()
    w = World(programs)
    try:
        honest(t, w)
        hostile(t, w)
        spreading(t, w)
        adoption(t, w)
    finally:
        w.close()
    return t.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
