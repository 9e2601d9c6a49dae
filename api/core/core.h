/*
 * api/core: the daemon's mind: registry of VMs, their lives, who may ask for what. Started by `mica up` (or `mica run`,
 * --ephemeral) with channels to front, jail and netd; talks to each vmm by its control socket. Opens paths, parses YAML and binds
 * sockets only before core_drop_rights() (walls.h); afterwards it works beneath the state folder's descriptor alone. Holds no capability, parses
 * nothing from the network. One thread, one ev loop, nothing in it blocks: disks are copied and removed by helper children.
 * What must survive is on disk (record.h) before it is acknowledged; VMs outlive core and are adopted when it is back (adopt.h).
 *
 * Descriptors: 3 front, 4 jail, 5 netd (absent with --no-netd), 6 kernel, 7 min image, 8 status lines to the supervisor, 9 a channel from it (may be
 * absent): C_TLS, when the operator changed the certificate; 10 gate (may be absent); 11 kernel `full` (with --full).
 */
#ifndef API_CORE_CORE_H
#define API_CORE_CORE_H

#include "api/core/config.h"
#include "api/core/commits.h"
#include "api/core/images.h"
#include "api/core/local.h"
#include "api/core/metrics.h"
#include "api/core/peer.h"
#include "api/core/publish.h"
#include "api/core/registry.h"
#include "api/core/secrets.h"
#include "api/core/tokens.h"

#define CORE_FD_FRONT 3
#define CORE_FD_JAIL 4
#define CORE_FD_NETD 5
#define CORE_FD_KERNEL 6
#define CORE_FD_IMAGE 7
#define CORE_FD_STATUS 8
#define CORE_FD_CONTROL 9
#define CORE_FD_GATE 10
#define CORE_FD_KERNEL_FULL 11
#define LISTENERS_MAX 4u

enum core_phase {
	CORE_STARTING, /* network, then adoption → CORE_SERVING; a fault → the program ends */
	CORE_SERVING,  /* → CORE_STOPPING (SIGTERM, C_DAEMON_SHUTDOWN, the supervisor went) */
	CORE_STOPPING, /* VMs are ended as configured → the program ends */
};

struct listener {
	int fd;               /* owned; of one that is not local until it went to front */
	char name[128];       /* address, for people */
	bool auth_needed, tls;
	bool local;           /* local.h: core accepts on it by itself … */
	struct ev_io io;      /* … here */
};

/* The certificate on its way to front, which holds it; PEM texts, owned, NULL: front makes them. */
struct core_tls {
	int dir_fd;   /* owned: tls/ of the state folder; -1 when the files are an operator's */
	char *cert, *key;
	size_t cert_len, key_len;
	bool wanted, ready;
};

struct core {
	struct ev_loop *loop;
	struct config config;
	struct registry reg;
	struct secrets secrets;
	struct images images;
	unsigned image_exports; /* under way */
	struct commits commits;
	struct host_group builder; /* of the VMs that make images; in no list */
	struct metrics metrics;
	struct publishing publishing;
	struct peer front, jail, netd, control, gate;
	enum core_phase phase;
	bool ephemeral, emulated, no_netd;
	bool has_control;       /* descriptor 9 was given */
	bool has_gate;          /* descriptor 10 was given */
	int state_fd, vms_fd;   /* owned: state folder, its vm/ */
	int groups_fd;          /* owned: its groups/ (groups.h) */
	int meminfo_fd;         /* owned: /proc/meminfo; -1 */
	int status_fd;
	struct ev_io status_io;
	int signal_fd;
	struct ev_io signal_io;
	struct listener listeners[LISTENERS_MAX];
	unsigned n_listeners;
	struct locals locals;
	struct core_tls tls;
	uint8_t token_hash[SHA256_BYTES]; /* of the one token that may do everything */
	struct tokens tokens;
	struct ev_timer token_timer;      /* looks for tokens that are over by now */
	bool net_up[GROUPS_MAX]; /* group i's bridge stands */
	unsigned net_waiting;
	bool host_events_asked, host_events_lost; /* netfilter's, of VMs on bridges that have rules: netd was asked for them; there are none */
	unsigned adopting;       /* VMs not decided yet */
	unsigned starts_max;     /* VMs that may start side by side */
	bool stop_pending;       /* asked while CORE_STARTING */
	bool kill_now;           /* CORE_STOPPING: no grace */
	struct ev_timer stop_timer, sweep_timer, moved_timer, missed_timer;
	int exit_code;
};

/* Lines to the supervisor: word is "READY", "NOTE" or "FATAL". Newlines become blanks. */
void core_say(struct core *c, const char *word, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A process that core cannot do without is gone, and core ends: VMs are left as they are, for the next core to find. Not of a daemon that stops or is ephemeral. */
bool core_is_lost(const struct core *c);
/* Adoption is over: tell READY, open the API, start what `count` asks for. */
void core_serve(struct core *c);
/* Ends the VMs and then the program. now: without grace. Again with now: the grace is over. */
void core_stop(struct core *c, bool now);
/* As many VMs as the group's count says: restarted, made, or (when it was lowered) let go. */
void core_keep_count(struct core *c, const struct host_group *g);
/* Called whenever a VM changed: when the loop comes round, queued VMs are started, or stopping goes on. */
void core_moved(struct core *c);
/* MemAvailable of this host in bytes, 0 when not known. */
uint64_t core_ram_available(const struct core *c);
uint64_t core_ram_total(const struct core *c); /* the same of MemTotal */

/* listen.c, before the drop: lock, sockets. f says how to mend it. */
int core_open_state(struct core *c, const char *path, struct fault *f);
int core_open_folder(int at, const char *name, struct fault *f); /* made when it is not there (0750); fd or -errno */
int core_lock(struct core *c, struct fault *f);
int core_listen(struct core *c, const char *state_path, struct fault *f);
int core_own_files(struct core *c, uid_t uid, gid_t gid, struct fault *f);
int core_announce_listeners(struct core *c); /* C_LISTEN to front; local ones are accepted on from here on */

/* auth.c, before the drop: the one token (made when there is none), the named ones. */
int core_tokens(struct core *c, struct fault *f);

/* tls.c. Before the drop: reads the certificate and its key. */
int core_tls_read(struct core *c, struct fault *f);
/* Gives them to front, or has them made and keeps them; core_serve() comes when front has them. */
void core_tls_start(struct core *c);
/* Another certificate and key (fields of m) for new connections; NOTE says how it went. */
void core_tls_change(struct core *c, const struct wire_msg *m);

/* net.c: bridges of all groups, then core_adopt(). */
int core_net_start(struct core *c);
void core_net_stop(struct core *c);
/* adopt.c: reads every record, finds the VMs that live; calls core_serve() at the end. */
int core_adopt(struct core *c);
/* requests.c: what front asks. */
void core_on_request(struct peer *front, const struct wire_msg *m, int *fds, unsigned n_fds);

#endif
