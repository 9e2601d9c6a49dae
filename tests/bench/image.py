#!/usr/bin/env python3
"""image.py MICA: what `mica image import` does in a second: a tar of a root file system, upload, builder, unpacking and storing included, beside the
host's own tar. The difference of a large and a small archive, so that the builder's boot is a figure by itself. Needs root and a KVM that boots guests."""
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time

sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "it")]

import world  # noqa: E402

MIB = int(os.environ.get("BENCH_IMPORT_MIB", 48))
SMALL_MIB = 4
FILE_BYTES = 128 << 10
RUNS = 3


def archive(path, mib):
    with tarfile.open(path, "w") as tar:
        for i in range((mib << 20) // FILE_BYTES):
            info = tarfile.TarInfo("data/%d/%d" % (i % 16, i))
            info.size = FILE_BYTES
            tar.addfile(info, io.BytesIO(os.urandom(FILE_BYTES)))


def timed(argv, **how):
    begin = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, **how)
    if done.returncode:
        sys.exit("%s: %s" % (" ".join(argv), done.stderr.decode()))
    return time.monotonic() - begin


def main():
    with tempfile.TemporaryDirectory(prefix="mica-import.") as top:
        os.chmod(top, 0o755)
        env = world.World(os.path.abspath(sys.argv[1]), top, False)
        try:
            daemon = env.daemon("bench", 5).start()
            best = {}
            for mib in (SMALL_MIB, MIB):
                path = os.path.join(top, "%d.tar" % mib)
                archive(path, mib)
                for n in range(RUNS):
                    name = "b%d-%d:1" % (mib, n)
                    took = {"mica": timed([env.mica, "image", "import", path, "--name", name, "--quiet"], env=env.environ(MICA_URL=daemon.sock))}
                    subprocess.run([env.mica, "image", "remove", name], env=env.environ(MICA_URL=daemon.sock), capture_output=True, check=True)
                    into = os.path.join(top, "into")
                    os.mkdir(into)
                    took["tar"] = timed(["tar", "xf", path, "-C", into])
                    subprocess.run(["rm", "-rf", into], check=True)
                    for who, s in took.items():
                        best[who, mib] = min(s, best.get((who, mib), s))
                os.unlink(path)
            rate = {who: (MIB - SMALL_MIB) / max(best[who, MIB] - best[who, SMALL_MIB], 1e-6) for who in ("mica", "tar")}
            print("image import: %.1f MiB/s, the host's tar into memory %.1f (%d against %d MiB in files of %d KiB, least of %d); an import of %d MiB takes %.2f s, builder included"
                  % (rate["mica"], rate["tar"], MIB, SMALL_MIB, FILE_BYTES >> 10, RUNS, SMALL_MIB, best["mica", SMALL_MIB]))
        finally:
            env.end()


main()
