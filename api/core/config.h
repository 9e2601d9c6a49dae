/*
 * The operator's YAML file, checked and worked out. What stands here can be trusted: ranges hold, names are valid,
 * networks do not overlap, files are open. Parsed while core may still open paths; nothing here is read again later.
 * Every refusal is "file:line: what, and how to mend it". What this version reads but does not do is said in `notes`.
 * Keys: the table in config_keys.c (contract §2.1, and ours: host_groups[].image/kernel/kernel_file/initrd_file, kernel, initrd_file, network.mode none, network.ipv6, network.audit, api.tls).
 */
#ifndef API_CORE_CONFIG_H
#define API_CORE_CONFIG_H

#include "api/core/quota.h"
#include "api/core/addr.h"
#include "lib/policy/policy.h"
#include "lib/yaml/yaml.h"

#define VCPUS_MAX 8u            /* of this version's machine */
#define GROUPS_MAX 128u         /* of the file and by the API together */
#define GROUP_NAME_MAX 40u
#define VM_COUNT_MAX 1024u      /* VMs of one daemon */
#define CPU_WEIGHT_DEFAULT 100u
#define CPU_WEIGHT_MAX 10000u
#define OVERCOMMIT_MAX 10000u   /* percent */
#define RAM_MIN_BYTES (64ull << 20)
#define DISK_DEFAULT_BYTES (10ull << 30)
#define DISK_MAX_BYTES (16ull << 40)
#define USERDATA_MAX 60000u     /* one agent frame */
#define IFNAME_LEN 16
#define TAP_PREFIX_MAX 11u      /* and a number up to VM_COUNT_MAX makes 15 */
#define NOTES_MAX 32u
#define GROUP_DISKS_MAX 6u      /* besides the root disk */
#define DISK_BYTES_S_MIN 65536u /* slower is no disk */
#define NET_BYTES_S_MIN 1000u   /* slower is no network */
#define DNS_MAX 3u
#define ISO_NAME_MAX 15u        /* of "<group>-<n>" in mode isolated, contract §2.1 */
#define HOST_ADDRS_MAX 64u

/* What the checks need to know of this host and build; given by the caller so that tests decide. */
struct config_host {
	uint64_t ram_bytes;       /* 0: not known, no limit */
	uint64_t min_image_bytes; /* size of the built-in image */
	bool tls;                 /* `mica up --tls`: as api.tls.enabled */
	bool emulated;            /* this KVM boots the kernel `emulated` alone */
	bool kernel_full;         /* this file carries the kernel `full` */
	struct cidr addrs[HOST_ADDRS_MAX]; /* the host's own, with the networks they are in */
	size_t n_addrs;
};

enum net_mode { NET_NONE, NET_BRIDGE, NET_ISOLATED, NET_MACVTAP };

/* A file the guest starts from: opened read-only; the path is for people. */
struct conf_file {
	const char *path; /* "min" for what is built in */
	int fd;           /* owned; -1: built in, core's fd 6 or 7 */
	uint64_t bytes;
	bool stored;      /* path is the name of an image of the store, looked up when a VM is made */
};

/* A disk besides the root disk. */
struct conf_disk {
	uint64_t bytes;
	bool read_only;
	struct conf_file file; /* fd open as read_only says; -1: a new one for each VM */
};
/* Is it one file, and one of them writes? */
bool conf_disks_same(const struct conf_disk *a, const struct conf_disk *b); /* files, and one file */
bool conf_disks_clash(const struct conf_disk *a, const struct conf_disk *b);

struct core;
struct keys_group;
struct keys_config;
struct host_group {
	struct core *core; /* borrowed; set while netd is asked */
	const char *name;
	unsigned line;         /* 0: not of the file */
	const struct keys_group *keys; /* as given, for who checks other groups against it */
	bool by_api;           /* made by the API; doc holds its strings, doc.root its keys as given */
	bool pending;          /* by_api: netd is asked, and whoever wanted it not yet answered */
	struct yaml_doc doc;   /* owned when by_api */
	unsigned count, vcpus;
	unsigned cpu_weight;  /* of each of its VMs, as cpu.weight of a cgroup */
	struct quota quota;   /* of all its VMs together */
	uint64_t ram_bytes, disk_bytes;
	bool persistent;
	const char *storage;  /* as written, "image" by default */
	const char *userdata; /* NULL: none */
	char dns[DNS_MAX * ADDR_TEXT_MAX]; /* "8.8.8.8,1.1.1.1" */
	bool dns_given;        /* … by dns_servers */
	enum net_mode net_mode;
	char bridge[IFNAME_LEN], tap_prefix[IFNAME_LEN], parent[IFNAME_LEN]; /* parent "": the link of the host's default route */
	uint64_t net_bytes_s, net_packets_s; /* limits of a VM's network card, each way; 0: none */
	struct addr_pool pool; /* net_mode != NET_NONE; all zero when the LAN gives addresses (group_dhcp) */
	bool ipv6;             /* guests have an IPv6 address too … */
	uint8_t prefix6[8];    /* … of this /64, set by net.c */
	bool dns_served;       /* gate answers at the bridge's gateway; set by gate_bridge.c */
	struct policy policy; /* owned: what its VMs may reach unless they have lists of their own */
	bool rules_kept;      /* of the file: the API gave other rules (group_rules.c) … */
	struct policy said;   /* … than these of the file; owned */
	char *publish;        /* in the document: ports of the VM of count, as in struct record; NULL: none */
	bool audit_required;  /* network.audit: no new connections while the record cannot be written */
	struct conf_disk disks[GROUP_DISKS_MAX];
	unsigned n_disks;
	uint64_t disk_bytes_s, disk_ops_s; /* limits of each disk, reads and writes together; 0: none */
	struct conf_file image, kernel, initrd; /* initrd.path NULL: none */
	bool kernel_full;      /* of those built in: `full`, not `min` (or `emulated`) */
};

/* Do its VMs ask the LAN for their addresses? Then their records say ADDR_BY_DHCP. */
#define ADDR_BY_DHCP "0.0.0.0/0"
static inline bool group_dhcp(const struct host_group *g) { return g->net_mode == NET_MACVTAP && !g->pool.gateway.bits; }
/* Would allow and drop hold for its VMs? */
static inline bool group_has_rules(const struct host_group *g) { return g->net_mode == NET_ISOLATED || g->net_mode == NET_BRIDGE; }
/* config_policy.c: may g have these rules? 0, or -EINVAL with why they would not hold. */
int group_rules_fit(const struct host_group *g, const struct policy *p, struct fault *f);
/* On a bridge: do its VMs ask gate, at their gateway? Not without DNS servers, nor where somebody else is meant to serve. */
bool group_asks_gate(const struct host_group *g);

struct config {
	struct yaml_doc doc;   /* owned: every string here lives in it */
	struct config_host host;
	const struct keys_config *keys;
	struct host_group *groups; /* room for GROUPS_MAX; those of the file first */
	size_t n_groups;
	bool graceful_shutdown;
	unsigned ram_overcommit, disk_overcommit; /* percent of the host's RAM and of the state folder's file system that VMs may be promised; 0: not given */
	uint64_t vm_io_bytes_s, vm_io_ops_s; /* most that the host's disk reads, and writes, for one VM; 0: not given */
	const char *bind_host; /* NULL: no TCP */
	uint32_t bind_addr;
	uint16_t port;
	bool tcp_auth;
	bool tls;              /* of TCP; false without TCP */
	const char *tls_cert, *tls_key; /* an operator's PEM files; NULL: ours, in the state folder */
	const char *socket;    /* an API socket besides the state folder's; NULL: none */
	bool socket_auth;
	unsigned api_line;     /* for messages about the listeners; 0: defaults */
	unsigned port_line;
	const char *token;     /* NULL: the token file decides */
	const char *ssh_keys;  /* lines for every VM made; NULL: none */
	const char *notes[NOTES_MAX];
	size_t n_notes;
};

/* file: name for messages. 0, -EINVAL and others with f set; c is empty (as after config_done) on error. */
int config_parse(struct config *c, const char *file, const void *text, size_t n, const struct config_host *host, struct fault *f);
void config_done(struct config *c); /* safe on a zeroed struct */
const struct host_group *config_group(const struct config *c, const char *name); /* NULL: no such group */
const char *config_net_mode(const struct host_group *g); /* "bridge", … */
/* Appends the file's YAML without the token; effective: with what it left open written out. Changes the tree in c->doc. 0 or -ENOMEM. */
int config_show(struct config *c, bool effective, struct buf *out);

/* ---- groups by the API (config_add.c); the same checks, sentences without a place ---- */

struct config_notes { const char *text[NOTES_MAX]; size_t n; };
/* d->root: a mapping with the keys of one of the file's host_groups, differences: count is 0 by default; image, kernel_file and initrd_file name
 * what the daemon has open already; userdata_file is refused. old: the group this is to replace, NULL: none. out takes d over, notes live in it;
 * on error d is empty and nothing is left. c is not changed. 0; -EINVAL; -EEXIST (name or network in use); -ENOSPC (GROUPS_MAX); -ENOMEM. */
int config_check_added(const struct config *c, struct yaml_doc *d, const struct host_group *old, struct host_group *out, struct config_notes *notes,
		       struct fault *f);
/* Puts it at the end. There must be room. */
struct host_group *config_add(struct config *c, const struct host_group *g_taken);
/* Takes group i out and frees it: those behind it move one place up, and whoever borrowed a pointer to one must follow. */
void config_take_out(struct config *c, size_t i);
void host_group_done(struct host_group *g); /* descriptors, and what it owns by_api */

#endif
