#include "cli/codes.h"

#include <string.h>

const struct code_row codes[] = {
	{ "E_ADDR_ABSENT", "the address to listen on is none of this host's", "set api.bind_address to an address that 'ip addr' shows, or 127.0.0.1" },
	{ "E_ADDR_NONE", "all addresses of the host group's network are in use", "delete a VM, or give the group a larger network" },
	{ "E_ADDR_TAKEN", "the address asked for is another VM's, or outside of the group's network",
	  "leave 'ip' out, or choose a free one: 'mica vm list'" },
	{ "E_BRIDGE_TAKEN", "an interface of the bridge's name exists and is somebody else's",
	  "choose another network.bridge in the host group, or remove the interface" },
	{ "E_CAGE", "the kernel refused a part of the cage around a VM's process",
	  "'mica doctor' lists what is missing; a container needs the right to make namespaces" },
	{ "E_CERT_BAD", "the certificate's or the key's file is damaged or of another kind", "give PEM files with an EC or RSA key that is not encrypted" },
	{ "E_CERT_EXPIRED", "the certificate is not valid at this time", "renew it and send the daemon SIGHUP; check both machines' clocks" },
	{ "E_CERT_KEY", "certificate and private key do not belong together", "give the key the certificate was made with" },
	{ "E_CERT_PIN", "the server has another certificate than the one expected",
	  "compare --fingerprint (MICA_FINGERPRINT) with what the daemon printed at its start; if nobody changed it, somebody is in between" },
	{ "E_CERT_READ", "a certificate's or key's file cannot be read", "check api.tls.cert_file and key_file; without them the daemon makes its own" },
	{ "E_CGROUP", "no cgroup v2 with memory, cpu and pids for VMs: rlimits alone hold them",
	  "boot with systemd.unified_cgroup_hierarchy=1, or run as a unit with Delegate=yes" },
	{ "E_CLOCK_BACK", "the host's clock is behind what it was before", "set the clock (timedatectl set-ntp true), then restart the daemon" },
	{ "E_CONFIG_BAD", "the config holds something that cannot be", "change the line it names; 'mica config check FILE' tests a file" },
	{ "E_CONFIG_MISSING", "the config cannot be read", "check the path; 'mica new vm > mica.yaml' makes one" },
	{ "E_DISK_FULL", "the file system of the state folder is full, or a quota is",
	  "make room there, delete VMs, or choose another folder with --state" },
	{ "E_FD_LIMIT", "too few file descriptors are allowed", "raise the hard limit: 'ulimit -Hn 65536', or LimitNOFILE= in the unit" },
	{ "E_IMAGE_BAD", "the image is no raw ext4 file system, or is cut off",
	  "make one with 'mkfs.ext4 -d FOLDER FILE SIZE', or import it: 'mica image import'" },
	{ "E_IMAGE_LARGE", "the image is larger than the group's disks", "give the host group a larger storage_size" },
	{ "E_IMAGE_MISSING", "the host group names an image that is not in the store", "import it: 'mica image import --name NAME FILE'" },
	{ "E_KERNEL_ABSENT", "this build of mica carries no kernel 'full'",
	  "build one that does: 'make full'; or leave 'kernel' out. 'mica version' shows what is in this one" },
	{ "E_KERNEL_BAD", "the guest kernel is no ELF vmlinux or bzImage for 64-bit x86, or is cut off",
	  "copy it again, or leave kernel_file out for the built-in one" },
	{ "E_KVM_DENIED", "/dev/kvm belongs to root and the group kvm",
	  "join the group with 'sudo usermod -aG kvm $USER' and log in again, or run mica as root" },
	{ "E_KVM_EMULATED", "this KVM has no VMX or SVM beneath it and lacks instructions such as cmpxchg16b",
	  "leave --flavour, kernel and kernel_file out: the kernel 'emulated' boots here; nested virtualisation from the host is faster" },
	{ "E_KVM_GROUP", "the user is in the group kvm, this session is from before", "log in again, or 'newgrp kvm'; a service must be restarted" },
	{ "E_KVM_MISSING", "the kernel module kvm is not loaded, or this machine offers no virtualisation",
	  "'modprobe kvm_intel' or 'modprobe kvm_amd'; in a cloud VM or a container, ask for nested virtualisation or --device /dev/kvm" },
	{ "E_KVM_USELESS", "what was opened is no KVM that can run a guest",
	  "give the right device with --kvm; the host needs Linux 4.12 or newer on x86-64" },
	{ "E_LANDLOCK", "the kernel has no Landlock: file rights alone keep the daemon in its folder",
	  "boot with lsm=landlock,… (Linux 5.13 or newer); not needed to run VMs" },
	{ "E_MACVTAP_MISSING", "the kernel has no macvtap", "'modprobe macvtap', or use network mode bridge" },
	{ "E_NAME_TAKEN", "something of that name is there already", "choose another name, or change or remove what is there" },
	{ "E_NFT_MISSING", "the kernel has no nf_tables", "'modprobe nf_tables'; without it VMs have no network" },
	{ "E_NO_DAEMON", "no daemon answers there", "start it with 'mica up', or name another with --url or --socket" },
	{ "E_NO_RAM", "too little memory is free for the VM", "stop a VM, or ask for less RAM" },
	{ "E_PARENT", "the link that a macvtap network stands on is not there", "name a link of this host as network.parent: 'ip link' shows them" },
	{ "E_PART_MISSING", "this file carries not all of mica", "copy the file again; 'mica version' shows what is in it" },
	{ "E_PORT_DENIED", "ports below 1024 need a right this user has not", "set api.port to 1024 or more, or run mica as root" },
	{ "E_PORT_USED", "another program listens on the API's port", "set api.port to a free one, or stop the other: 'ss -ltnp' shows it" },
	{ "E_PUBLISH_USED", "a port to publish is taken", "publish another host port, or stop the program that has it: 'ss -ltnp'" },
	{ "E_QUOTA", "the VMs of a token or a host group are as many, or as large, as its quota allows", "delete a VM, ask for less, or have the quota raised" },
	{ "E_RANGE_USED", "the address range is in use on this host", "choose another network.range, or leave it out and one is found" },
	{ "E_RECORD_BAD", "a VM's record is damaged",
	  "restore vm/NAME/record in the state folder from a backup, or remove the folder vm/NAME to give the VM up" },
	{ "E_RECORD_VERSION", "a VM's record was written by another version of mica",
	  "run the version of mica that wrote it, or remove the folder vm/NAME to give the VM up" },
	{ "E_SECCOMP", "the kernel, or a container around us, refuses seccomp filters",
	  "use a kernel with CONFIG_SECCOMP_FILTER; let the container's profile allow seccomp(2)" },
	{ "E_SMALL_PAGES", "the host gives VMs no huge pages: they start and read files slower, many times so where the host is a VM itself",
	  "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled (tmpfiles.d keeps it over a restart)" },
	{ "E_SOCKET_DENIED", "the daemon's socket belongs to root and the group mica", "use sudo, or join the group that owns the socket" },
	{ "E_SOCKET_LONG", "a unix socket's path has at most 107 bytes", "choose a shorter path for api.bind_address" },
	{ "E_SOCKET_TAKEN", "at the socket's path stands something else", "choose another path for api.bind_address, or remove what is there" },
	{ "E_STATE_BUSY", "another daemon works on this state folder", "stop it, or choose another folder with --state" },
	{ "E_STATE_DENIED", "the state folder is not this user's", "choose another folder with --state, or run mica as its owner" },
	{ "E_STATE_FS", "the state folder's file system lacks what is needed: sockets, locks, renames, sparse files",
	  "choose a folder on ext4, xfs, btrfs or tmpfs with --state" },
	{ "E_STATE_PATH", "the state folder's path leads to no folder", "choose another folder with --state" },
	{ "E_STATE_READONLY", "the state folder's file system is read-only", "remount it for writing, or choose another folder with --state" },
	{ "E_TAP_NODE", "a macvtap's device node is not there", "let mica see the host's /dev (devtmpfs), or use network mode bridge" },
	{ "E_TOKEN_BAD", "a token's file is damaged", "remove auth/token in the state folder to have a new one made" },
	{ "E_TOKEN_READ", "the token's file cannot be read", "use sudo, join the group that owns it, or name another with --token-file" },
	{ "E_TOKEN_REFUSED", "the daemon does not take this token, or none was given",
	  "give the daemon's: --token-file /var/lib/mica/auth/token (MICA_TOKEN_FILE), as a user who may read it" },
	{ "E_TUN_MISSING", "/dev/net/tun is not there", "'modprobe tun'; in a container, --device /dev/net/tun" },
	{ "E_USERNS", "this host refuses user namespaces to ordinary users: VMs' processes share the user",
	  "sysctl user.max_user_namespaces=10000 (and kernel.apparmor_restrict_unprivileged_userns=0), or run mica as root" },
	{ "E_VM_COUNT", "the daemon has as many VMs as it can", "delete some" },
	{ 0 },
};

const struct code_row *code_find(const char *code)
{
	for (const struct code_row *r = codes; r->code; r++)
		if (!strcmp(r->code, code))
			return r;
	return NULL;
}

bool code_take(char *text, char out[CODE_MAX])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	char *from = NULL;
	out[0] = 0;
	for (char *p = text; (p = strstr(p, "[E_")); p++)
		from = p;
	if (!from)
		return false;
	size_t n = strspn(from + 1, letters);
	if (n >= CODE_MAX || from[1 + n] != ']')
		return false;
	memcpy(out, from + 1, n);
	out[n] = 0;
	char *rest = from + n + 2;
	if (from > text && from[-1] == ' ')
		from--;
	memmove(from, rest, strlen(rest) + 1);
	return true;
}
