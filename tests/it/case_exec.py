"""POST /vm/{h}/exec: contract 1.7."""
import base64
import hashlib
import json
import time

from client import Broken, payload, query
from world import limit, must, same


def case_frames(env):
    """a streaming exec starts, gives stdout and stderr, ends with the exit code"""
    frames = env.api.frames(env.vm(), "/bin/sh", ["-c", "echo hi; echo no >&2; exit 3"], uid=0, gid=0, stdio="base64")
    same(frames[0]["type"], "started", "first frame")
    must(frames[0]["pid"] > 0 and frames[0]["started_at"], "pid and started_at")
    same(b"".join(payload(f) for f in frames if f["type"] == "stdout"), b"hi\n", "stdout")
    same(b"".join(payload(f, "stderr") for f in frames if f["type"] == "stderr"), b"no\n", "stderr")
    last = frames[-1]
    same((last["type"], last["exit_code"], last["pid"]), ("exit", 3, frames[0]["pid"]), "last frame")
    for frame in frames:
        must("exit_code" in frame and "type" in frame and frame["timestamp"], "keys of", frame)
        must(frame is last or (frame["exit_code"] == 0 and not frame.get("error")), "only the last frame may end", frame)
        must("data" not in frame or not frame["data"], "output stands in stdout or stderr, not in data", frame)
        for key in ("started_at", "ended_at"):
            must(frame.get(key) != "", key, "is never empty", frame)


def case_text(env):
    """without stdio the output is text and no frame claims base64"""
    frames = env.api.frames(env.vm(), "echo", ["größe \"q\" \\ \t."])
    same("".join(f.get("stdout", "") for f in frames), 'größe "q" \\ \t.\n')
    must(not any(f.get("encoding") for f in frames), "encoding", frames)


def case_text_split_utf8(env):
    """a character split over two writes still gives valid JSON"""
    frames = env.api.frames(env.vm(), "/bin/sh", ["-c", "printf '\\303'; sleep 0.3; printf '\\251x\\377'"])
    text = "".join(f.get("stdout", "") for f in frames)
    must(text.endswith("x\ufffd") or text.endswith("x") or len(text) >= 2, "text", text)


def case_text_binary_exact(env):
    """every byte value comes back unchanged as base64"""
    code, out, _ = env.api.run(env.vm(), "/bin/sh", ["-c", "cat"], stdin=bytes(range(256)) * 40)
    same((code, out), (0, bytes(range(256)) * 40))


def case_headers(env):
    """the reply is chunked NDJSON"""
    status, headers, _ = env.api.call("POST", query("/vm/%s/exec" % env.vm(), cmd="true"))
    same(status, 200)
    must("application/x-ndjson" in headers["content-type"], headers)
    same(headers.get("transfer-encoding"), "chunked")


def case_flushed(env):
    """frames arrive while the command still runs"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd="/bin/sh", args=["-c", "echo one; sleep 2; echo two"]))
        begin, seen = time.monotonic(), []
        for frame in conn.response().lines():
            if frame["type"] == "stdout":
                seen.append(time.monotonic() - begin)
    must(len(seen) == 2 and seen[1] - seen[0] > 1, "times of the two lines", seen)


def case_buffered(env):
    """buffered: one object, HTTP 200 whatever the exit code"""
    status, _, body = env.api.call("POST", query("/vm/%s/exec" % env.vm(), buffered=True, cmd="uname", args="-s"))
    answer = json.loads(body)
    same((status, answer["stdout"], answer["stderr"], answer["exit_code"]), (200, "Linux\n", "", 0))
    must(answer["pid"] > 0 and answer["started_at"] and answer["ended_at"], answer)
    status, _, body = env.api.call("POST", query("/vm/%s/exec" % env.vm(), buffered=True, cmd="/bin/sh",
                                                 args=["-c", "printf 'a\\0b'; echo e >&2; exit 9"], stdio="base64"))
    answer = json.loads(body)
    same((status, answer["exit_code"], answer["encoding"]), (200, 9, "base64"))
    same(base64.b64decode(answer["stdout"]), b"a\0b")
    same(base64.b64decode(answer["stderr"]), b"e\n")


def case_default_user(env):
    """uid absent: the default user (1000), at home; uid=0: root"""
    code, out, _ = env.api.run(env.vm(), "/bin/sh", ["-c", "id -u; id -g; pwd; echo $HOME"])
    same((code, out), (0, b"1000\n1000\n/home/ubuntu\n/home/ubuntu\n"))
    code, out, _ = env.api.run(env.vm(), "/bin/sh", ["-c", "id -u; id -g; echo $HOME"], uid=0, gid=0)
    same((code, out), (0, b"0\n0\n/root\n"))
    same(env.api.run(env.vm(), "/bin/sh", ["-c", "id -u; id -g"], uid=1234, gid=4321)[1], b"1234\n4321\n")


def case_env_cwd(env):
    """env and cwd; ~ is the user's home; .. is refused"""
    code, out, _ = env.api.run(env.vm(), "/bin/sh", ["-c", 'echo "$A|$B"; pwd'], env=["A=1 2", "B=x=y"], cwd="/tmp")
    same((code, out), (0, b"1 2|x=y\n/tmp\n"))
    same(env.api.run(env.vm(), "pwd", cwd="~")[1], b"/home/ubuntu\n")
    status, _, _ = env.api.call("POST", query("/vm/%s/exec" % env.vm(), cmd="pwd", cwd="/tmp/../etc", buffered=True))
    if status == 200:
        code, out, _ = env.api.run(env.vm(), "pwd", cwd="/tmp/../etc")
        must(code != 0 and out != b"/etc\n", "cwd with .. ran", code, out)


def case_shell_param(env):
    """shell=/bin/sh runs cmd as a login shell's line"""
    code, out, _ = env.api.run(env.vm(), "echo a-$((1+1)) | tr a b", shell="/bin/sh")
    same((code, out), (0, b"b-2\n"))


def case_args_exact(env):
    """arguments arrive as they were sent: empty, blanks, quotes, newlines, 60 KiB"""
    args = ["", " a  b ", "'\"$HOME`", "l1\nl2", "ü€😀", "x" * 60000]
    code, out, _ = env.api.run(env.vm(), "/bin/sh", ["-c", 'for a; do printf "%s\\0" "$a"; done', "sh"] + args)
    same((code, out), (0, b"".join(a.encode() + b"\0" for a in args)))


def case_exit_codes(env):
    """exit codes 0, 1, 255 and an end by signal"""
    for want in (0, 1, 255):
        same(env.api.sh(env.vm(), "exit %d" % want)[0], want)
    last = env.api.frames(env.vm(), "/bin/sh", ["-c", "kill -KILL $$"])[-1]
    same(last["exit_code"], 137, "exit code of a killed command")
    must("KILL" in str(last.get("signal")) or last.get("signal") in ("9", 9), "signal", last)


def refused(env, cmd, want, **params):
    """Not started: a non-200, or one frame with error and the code."""
    status, _, body = env.api.call("POST", query("/vm/%s/exec" % env.vm(), cmd=cmd, **params))
    if status == 200:
        last = [json.loads(line) for line in body.split(b"\n") if line][-1]
        same(last["exit_code"], want, "exit code of " + cmd)
        must(last.get("error"), "an error sentence", last)
    else:
        must(400 <= status < 500, "status", status, body)
        must(json.loads(body)["error"], "an error sentence", body)


def case_not_found(env):
    """a command that is not there: 127, and a sentence"""
    refused(env, "no-such-command", 127)
    refused(env, "/no/such/command", 127)


def case_not_executable(env):
    """a file that is not executable: 126, and a sentence"""
    refused(env, "/etc/passwd", 126, uid=0)


def case_stays_usable(env):
    """forty quick commands one after the other, then the VM is as before"""
    for number in range(40 if env.full else 12):
        same(env.api.sh(env.vm(), "echo %d" % number)[1], b"%d\n" % number)
    leftover = env.api.sh(env.vm(), "ps | grep -c '[d]efunct' || true")[1]
    same(leftover.strip(), b"0", "defunct processes")


@limit(300)
def case_big_output(env):
    """a large output through exec has the hash it had in the guest"""
    mib = 1024 if env.full else 32
    part = min(mib, 32)
    _, out, _ = env.api.sh(env.vm(2), "head -c %d /dev/urandom >/tmp/big; sha256sum </tmp/big" % (part << 20), timeout_s=300)
    once = out.split()[0].decode()
    seen, total, first = hashlib.sha256(), 0, hashlib.sha256()
    with env.api.conn(300) as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(2), cmd="/bin/sh", uid=0, stdio="base64",
                                 args=["-c", "i=0; while [ $i -lt %d ]; do cat /tmp/big; i=$((i+1)); done" % (mib // part)]))
        for frame in conn.response().lines():
            data = payload(frame)
            if total < part << 20:
                first.update(data[:(part << 20) - total])
            seen.update(data)
            total += len(data)
            last = frame
    same((last["type"], last["exit_code"], total), ("exit", 0, mib << 20))
    same(first.hexdigest(), once, "hash of the first part")
    if mib > part:
        again = hashlib.sha256()
        _, out, _ = env.api.sh(env.vm(2), "i=0; while [ $i -lt %d ]; do cat /tmp/big; i=$((i+1)); done | sha256sum" % (mib // part), timeout_s=600)
        again = out.split()[0].decode()
        same(seen.hexdigest(), again, "hash of all of it")
    env.api.sh(env.vm(2), "rm /tmp/big")


def case_slow_reader(env):
    """a client that reads nothing for a while holds its own command only"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd="head", args=["-c", "6000000", "/dev/zero"], stdio="base64"))
        reply = conn.response()
        time.sleep(1)
        same(env.api.sh(env.vm(), "echo free")[1], b"free\n", "another exec meanwhile")
        same(sum(len(payload(f)) for f in reply.lines()), 6000000, "bytes in the end")


def case_two_cpus(env):
    """the 2 vCPU guest has two, and both work"""
    same(env.api.sh(env.vm(2), "nproc")[1], b"2\n")
    code, out, _ = env.api.sh(env.vm(2), "for i in 1 2 3; do head -c 300000 /dev/urandom | md5sum & done; wait; echo done", timeout_s=120)
    must(code == 0 and out.endswith(b"done\n") and out.count(b"\n") == 4, out)
    same(env.api.sh(env.vm(1), "nproc")[1], b"1\n")


def case_disconnect(env):
    """a client that goes away in the middle: its command is ended, the VM goes on"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd="/bin/sh", uid=0, args=["-c", "echo up; exec sleep 4242"]))
        for frame in conn.response().lines():
            if frame["type"] == "stdout":
                break
    for _ in range(40):
        gone = env.api.sh(env.vm(), "ps | grep -q '[s]leep 4242' || echo gone")[1]
        if gone:
            break
        time.sleep(0.25)
    same(gone, b"gone\n", "the command after its client left")


def case_disconnect_during_output(env):
    """a client that leaves a flood of output unread and goes"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd="cat", args=["/dev/zero"]))
        conn.response()
        time.sleep(0.3)
    for _ in range(40):
        gone = env.api.sh(env.vm(), "ps | grep -q '[c]at /dev/zero' || echo gone")[1]
        if gone:
            break
        time.sleep(0.25)
    same(gone, b"gone\n")


def case_refusals(env):
    """no cmd, buffered with stdin, unknown VM: 4xx and JSON"""
    for path, want in ((query("/vm/%s/exec" % env.vm()), (400,)),
                       (query("/vm/%s/exec" % env.vm(), cmd="cat", buffered=True, stdin=True), (400,)),
                       (query("/vm/%s/exec" % env.vm(), cmd="id", uid="abc"), (400,)),
                       (query("/vm/%s/exec" % env.vm(), cmd="id", uid="99999999999"), (400,)),
                       (query("/vm/%s/exec" % env.vm(), cmd="id", stdio="morse"), (400,)),
                       (query("/vm/it-999/exec", cmd="id"), (404,))):
        status, _, body = env.api.call("POST", path)
        must(status in want, path, status, body)
        must(json.loads(body)["error"], body)


def case_keep_alive(env):
    """several execs on one connection"""
    with env.api.conn() as conn:
        for number in range(3):
            frames = list(conn.call("POST", query("/vm/%s/exec" % env.vm(), cmd="echo", args=str(number))).lines())
            same("".join(f.get("stdout", "") for f in frames), "%d\n" % number)
