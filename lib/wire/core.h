/*
 * Frames between front and core (chan, SEQPACKET). front asks on behalf of one client; core checks the credential
 * again, acts, and answers: WIRE_ERR, or WIRE_OK, or C_ITEM* then WIRE_OK. Every request may carry AUTH (SHA-256 of the bearer
 * token, 32 bytes; absent when the client sent none), and LOCAL (of C_LOCAL) or LISTENER (index from C_LISTEN): where its connection came from.
 *
 * Scopes: a token holds some, each request needs one (core's table in api/core/requests.c): ERR 401 without a good token, 403 when
 * it lacks the scope. So a front that was taken over can ask for no more than the tokens that clients showed to it may, with two limits:
 * while the connection of a local user is open it can quote its LOCAL (and make a token that stays, for one), and a stream or file, once
 * handed over, is front's (a stream got for health can carry a command, and lives until front or the VM closes it). Where a TCP listener
 * needs no token, everybody who reaches it may do everything anyway.
 */
#ifndef LIB_WIRE_CORE_H
#define LIB_WIRE_CORE_H

#include "lib/wire/wire.h"

enum core_type {
	/* core → front, at start, one per API listener */
	C_LISTEN = 16,   /* LISTENER index, NAME (address for logs), AUTH_NEEDED(0/1) TLS(0/1) + fd: listening stream socket */
	C_LOCAL = 26,    /* LOCAL (random) + fd: the connection of a local user, who needs no token: its requests say LOCAL. core keeps a descriptor, too: front
	                    ends it by shutdown(2), both halves. 401 once either end has closed it. No answer. */
	C_TLS = 17,      /* before the first C_LISTEN with TLS, and again to change it: CERT KEY, or NAME* NOW_S to have both made
	                    → OK FINGERPRINT [CERT KEY, when made]; ERR: what is wrong with them; what was there before stays in use.
	                    Also supervisor → core (CERT KEY, no answer): passed on. */
	C_CUT = 18,      /* AUTH: this token was revoked or is over: front ends whatever is under way for it. No answer. */
	C_PUBLISH = 24,  /* PUB_ID VM + fd: listening TCP socket: each of its connections gets a stream by C_PUB_CONNECT. No answer. */
	C_UNPUBLISH = 25, /* PUB_ID: that socket and its connections end at once. No answer. */

	/* front → core */
	C_INFO = 32,     /* → OK VERSION GIT_COMMIT ARCH (Go spelling "amd64") */
	C_AUTH = 33,     /* [FOR] → OK when the credential is good for that listener, and for that scope */
	C_GROUPS = 34,   /* → ITEM{group}* OK */
	C_NODES = 35,    /* [GROUP TAG | TAG_PREFIX] → ITEM{node}* OK; ERR 404 group */
	C_CREATE = 36,   /* GROUP [RAM_BYTES CPUS NET_BYTES_S NET_PACKETS_S PERSISTENT TAG* USERDATA SSH_KEY* PUBLISH* IMAGE IP NET_ALLOW* NET_DROP* WAIT "agent"|"userdata" TIMEOUT_MS SECRET* SECRETS_SET(1)] → OK node
	                    (IP with prefix length); ERR 400 404 408 503 … */
	C_DELETE = 37,   /* GROUP VM → OK TEXT DISK_REMOVED(0/1) */
	C_DESCRIBE = 38, /* VM → OK node + STORAGE IMAGE NET_MODE OPEN_CONNS DISK* PUB_FAULT* [NET_SET_ALLOW NET_ALLOW* NET_SET_DROP NET_DROP* GROUP_ALLOW* GROUP_DROP*] [NET_CUT … NET_TX_PACKETS_S, while there is chaos] */
	C_LOGS = 39,     /* VM → OK + fd: the console log, read-only */
	C_SHUTDOWN = 40, /* VM ACTION → OK TEXT once the VM process has ended */
	C_CONNECT = 41,  /* VM FOR (absent: admin) → OK + fd: a fresh agent stream (lib/wire/agent.h); ERR 404 VM, 409 paused or stopped, 503 agent does not answer.
	                    PORT absent = AGENT_PORT. QUIET(1): does not count as agent use (LAST_CALL_NS: commands, shells, copies and forwards do).
	                    OK also IP, without prefix length */
	C_PAUSE = 42, C_RESUME = 43, /* VM → OK TEXT */
	C_RELAUNCH = 44, /* VM [WAIT TIMEOUT_MS] → OK node */
	C_TAGS = 45,     /* VM [ADD* REMOVE* | REPLACE* with REPLACE_ALL(1)] [TAG_NAME] → OK TAG* */
	C_DAEMON_SHUTDOWN = 46, /* → OK, then core stops as on SIGTERM */
	C_READY = 47,    /* VM → OK READY(0/1): agent has said hello */
	C_SECRET_LIST = 48,   /* → ITEM{secret}* OK. The bytes of a secret never come back. */
	C_SECRET_PUT = 49,    /* NAME DATA [PERM UID GID] → OK secret; ERR 409 there is one, 413, 507 too many */
	C_SECRET_PATCH = 50,  /* NAME [DATA PERM UID GID] → OK secret: what is absent stays; ERR 404 */
	C_SECRET_DELETE = 51, /* NAME → OK TEXT; ERR 404 */
	C_METRICS = 52,  /* → ITEM{GROUP GPU_COUNT}* ITEM{GROUP BY_API(0/1) STATUS COUNT}* ITEM{GROUP CODE COUNT}* (launches), ITEM{VM GROUP COUNTER*}* (network cards), ITEM{VM GROUP FLOWS COUNT}*
	                    (what isolated VMs did),
	                    OK + what is known of LOAD_1 LOAD_5 LOAD_15 MEM_TOTAL MEM_AVAILABLE OPEN_FILES OPEN_SOCKETS EGRESS_TX EGRESS_RX */
	C_NET = 112,     /* VM [NET_HEAL(1): all chaos back to nothing] [NET_CUT … NET_TX_PACKETS_S: what is absent stays] → OK with all of these as they are
	                    now, COUNTER{NAME COUNT}*; ERR 400 a value out of range, 404 no network card, 409 it does not run */
	C_POLICY = 120,  /* VM [NET_RESET(1): none of its own] [NET_SET_ALLOW(1) NET_ALLOW*] [NET_SET_DROP(1) NET_DROP*] → OK NET_MODE and what holds, as in
	                    C_DESCRIBE: once packets are judged by it; ERR 400 an entry, 404, 409 not isolated */
	C_EXPLAIN = 121, /* VM TEXT (URL, address, address:port, host) → OK NAME ALLOWED RULE RULE_TEXT PORT PROTO [NET_LOCKED(1)] ADDR{IP ALLOWED RULE RULE_TEXT [OPEN_S]}* */
	C_NET_LOG = 122, /* VM → OK + descriptors of its network record's files, oldest first (the last one grows); ERR 404 none */
	C_PUB_CONNECT = 144, /* PUB_ID; no credential: its clients show none → OK + fd: raw bytes from and to the guest's end, both halves; ERR 404, 409, 502, 503, 504 */
	C_TOKEN_LIST = 64,   /* → ITEM{token}* OK. The text of a token never comes back. */
	C_TOKEN_CREATE = 65, /* NAME SCOPE* GROUP* QUOTA* [LIFE_MS | EXPIRES_NS] → OK token + TOKEN; ERR 400, 409 there is one, 507 too many */
	C_TOKEN_REVOKE = 66, /* NAME → OK TEXT; ERR 404 */
	C_GROUP_CREATE = 80, /* ENTRY* (the keys of a host group) → OK group NOTE*; ERR 400, 409 name or network in use, 507 too many */
	C_GROUP_CHANGE = 81, /* GROUP ENTRY* (over the keys there are; null removes one) → OK group NOTE*; ERR 404, 409 VMs or the daemon's file forbid it */
	C_GROUP_POLICY = 83, /* GROUP [NET_RESET(1): those of the daemon's file] [NET_SET_ALLOW(1) NET_ALLOW*] [NET_SET_DROP(1) NET_DROP*] → OK NAME NET_MODE SOURCE (whose
	                        they are: yaml api) GROUP_ALLOW* GROUP_DROP*: once packets of all its VMs are judged by them; ERR 400, 404, 409 no rules hold there */
	C_GROUP_DELETE = 82, /* GROUP → OK TEXT; ERR 404, 409 it has VMs, or is the file's */
	C_DISK_LIST = 192,    /* → ITEM{VM GROUP STATUS SIZE STORED_BYTES (its own) SHARED_BYTES IMAGE}* OK */
	C_DISK_DF = 193,      /* → OK TOTAL_BYTES FREE_BYTES (of the state folder's file system) STORED_BYTES (VMs) SHARED_BYTES (images and commits) PROMISED_BYTES (that VMs may still write) */
	C_DISK_GROW = 194,    /* VM SIZE → OK SIZE (as the guest sees it) TEXT; ERR 400, 409 smaller, or neither running nor stopped, 504 the disk grew, its file system not, 507 */
	C_DISK_EXPORT = 195,  /* VM, stopped → OK SIZE + fd: a pipe with that many bytes, fewer when it fails; ERR 409 */
	C_DISK_SPARSIFY = 196, /* VM, stopped → OK STORED_BYTES FREED_BYTES; ERR 409, 501 */
	C_IMAGE_LIST = 128,   /* → ITEM{image}* OK */
	C_IMAGE_GET = 129,    /* NAME (a name or id) → OK image TEXT (the report); ERR 404 */
	C_IMAGE_NAME = 130,   /* NAME ADD (another name, taken from whoever has it) → OK image TEXT; ERR 400, 404, 507 too many names */
	C_IMAGE_DELETE = 131, /* NAME → OK TEXT: that name, or (an id, or the last name) the image; ERR 404, 409 a VM or host group needs it */
	C_BUILDER = 132,      /* SIZE [NAME of the image it starts from ("min": the built-in one), GROUP whose network and kernel it gets, RAM_BYTES CPUS SCRATCH_BYTES (of its root disk) TIMEOUT_MS] → OK node: a VM whose second disk /dev/vdb becomes an image */
	C_IMAGE_KEEP = 133,   /* VM NAME* [TEXT: the report] [GO_ON 1] → OK image, once that builder has ended and its disk is stored (GO_ON: it lives on, and a copy is stored); ERR 400, 409 no builder, 507 */
	C_IMAGE_EXPORT = 134, /* NAME → OK SIZE + fd: as of C_DISK_EXPORT; ERR 404, 503 too many at once */
	C_COMMIT = 176,       /* VM TAG* LABEL* [CACHE_KEY] → OK commit, once it is on the host's disk; ERR 400, 409 not stopped, not persistent, committed before with other words,
	                         cache key of another; 507 */
	C_COMMIT_LIST = 177,  /* [TAG CACHE_KEY SOURCE_VM MODE "disk"] → ITEM{commit}* OK */
	C_FORK = 178,         /* COMMIT [RAM_BYTES CPUS PERSISTENT(absent: 1) TAG* REPLACE_ALL(1): without its source's tags, NET_SET_ALLOW NET_ALLOW* NET_SET_DROP NET_DROP*
	                         SECRET* SECRETS_SET(1) FIXUP* FIXUPS_SET(1) WAIT "agent" TIMEOUT_MS] → OK node; ERR 400 404 408 503 … */
	C_COMMIT_DELETE = 179, /* COMMIT → OK COMMIT; ERR 404, 409 its source or a fork of it is there */
};
/* What a token may do; bits. Every scope brings SCOPE_READ with it, SCOPE_ADMIN all others. A request for which none is written needs SCOPE_ADMIN. */
enum scope {
	SCOPE_READ = 1,   /* see groups, VMs, their health, stats, console */
	SCOPE_VM = 2,     /* make, change (what they may reach too), pause, stop and delete VMs */
	SCOPE_EXEC = 4,   /* run commands and shells in them */
	SCOPE_FILES = 8,  /* copy in and out, change and watch files in them */
	SCOPE_NET = 16,   /* forward connections into them, publish their ports (with SCOPE_VM), see their network and make it fail */
	SCOPE_ADMIN = 32, /* secrets, tokens, the daemon */
	SCOPE_ALL = 63,
	SCOPE_ANY = 64,   /* any good token will do: of a request, never of a token */
};
#define SCOPE_NAMES { "read", "vm", "exec", "files", "net", "admin" } /* by bit */
enum core_tag { /* u64 unless said */
	C_T_AUTH = 16, /* 32 bytes */ C_T_LISTENER, C_T_NAME, /* str */ C_T_AUTH_NEEDED, C_T_VERSION, /* str */ C_T_GIT_COMMIT, /* str */
	C_T_ARCH, /* str "x86_64" in groups and nodes */ C_T_COUNT, C_T_RAM_BYTES, C_T_CPUS, C_T_GROUP, /* str */ C_T_VM, /* str */
	C_T_TAG, /* str, repeats */ C_T_TAG_PREFIX, /* str */ C_T_PERSISTENT, C_T_USERDATA, /* str */ C_T_SSH_KEY, /* str, repeats */
	C_T_IP, /* str */ C_T_NET_ALLOW, /* str, repeats */ C_T_NET_DROP, /* str, repeats */ C_T_NET_SET_ALLOW, /* 1: list given (may be empty) */
	C_T_NET_SET_DROP, C_T_WAIT, /* str */ C_T_TIMEOUT_MS, C_T_SECRET, /* str, repeats */
	C_T_CREATED_NS, C_T_LAST_CALL_NS, C_T_STATUS, /* str Running Paused Stopped */ C_T_STORAGE, /* str */ C_T_IMAGE, /* str */
	C_T_NET_MODE, /* str */ C_T_OPEN_CONNS, C_T_DISK_REMOVED, C_T_ACTION, /* str */ C_T_PORT, C_T_QUIET,
	C_T_ADD, /* str, repeats */ C_T_REMOVE, /* str, repeats */ C_T_REPLACE, /* str, repeats */ C_T_REPLACE_ALL, C_T_TAG_NAME, /* str */
	C_T_READY, C_T_TEXT, /* str */ C_T_FAULT, /* str: why the VM ended, when it failed */ C_T_GROUP_ALLOW, /* str, repeats */ C_T_GROUP_DROP, /* str, repeats */
	C_T_GPU_COUNT,
	C_T_DATA, /* bytes */ C_T_SIZE, C_T_PERM, /* low 9 mode bits */ C_T_UID, C_T_GID, C_T_MODIFIED_NS, C_T_SECRETS_SET, /* 1: list given (may be empty) */
	C_T_BY_API, C_T_CODE, /* HTTP status */ C_T_LOAD_1, /* loads in 1/100 */ C_T_LOAD_5, C_T_LOAD_15, C_T_MEM_TOTAL, C_T_MEM_AVAILABLE,
	C_T_OPEN_FILES, C_T_OPEN_SOCKETS, C_T_EGRESS_TX, C_T_EGRESS_RX,
	C_T_TLS, C_T_CERT, /* str, PEM */ C_T_KEY, /* str, PEM */ C_T_FINGERPRINT, /* 32 bytes */ C_T_NOW_S,
	C_T_FOR = 112, /* enum scope: one bit */ C_T_SCOPE, /* str, repeats */ C_T_TOKEN, /* str */ C_T_LIFE_MS, C_T_EXPIRES_NS, C_T_LAST_USED_NS, C_T_EXPIRED,
	C_T_ENTRY = 160, /* nested: NAME and one of VALUE [PLAIN(1): a number, truth value or null ("")], LIST, MAP */
	C_T_VALUE, /* str, repeats in LIST */ C_T_PLAIN, C_T_LIST, /* nested: VALUE* or MAP* */ C_T_MAP, /* nested: ENTRY* */
	C_T_SOURCE, /* str yaml api */ C_T_KEEPS, /* VMs that the daemon keeps there: the key count */ C_T_NOTE, /* str, repeats */ C_T_BRIDGE, /* str */
	C_T_GATEWAY, /* str */ C_T_KERNEL, /* str min full emulated, or a path */
	C_T_NET_HEAL = 192, C_T_NET_CUT, C_T_NET_DELAY_US, C_T_NET_JITTER_US, C_T_NET_LOSS_PPM, C_T_NET_RX_BYTES_S, C_T_NET_TX_BYTES_S, /* rx: into the VM */
	C_T_NET_RX_PACKETS_S, C_T_NET_TX_PACKETS_S, C_T_COUNTER, /* nested: NAME COUNT */ C_T_NET_BYTES_S, C_T_NET_PACKETS_S, /* limits for good, each way */
	C_T_NET_RESET = 224, C_T_ALLOWED, C_T_RULE, /* str "allow[0]" */ C_T_RULE_TEXT, /* str: the entry, or what the rule is */ C_T_PROTO, C_T_ADDR, /* nested */
	C_T_OPEN_S, /* seconds an address stays open by name */ C_T_NET_LOCKED, C_T_FLOWS, /* which counter of a VM: 0–6, in the order of G_COUNTS */
	C_T_PUBLISH = 240, /* str, repeats: "127.0.0.1:8080:80" */ C_T_PUB_ID, C_T_PUB_FAULT, /* str, repeats: what is not published now, and why */
	C_T_COMMIT = 304, /* str: a commit's id; of a node: it was forked from */ C_T_COMMITTED, /* str: this VM was committed as */ C_T_LABEL, /* nested: NAME VALUE */
	C_T_CACHE_KEY, /* str */ C_T_MODE, /* str */ C_T_SOURCE_VM, /* str */ C_T_SOURCE_STATUS, /* str, as STATUS */ C_T_UP, /* 0/1: its agent answers, all is done */
	C_T_FIXUP, /* str, repeats: hostname machine-id ssh-host-keys */ C_T_FIXUPS_SET, /* 1: list given (may be empty) */
	C_T_STORED_BYTES = 208, C_T_USERS, /* VMs */ C_T_SCRATCH_BYTES, C_T_GO_ON,
	C_T_LOCAL = 384,
	C_T_QUOTA = 352, /* nested, repeats: NAME ("max_vms" …) COUNT (the most, not 0) [SIZE: in use] */
	C_T_SHARED_BYTES = 272, C_T_TOTAL_BYTES, C_T_FREE_BYTES, C_T_PROMISED_BYTES, C_T_FREED_BYTES, C_T_DISK, /* nested, repeats: NAME SIZE PLAIN(1: read-only) [TEXT: file] */
	C_T_DISK_ERROR, /* str: what the host fails a VM's disks with now, and which */
};
/* C_ITEM: one list element; its fields stand directly in the frame. */
#define C_ITEM 31u
/* A group's fields: NAME COUNT RAM_BYTES CPUS ARCH GPU_COUNT SOURCE KEEPS PERSISTENT SIZE (of disks) IMAGE KERNEL NET_MODE [BRIDGE GATEWAY] */
/* An image's fields: IMAGE (its id) NAME* SIZE STORED_BYTES CREATED_NS USERS */
/* A secret's fields: NAME SIZE PERM UID GID MODIFIED_NS */
/* A token's fields: NAME SCOPE* GROUP* QUOTA* CREATED_NS [EXPIRES_NS LAST_USED_NS] EXPIRED(0/1). LAST_USED_NS is not kept over a restart. */
/* A node's fields: VM GROUP IP RAM_BYTES CPUS CREATED_NS [LAST_CALL_NS] ARCH TAG* STATUS PERSISTENT PUBLISH* [FAULT COMMITTED] [COMMIT UP SOURCE_VM SOURCE_STATUS: of a fork] */
/* A commit's fields: COMMIT VM (its source) GROUP CREATED_NS TAG* LABEL* [CACHE_KEY] */

#endif
