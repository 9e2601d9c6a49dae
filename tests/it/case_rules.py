"""What firewalls ask of the kernel `full`, inside a Debian guest: guest_rules.py loads a wide choice of rules there and sends packets through them. Started by heavy.sh."""
import os

from debian import HERE, guest
from world import Skip, limit, must

TAR = "docker.tar.gz"
FILES = "guest_rules.py", "rules_list.py", "rules_nft.py"
brought = []


def told(env, part):
    """The part's lines; every one must begin with ok."""
    d = guest(env, TAR, 1024)
    if d.kernel != "full":
        raise Skip("netfilter's wide choice is in kernel full, which is not in this build of mica")
    if not brought:
        for name in FILES:
            done = d.cli("vm", "cp", os.path.join(HERE, name), "%s:/home/ubuntu/%s" % (d.vm, name))
            must(done.returncode == 0, done.stderr)
        brought.append(True)
    code, out, err = d.root("cd /home/ubuntu && python3 -B guest_rules.py " + part, limit_s=450)
    lines = out.splitlines()
    bad = [line[4:] for line in lines if line.startswith("bad ")]
    must(lines and lines[-1] == "end" and not bad, "%d of %d wrong:" % (len(bad), len(lines) - 1), "; ".join(bad), code, err[-800:])
    print("# %s: %d looks" % (part, len(lines) - 1))


@limit(900)
def case_boot(env):
    """a Debian with Docker, podman, buildah and firewall tools boots with nothing failed"""
    guest(env, TAR, 1024)


@limit(500)
def case_load(env):
    """rules load: some 450 of iptables and ip6tables (nf_tables and legacy) and nft, sets of ipset, arptables, ebtables"""
    told(env, "load")


@limit(500)
def case_nft(env):
    """nft rules act on packets: sets, maps, load balancing, limits, NAT, tproxy, helpers, flow tables, families; monitor and trace tell"""
    told(env, "nft")


@limit(500)
def case_iptables(env):
    """iptables rules act on packets, by nf_tables"""
    told(env, "iptables-nft")


@limit(500)
def case_iptables_legacy(env):
    """the same by the old interface"""
    told(env, "iptables-legacy")


@limit(500)
def case_ip6tables(env):
    """ip6tables rules act on packets, by nf_tables"""
    told(env, "ip6tables-nft")


@limit(500)
def case_ip6tables_legacy(env):
    """the same by the old interface"""
    told(env, "ip6tables-legacy")
