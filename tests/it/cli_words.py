#!/usr/bin/env python3
"""cli_words.py MICA FRONT AGENT [WORD...]: what the table of commands promises: every verb and flag of the contract's §3, help, manual, and completion
in real shells. TAP on stdout."""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cli_world import main, tap  # noqa: E402

REMOTE = "--url --socket --token --token-file --api"
# §3.2 to §3.4: verb → flags
SERVED = {
    "new": "--count --cpu --ram --storage --storage-size --persistent --net --cidr --range --address --parent --tap-prefix --isolated-range --allow "
           "--drop --dns --api-bind --api-port --socket --api-auth --ssh-port --ssh-key --github --import-user --find-ssh-keys --userdata "
           "--userdata-file --image --min --ca --bench --graceful-shutdown --insecure-registry",
    "up": "--suspend-on-shutdown --license-file",
    "auto": "",
    "service generate": "--install --name --user --working-directory --timeout-stop-sec --suspend-on-shutdown --license-file --force",
    "activate": "--license-file",
    "eula": "",
    "version": "",
    "info": REMOTE,
    "bench": "--hostgroup --concurrency --runs --wait --verbose --json --keep " + REMOTE,
    "vm add": "--cpus --ram-gb --ram-mb --ram-bytes --gpus --userdata --userdata-file --ssh-key --import-user --name -n --tag --secret --secrets "
              "--persistent --wait --wait-userdata --timeout --shell --json " + REMOTE,
    "vm launch": "--wait", "vm list": "--json " + REMOTE, "vm ls": "", "vm l": "", "v list": "", "ls": "", "list": "",
    "vm group": "--json", "vm describe": "", "vm ready": "--agent --userdata --timeout --interval", "vm health": "--json",
    "vm exec": "--uid --gid --cwd --env --shell " + REMOTE, "exec": "",
    "vm bg exec": "-c --cmd -a --arg -s --shell --ring-bytes --follow --json --uid --gid --cwd --env " + REMOTE,
    "vm bg list": "--json " + REMOTE, "vm bg info": "--json", "vm bg logs": "--follow --from-id", "vm bg kill": "--signal --grace",
    "vm bg wait": "--timeout --json", "vm bg remove": "", "bg exec": "", "bg list": "", "v bg info": "",
    "vm shell": "--uid --gid --cwd --shell --bootstrap", "shell": "",
    "vm cp": "-r --recursive --mode --permissions --uid --exclude", "cp": "",
    "vm forward": "-L", "vm pause": "", "vm resume": "", "vm shutdown": "", "vm suspend": "", "vm restore": "--wait", "vm relaunch": "", "relaunch": "",
    "vm commit": "--tag --label --cache-key --source --quiet --json",
    "vm fork": "--wait --timeout --allow --no-allow --drop --fixup --no-fixups --rm --cpu --ram-mb --tag --replace-tags --no-secrets --secret --name --json --quiet",
    "vm delete": "", "vm logs": "--lines", "logs": "", "vm top": "--json",
    "vm tag": "--tag", "vm route": "--os", "route": "", "fs watch": "--stream", "vm fs watch": "",
    "secret create": "--from-literal --from-file --permissions --uid --gid --name --value", "secret list": "-v", "secret update": "--permissions",
    "secret remove": "",
    "image list": "--json --all", "image build": "-f --file -t --tag --build-arg --target --network --no-cache -o --output", "image prune": "", "image remove": "", "image import": "--name --size", "image inspect": "", "image export": "-f --output --quiet", "image tag": "",
    "disk list": "--json", "disk df": "--json", "disk grow": "--json", "disk export": "-f --output --quiet", "disk sparsify": "--json", "disk import": "--name --size",
}
# said with a reason, not "unknown command"
ABSENT = ["update", "install slicer-mac", "image wipe", "disk archive",
          "disk transfer", "disk update-kernel", "pci list", "pci bind 0000:00:00.0 --driver x", "pci unbind", "ca init", "ca issue --host x",
          "proxy up", "proxy client create x", "proxy allow", "amp", "claude .", "codex", "copilot", "opencode",
          "pi", "workspace", "worktree push", "wt pull", "env up", "wg"]


def case_contract(w):
    for verb, flags in SERVED.items():
        done = w.run(*verb.split(), "--help")
        words = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", done.stdout.decode()))
        missing = [f for f in flags.split() if f not in words]
        tap.ok(done.returncode == 0 and done.stdout.count(b"Usage: mica ") == 1 and not missing, "mica %s --help %s" % (verb, missing or ""))
    for words in ABSENT:
        done = w.run(*words.split())
        tap.ok(done.returncode == 1 and b"does not serve" in done.stderr and b"cause: " in done.stderr, "mica %s: not served, and why" % words)
        done = w.run(*words.split(), "--help")
        tap.ok(done.returncode == 0 and b"Not served" in done.stdout, "… --help")
    for words in ("up --suspend-on-shutdown", "service generate --suspend-on-shutdown x.yaml"):
        done = w.run(*words.split())
        tap.ok(done.returncode == 2 and b"memory" in done.stderr, "mica %s: refused, and why" % words)
    for words in ("vm explode", "explode", "vm bg explode", "fs explode", "vm commitx"):
        tap.ok(w.run(*words.split()).returncode == 2, "mica %s: no such command" % words)
    tap.ok(w.run("activate").returncode == 0 and w.run("eula", "accept").returncode == 0, "activate and eula: nothing to do is no failure")


def case_help(w):
    """--help of every command has examples; groups list what is in them; --tree and the manual have all"""
    tree = w.run("--tree").stdout.decode().splitlines()
    tap.ok(len(tree) > 40, "--tree has %d lines" % len(tree))
    page = w.run("man").stdout
    heads = page.decode().replace("\\-", "-")
    for line in tree:
        words = re.match(r"mica ((?:[a-z][a-z-]*(?= |$) ?)+)", line)[1].split()
        done = w.run(*words, "--help")
        ok = done.returncode == 0 and b"Examples:" in done.stdout and b"Usage: mica" in done.stdout
        tap.ok(ok and '.SS "mica %s [options]' % " ".join(words) in heads, "mica %s: help and manual" % " ".join(words))
        group = " ".join(words[:-1])
        if group:
            tap.ok(("  %s " % words[-1]).encode() in w.run(*words[:-1], "--help").stdout, "… listed in mica %s" % group)
    tap.ok(w.run("help", "vm", "exec").stdout == w.run("vm", "exec", "--help").stdout, "help VERB is VERB --help")
    tap.ok(w.run("help", "bg", "logs").stdout == w.run("vm", "bg", "logs", "--help").stdout, "… inside an inner group")
    tap.ok(b"a group of its own" in w.run("vm", "--help").stdout and w.run("vm", "bg").returncode == 2, "vm --help names bg; bg alone is not enough")
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8"], input=page, capture_output=True)
        tap.ok(done.returncode == 0 and done.stderr == b"", "groff takes the manual without a warning: %r" % done.stderr[:300])
    else:
        tap.skip("groff takes the manual without a warning", "no groff")


def shell_env(w):
    """a shell that finds mica by its name"""
    os.makedirs(w.dir + "/bin", exist_ok=True)
    for name in ("mica", "slicer"):
        if not os.path.exists(w.dir + "/bin/" + name):
            os.symlink(w.mica, w.dir + "/bin/" + name)
    env = dict(w.env, PATH=w.dir + "/bin:" + os.environ["PATH"], MICA_SOCKET=w.sock, TERM="dumb")
    if not w.run("bg", "list", "demo-1", "-q", base=env).stdout:  # one id to complete
        w.run("bg", "exec", "demo-1", "--", "true", base=env)
    return env


QUESTIONS = [("mica ver", "version"), ("mica vm descr", "describe"), ("mica vm exec de", "demo-1"), ("mica v stop de", "demo-1"), ("mica shell de", "demo-1"),
             ("mica vm bg inf", "info"), ("mica bg wai", "wait"), ("mica vm bg logs de", "demo-1"), ("mica bg exec de", "demo-1"), ("mica fs watch de", "demo-1"),
             ("mica vm fs wat", "watch"), ("mica vm bg exec --ring", "--ring-bytes"), ("mica vm exec demo-1 --cw", "--cwd"), ("mica vm list --token-", "--token-file"),
             ("mica context us", "use"), ("mica context use off", "office"), ("mica vm list --context off", "office"), ("slicer vm descr", "describe"),
             ("mica cp de", "demo-1:"), ("mica vm tag rep", "replace"), ("mica vm tag add de", "demo-1"), ("mica bg logs demo-1 ex", "ex_"), ("mica completion z", "zsh")]


def bash_function(w, line):
    """what bash would offer at the end of this line"""
    words = line.split(" ")
    script = 'source <(mica completion bash)\nCOMP_WORDS=(%s) COMP_CWORD=%d\n_mica\nprintf "%%s\\n" "${COMPREPLY[@]}"' % (" ".join("'%s'" % x for x in words), len(words) - 1)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=shell_env(w), cwd=w.dir, timeout=20)
    assert done.stderr == "", done.stderr
    return done.stdout.split()


def case_bash_offers(w):
    w.run("context", "add", "office", "--url", "http://h:1")
    offered = set(bash_function(w, "mica "))
    tap.ok({"vm", "run", "exec", "service", "bench", "bg", "fs", "context", "join"} <= offered, "commands and groups")
    tap.ok({"exec", "bg", "fs", "tag"} <= set(bash_function(w, "mica vm ")), "a group's commands and its inner groups")
    tap.ok(set(bash_function(w, "mica vm bg ")) == {"exec", "list", "info", "logs", "kill", "wait", "remove"}, "an inner group's")
    tap.ok(bash_function(w, "mica vm exec --cwd ") == [] and bash_function(w, "mica vm exec demo-1 ls -") == [], "nothing for values and for the guest's command")
    tap.ok(bash_function(w, "mica --socket /none vm exec d") == [], "asks the daemon that is named")
    for line, want in QUESTIONS:
        got = bash_function(w, line)
        tap.ok(len(got) == 1 and got[0].startswith(want), "bash: %s → %s" % (line, got))


class Terminal:
    """an interactive shell on a pty; the line so far is what it prints"""

    def __init__(self, argv, w, setup):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(w.dir)
            os.execvpe(argv[0], argv, shell_env(w))
        self.send(setup + "; echo rea''dy\n")
        self.until("ready\r")

    def send(self, text):
        os.write(self.fd, text.encode())

    def until(self, what, limit_s=20):
        got, end = "", time.monotonic() + limit_s
        while what not in got and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.2)[0]:
                got += os.read(self.fd, 65536).decode(errors="replace")
        return got

    def complete(self, line, want):
        self.send("\x15" + line + "\t")
        word = line.split()[-1] if not line.endswith(" ") else ""
        got = self.until(want, 10)
        self.send("\x15")
        return want in got and word in got

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def case_terminals(w):
    """bash and zsh as a person uses them: a tab at the end of the line"""
    w.run("context", "add", "office", "--url", "http://h:1")
    for shell, argv, setup in (("bash", ["bash", "--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'; PS1='> '; source <(mica completion bash)"),
                               ("zsh", ["zsh", "-f", "-i"], "PS1='> '; autoload -U compinit; compinit -u -D; source <(mica completion zsh)")):
        if not shutil.which(shell):
            tap.skip(shell, "not installed")
            continue
        t = Terminal(argv, w, setup)
        for line, want in QUESTIONS:
            tap.ok(t.complete(line, want), "%s: %s<tab> → %s" % (shell, line, want))
        t.close()


def case_fish(w):
    if not shutil.which("fish"):
        tap.skip("fish", "not installed")
        return
    w.run("context", "add", "office", "--url", "http://h:1")
    script = "mica completion fish | source; " + "; ".join("echo '= %s'; complete -C '%s'" % (line, line) for line, _ in QUESTIONS)
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=w.dir, env=shell_env(w), timeout=60)
    answers = {part.split("\n")[0]: part.split("\n")[1:] for part in ("\n" + done.stdout).split("\n= ")[1:]}
    tap.ok(done.stderr == "", "fish takes the script: %s" % done.stderr[:300])
    for line, want in QUESTIONS:
        got = [x.split("\t")[0] for x in answers.get(line, [])]
        tap.ok(want in got or want == "ex_" and got and got[0].startswith(want), "fish: %s → %s" % (line, got[:5]))


def case_parse(w):
    """no script has a slip"""
    for shell in ("bash", "zsh", "fish"):
        text = w.run("completion", shell).stdout
        if shutil.which(shell):
            done = subprocess.run([shell, "--no-execute" if shell == "fish" else "-n", w.write("completion." + shell, text)], capture_output=True, env=w.env)
            tap.ok(text and done.returncode == 0 and not done.stderr, "%s parses its script" % shell)
    tap.ok(w.run("completion", "csh").returncode == 2, "no script for csh")


if __name__ == "__main__":
    sys.exit(main([(n, f) for n, f in list(globals().items()) if n.startswith("case_")]))
