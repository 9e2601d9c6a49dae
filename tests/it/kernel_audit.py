#!/usr/bin/env python3
"""kernel_audit.py O: the kernel flavour `full` against the lists of options that Docker, containerd and runc, K3s with kube-proxy and flannel,
and systemd publish. The fragments are looked at always, the finished configuration in O/kernel/full/config too, where `full` was built. TAP.

kernel_audit.py -c FILE…: one configuration (or fragments, in order; `zcat /proc/config.gz` of a guest as -) against the lists, for people."""
import os
import re
import sys

# Option names are facts, from: moby contrib/check-config.sh; k3s contrib/util/check-config.sh; runc script/check-config.sh and containerd's
# docs; systemd README, section REQUIREMENTS; kube-proxy's modes iptables, ipvs and nftables; flannel's backends vxlan and wireguard.
LISTS = {
    "Docker, needed": """
        NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_SCHED CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER CPUSETS MEMCG KEYS VETH BRIDGE BRIDGE_NETFILTER
        IP_NF_FILTER IP_NF_MANGLE IP_NF_TARGET_MASQUERADE IP6_NF_FILTER IP6_NF_MANGLE IP6_NF_TARGET_MASQUERADE NETFILTER_XT_MATCH_ADDRTYPE
        NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_IPVS NETFILTER_XT_MARK IP_NF_RAW IP_NF_NAT NF_NAT IP6_NF_RAW IP6_NF_NAT POSIX_MQUEUE CGROUP_BPF""",
    "Docker, optional": """
        USER_NS SECCOMP SECCOMP_FILTER CGROUP_PIDS CGROUP_HUGETLB MEMCG_SWAP BLK_CGROUP BLK_DEV_THROTTLING CGROUP_PERF NET_CLS_CGROUP CGROUP_NET_PRIO
        CFS_BANDWIDTH FAIR_GROUP_SCHED RT_GROUP_SCHED IP_NF_TARGET_REDIRECT IP_VS IP_VS_NFCT IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_RR SECURITY_SELINUX
        SECURITY_APPARMOR EXT4_USE_FOR_EXT2 EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY VXLAN BRIDGE_VLAN_FILTERING CRYPTO CRYPTO_AEAD CRYPTO_GCM
        CRYPTO_SEQIV CRYPTO_GHASH XFRM XFRM_USER XFRM_ALGO INET_ESP NETFILTER_XT_MATCH_BPF INET_XFRM_MODE_TRANSPORT IPVLAN MACVLAN DUMMY NF_NAT_FTP
        NF_CONNTRACK_FTP NF_NAT_TFTP NF_CONNTRACK_TFTP BTRFS_FS BTRFS_FS_POSIX_ACL OVERLAY_FS LEGACY_VSYSCALL_XONLY""",
    "containerd and runc": """
        NAMESPACES USER_NS PID_NS NET_NS IPC_NS UTS_NS TIME_NS CGROUPS MEMCG CGROUP_PIDS CGROUP_BPF BPF_SYSCALL BPF_JIT SECCOMP SECCOMP_FILTER KEYS OVERLAY_FS
        BLK_DEV_DM DM_THIN_PROVISIONING EROFS_FS BLK_DEV_LOOP TMPFS TMPFS_XATTR CHECKPOINT_RESTORE FUSE_FS FHANDLE UNIX98_PTYS POSIX_MQUEUE EPOLL""",
    "K3s, needed": """
        CGROUPS CGROUP_PIDS CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER CGROUP_SCHED CPUSETS MEMCG SECCOMP KEYS VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER
        IP_NF_TARGET_MASQUERADE IP_NF_TARGET_REJECT NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_IPVS
        NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_STATISTIC IP_NF_NAT NF_NAT POSIX_MQUEUE""",
    "K3s, optional": """
        USER_NS BLK_CGROUP BLK_DEV_THROTTLING CGROUP_PERF CGROUP_HUGETLB NET_CLS_CGROUP CGROUP_NET_PRIO CFS_BANDWIDTH FAIR_GROUP_SCHED RT_GROUP_SCHED
        IP_NF_TARGET_REDIRECT IP_SET IP_VS IP_VS_NFCT IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_RR EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY VXLAN CRYPTO
        CRYPTO_AEAD CRYPTO_GCM CRYPTO_SEQIV CRYPTO_GHASH XFRM XFRM_USER XFRM_ALGO INET_ESP INET_XFRM_MODE_TRANSPORT OVERLAY_FS""",
    "kube-proxy, flannel, network policies": """
        NETFILTER_XT_MATCH_RECENT NETFILTER_XT_MATCH_PHYSDEV NETFILTER_XT_MATCH_LIMIT NETFILTER_XT_MATCH_IPRANGE NETFILTER_XT_MATCH_OWNER
        NETFILTER_XT_SET NETFILTER_XT_NAT NETFILTER_XT_TARGET_MASQUERADE NETFILTER_XT_TARGET_REDIRECT NETFILTER_XT_TARGET_NFLOG NETFILTER_XT_TARGET_CT
        NETFILTER_XT_TARGET_TPROXY NETFILTER_XT_TARGET_TCPMSS IP6_NF_TARGET_REJECT IP_SET_HASH_IP IP_SET_HASH_IPPORT IP_SET_HASH_IPPORTIP
        IP_SET_HASH_IPPORTNET IP_SET_BITMAP_PORT IP_SET_HASH_NET IP_SET_LIST_SET IP_VS_WRR IP_VS_SH IP_VS_LC NF_CT_NETLINK NF_CONNTRACK_EVENTS
        NF_TABLES NF_TABLES_INET NF_TABLES_IPV4 NF_TABLES_IPV6 NFT_CT NFT_NAT NFT_MASQ NFT_REDIR NFT_REJECT NFT_NUMGEN NFT_HASH NFT_FIB NFT_FIB_INET
        NFT_COMPAT NFT_LOG NFT_LIMIT NFT_TPROXY NFT_SOCKET NFT_QUEUE NFT_CONNLIMIT WIREGUARD TUN NET_IPIP NET_SCH_INGRESS NET_CLS_BPF NET_ACT_MIRRED
        NET_SCH_TBF NFS_FS NFS_V4 HUGETLBFS INET_DIAG IP_MULTIPLE_TABLES""",
    "systemd, needed": """
        DEVTMPFS CGROUPS INOTIFY_USER SIGNALFD TIMERFD EPOLL UNIX SYSFS PROC_FS FHANDLE MULTIUSER NET TMPFS""",
    "systemd, recommended": """
        DMIID BLK_DEV_BSG NET_NS USER_NS IPV6 AUTOFS_FS TMPFS_XATTR TMPFS_POSIX_ACL EXT4_FS_POSIX_ACL XFS_POSIX_ACL BTRFS_FS_POSIX_ACL SECCOMP
        SECCOMP_FILTER KCMP CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH CGROUP_BPF BPF BPF_SYSCALL BPF_JIT EFI_PARTITION EFIVAR_FS CRYPTO_USER_API_HASH
        CRYPTO_HMAC CRYPTO_SHA256 DM_VERITY PSI NET_SCHED NET_SCH_FQ_CODEL MEMCG BLK_CGROUP SWAP BPF_LSM DEBUG_INFO_BTF BINFMT_MISC CONFIGFS_FS
        SECURITYFS VFAT_FS FANOTIFY MEMFD_CREATE SQUASHFS SQUASHFS_XZ BLK_DEV_LOOP""",
}
OFF = {  # asked to be off
    "RT_GROUP_SCHED": "systemd: with it no unit may use a real-time policy",
    "SYSFS_DEPRECATED": "systemd: udev",
    "FW_LOADER_USER_HELPER": "systemd: udev",
    "MODULES": "ours: everything is built in",
}
NOT_HERE = {  # in a list, and left out for a reason
    "RT_GROUP_SCHED": "systemd asks to leave it off",
    "SECURITY_SELINUX": "its policy and labels come with a distribution, which has a kernel for it (kernel_file)",
    "SECURITY_APPARMOR": "the VM is the wall; it brings audit, and with journald every system call then takes the slow way",
    "MEMCG_SWAP": "part of MEMCG and SWAP since 6.1",
    "INET_XFRM_MODE_TRANSPORT": "part of XFRM since 5.2",
    "DMIID": "the machine has no SMBIOS",
    "BLK_DEV_BSG": "the machine has no SCSI",
    "EFIVAR_FS": "the machine has no EFI",
    "BPF_LSM": "hangs its programs on tracing, which is left out: reasons.md",
}
IMPLIED = {  # options that no fragment names: chosen by Kconfig for another one
    "XFRM": "XFRM_USER", "XFRM_ALGO": "XFRM_USER", "CRYPTO_AEAD": "CRYPTO_GCM", "NF_NAT_FTP": "NF_CONNTRACK_FTP", "NF_NAT_TFTP": "NF_CONNTRACK_TFTP",
    "BPF": "BPF_SYSCALL", "MEMFD_CREATE": "TMPFS",
}


def read(text, into=None):
    """The options that are on, of a configuration or of a fragment with reasons; a later one wins."""
    on = {} if into is None else into
    for m in re.finditer(r'^CONFIG_(\w+)=("[^"]*"|\S+)', text, re.M):
        on[m.group(1)] = m.group(2)
    return on


def audit(on, fragment=False):
    """(list, option, what is wrong) for everything that does not hold."""
    def is_on(option):
        return on.get(option, "n") not in ("n", '""') or (fragment and option in IMPLIED and is_on(IMPLIED[option]))
    wrong = []
    for name, options in LISTS.items():
        wrong += [(name, o, "is off") for o in options.split() if not is_on(o) and o not in NOT_HERE]
    wrong += [("left out", o, "is on, though: " + why) for o, why in NOT_HERE.items() if is_on(o)]
    wrong += [("to be off", o, why) for o, why in OFF.items() if is_on(o)]
    return wrong


def say(wrong):
    for name, option, what in wrong:
        print("# %s: CONFIG_%s %s" % (name, option, what))


def for_people(files):
    on = {}
    for path in files:
        if path == "-":
            read(sys.stdin.read(), on)
        else:
            with open(path) as f:
                read(f.read(), on)
    fragment = "CC_IS_GCC" not in on and "CC_IS_CLANG" not in on  # every finished one says what compiled it
    wrong = audit(on, fragment)
    say(wrong)
    print("%d options in %d lists, %d wrong" % (len({o for t in LISTS.values() for o in t.split()}), len(LISTS), len(wrong)))
    return 1 if wrong else 0


def main(out):
    sys.dont_write_bytecode = True
    from frames import Tap
    tap = Tap()
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "kernel-config")
    fragments = []
    for name in ("min", "full"):
        with open(os.path.join(here, name + ".config")) as f:
            fragments.append(f.read())
    asked = read(fragments[1], read(fragments[0]))
    wrong = audit(asked, True)
    say(wrong)
    tap.ok(not wrong, "the fragments ask for all that Docker, containerd, K3s and systemd list")
    missed = {o for _, o, _ in audit(read(fragments[0]), True)}
    tap.ok({"BRIDGE", "NF_TABLES", "BPF_SYSCALL", "AUTOFS_FS"} <= missed, "kernel min would not do: %d options are missed there" % len(missed))
    found = all(audit({k: v for k, v in asked.items() if k != o}, True) for t in LISTS.values() for o in t.split() if o in asked)
    tap.ok(found, "every option of the lists is missed when it goes")
    tap.ok(bool(audit(dict(asked, MODULES="y"), True)), "one that must be off is found on")
    built = os.path.join(out, "kernel", "full", "config")
    if not os.path.exists(built):
        tap.skip("the finished configuration", "kernel full is not built here: 'make full' does")
        return tap.done()
    with open(built) as f:
        finished = read(f.read())
    wrong = audit(finished)
    say(wrong)
    tap.ok(not wrong, "the finished configuration has all of it")
    lost = [o for o, v in asked.items() if v == "y" and finished.get(o) != "y"]
    tap.ok(not lost, "and Kconfig dropped nothing that was asked for: %s" % lost)
    return tap.done()


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "-c":
        sys.exit(for_people(sys.argv[2:]))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
