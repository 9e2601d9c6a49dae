/*
 * api/gate: the resolver of isolated VMs and of those on bridges, and the writer of isolated ones' network record. Reads what guests send (DNS), what the kernel tells of their packets
 * (NFLOG, conntrack) and what upstream DNS servers answer; so it has no rights: an own user, no capability, an empty root, no path, and sockets
 * to DNS servers only as far as Landlock (TCP: port 53) and the filter of system calls can hold it. Everything else comes by descriptors from core
 * (lib/wire/gate.h). It cannot open a packet filter: it asks core, which looks at the policy again. One thread, one ev loop, nothing in it blocks
 * but the append to a VM's record. One VM cannot starve others: its questions, its connections, its bursts are all counted per VM.
 *
 * Files: main.c, walls.c, link.c (core), vm.c, bridge.c (sockets that many VMs ask at), serve.c (guests' questions in, answers out), decide.c (what is done with a question), local.c (names that we
 * know ourselves), upstream.c, cache.c, open.c (addresses of allowed names), seen.c (which name led to an address), events.c, flows.c, record.c.
 */
#ifndef API_GATE_GATE_H
#define API_GATE_GATE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "lib/dns/dns.h"
#include "lib/ev/ev.h"
#include "lib/nfnl/nfnl.h"
#include "lib/policy/policy.h"
#include "lib/wire/chan.h"
#include "lib/wire/gate.h"

#define GATE_CORE_FD 3
#define GATE_VMS_MAX 4096u
#define GATE_NAME_MAX 63u
#define VM_UPSTREAMS_MAX 3u
#define VM_SOCKETS_MAX 2u
#define BRIDGE_NAME_MAX 15u
#define BRIDGES_MAX 256u
#define VM_OWN_MAX 32u
#define VM_QUERIES_MAX 64u      /* of one VM on their way */
#define ALL_QUERIES_MAX 1024u
#define VM_CONNS_MAX 8u         /* TCP connections of a guest */
#define VM_RATE_PER_S 200u      /* questions, … */
#define VM_BURST 400u           /* … with this much saved up */
#define BURST_READS 32u         /* datagrams or events a turn, so that one VM cannot keep the loop */
#define TTL_FLOOR_S 60u         /* an address stays open at least as long */
#define TTL_CAP_S 3600u         /* and an answer is kept at most as long, by guests too */
#define OPEN_GRACE_S 10u        /* beyond that */
#define TTL_TOLD_S 60u          /* of a name that opened addresses: who asks again soon gets them opened again soon after a daemon died */
#define TICK_MS 200u
#define LOCAL_TTL_S 30u         /* of our own answers */
#define LOCAL_ZONE "internal"   /* web-1 and web-1.internal; never asked upstream */

struct gate;
struct vm;
struct query;

/* ---- the record: one JSON line an event ---- */
struct record {
	int fd;              /* owned; -1: none */
	struct buf out;      /* lines on their way */
	uint64_t file_bytes, rotate_bytes;
	uint64_t lost;       /* lines, since it began */
	uint64_t gap;        /* of them, not yet told in the record itself */
	char gap_why[64];
	int trouble;         /* positive errno of the last write that failed; 0 */
	uint64_t retry_ms, rotate_ms; /* not before */
	bool mid_line;       /* the last write ended inside a line */
	bool rotating;
};

/* ---- flows that began and did not end ---- */
struct flow {
	struct nf_tuple t;
	uint64_t start_ns;   /* real time; 0: an empty place */
	char rule[POLICY_ID_MAX];
};
struct flows {
	struct flow *at;     /* owned, open addressing; places are a power of 2 */
	size_t n, places;
};

/* ---- DNS ---- */
struct cached {
	char *name;          /* owned; NULL: an empty place */
	uint16_t type;
	bool dnssec_ok, checking_disabled;
	uint8_t *msg;        /* owned */
	size_t n;
	uint64_t at_ms, until_ms;
};
#define CACHE_PLACES 256u
#define CACHE_MESSAGE_MAX 4096u

struct opened {
	uint8_t family, addr[16];
	uint16_t port, rule;
	uint32_t ask_id;     /* of the question to core that is on its way; 0: core said yes */
	uint64_t until_ms;
	char *name;          /* owned */
};
#define OPENED_MAX 1024u

/* Which name last led to an address. */
struct seen {
	uint8_t family, addr[16]; /* family 0: an empty place */
	uint64_t at_ms;
	char *name;          /* owned */
};
#define SEEN_PLACES 1024u

struct bridge;
struct dns_socket {
	struct gate *gate;
	struct vm *vm;           /* whose alone it is, or … */
	struct bridge *bridge;   /* … of the VMs there, told apart by their addresses */
	struct ev_io io;
	int fd;              /* owned; -1 */
};
struct bridge {
	struct bridge *next;
	char name[BRIDGE_NAME_MAX + 1];
	struct dns_socket udp[VM_SOCKETS_MAX], tcp[VM_SOCKETS_MAX];
};
/* A guest's TCP connection: questions one after another, answers as they come. */
struct guest_conn {
	struct guest_conn *next;
	struct vm *vm;
	struct ev_io io;
	int fd;              /* owned */
	struct buf in, out;
	uint64_t since_ms;   /* the last byte */
	unsigned waiting;    /* questions without an answer */
	bool over;           /* no more questions come */
};
/* Where an answer goes. */
struct asker {
	struct dns_socket *udp;  /* or … */
	struct guest_conn *conn; /* … this; both NULL: nobody waits any more */
	struct sockaddr_storage from;
	socklen_t from_len;
	bool has_info, info_v6;
	union { struct in_pktinfo v4; struct in6_pktinfo v6; } info; /* the address that was asked */
};

/* UDP → (truncated) TCP_SENDING → TCP_READING → OPENING → done; a time limit tries the next server from UDP. */
enum query_state { QUERY_UDP, QUERY_TCP_SENDING, QUERY_TCP_READING, QUERY_OPENING };
struct query {
	struct query *next;      /* of its VM */
	struct vm *vm;
	struct dns_query q;
	struct asker asker;
	struct policy_verdict verdict;
	enum query_state state;
	uint16_t id;
	unsigned tries;
	int fd;                  /* owned: to the upstream; -1 */
	struct ev_io io;
	struct ev_timer timer;
	struct buf tcp;          /* what goes out, then what came in */
	uint8_t *msg;            /* owned: the answer that waits until its addresses are open */
	size_t msg_len;
	unsigned opening;        /* answers of core that are missing */
	bool failed;
};

struct counts {
	uint64_t flows_allowed, flows_denied, bytes_out, bytes_in, queries, refused;
};

struct vm {
	struct vm *next;
	struct gate *gate;
	char name[GATE_NAME_MAX + 1], group[GATE_NAME_MAX + 1];
	char bridge[BRIDGE_NAME_MAX + 1];     /* "": isolated */
	bool ruled;                           /* it has a policy and a record: isolated, or so on a bridge */
	struct policy_net ip[2], gw[2];       /* IPv4, IPv6; family 0: none */
	struct policy_net upstream[VM_UPSTREAMS_MAX];
	unsigned n_upstream;
	struct policy_net own[VM_OWN_MAX];
	unsigned n_own;
	struct policy policy;
	struct dns_socket udp[VM_SOCKETS_MAX], tcp[VM_SOCKETS_MAX];
	struct guest_conn *conns;
	unsigned n_conns;
	struct query *queries;
	unsigned n_queries;
	uint64_t tokens, tokens_ms;           /* in 1/1000 questions */
	uint64_t over_rate;                   /* questions beyond the limit since the last tick that told */
	struct cached *cache;                 /* owned: CACHE_PLACES, made when needed */
	struct opened *opened;                /* owned */
	unsigned n_opened;
	unsigned reopening;                   /* of them asked again after a change of policy, … */
	uint32_t policy_id;                   /* … whose answer waits for that; 0: none does */
	struct seen *seen;                    /* owned: SEEN_PLACES, made when needed */
	struct ev_io events_io;
	int events_fd;                        /* owned; -1 */
	struct flows flows;
	struct record record;
	struct counts counts, told;
	uint64_t told_ms, told_lost, swept_ms;
};

/* A question to core that waits for its answer. */
struct core_call {
	struct core_call *next;
	uint32_t id;
	void (*fn)(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds); /* m NULL: never came */
	void *arg;
};
struct gate {
	struct ev_loop *loop;
	struct chan core;
	struct ev_io core_io;
	struct ev_timer tick;
	struct vm *vms;
	struct bridge *bridges;
	unsigned n_vms, n_queries, n_bridges;
	struct core_call *calls;
	uint32_t last_id;
	struct buf frame;
	size_t mark;
	bool core_gone;
	struct ev_io host_io;
	int host_fd;                          /* owned: the host's events; -1 */
	uint8_t scratch[DNS_MESSAGE_MAX + 2]; /* for one message in hand */
	uint8_t events[NF_MESSAGE_MAX];
};

/* ---- walls.c ---- */
int gate_drop_rights(uid_t uid, gid_t gid, struct fault *f);
int gate_filter_calls(struct fault *f);

/* ---- link.c ---- */
int link_init(struct gate *g);
struct buf *link_begin(struct gate *g, uint16_t type); /* a question or news; fields into the result, then one of the two */
int link_call(struct gate *g, void (*fn)(void *, const struct wire_msg *, int *, unsigned), void *arg);
void link_send(struct gate *g);
void link_forget(struct gate *g, const void *arg);     /* its answers go nowhere */
void link_ok(struct gate *g, uint32_t id);             /* the late answer to a request */

/* ---- vm.c ---- */
struct vm *vm_find(struct gate *g, const char *name);
int vm_up(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f);
int vm_policy(struct gate *g, const struct wire_msg *m, struct fault *f);
void vm_down(struct vm *vm);
void vm_tick(struct vm *vm, uint64_t now_ms);
void vm_tell_counts(struct vm *vm, uint64_t now_ms);   /* when they changed */
void vm_put_live(struct vm *vm, struct buf *b, const char *name); /* fields of G_LIVE's answer; name NULL: all */

/* ---- bridge.c ---- */
int bridge_up(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f);
void bridge_down(struct gate *g, const char *name); /* also when it is not known */
struct vm *bridge_vm(const struct bridge *b, struct gate *g, const struct sockaddr_storage *from); /* whose address that is; NULL: nobody's */

/* ---- serve.c ---- */
/* Puts fd into a free place of these and serves it. 0; -ENOSPC and others, then it is closed or will be with the place. */
int serve_take(struct dns_socket at[VM_SOCKETS_MAX], int fd_taken, int (*serve)(struct dns_socket *));
void serve_stop_all(struct dns_socket at[VM_SOCKETS_MAX]);
int serve_udp(struct dns_socket *s);
int serve_tcp(struct dns_socket *s);
void serve_stop(struct dns_socket *s);
void serve_answer(struct vm *vm, struct asker *a, const struct dns_query *q, uint8_t *msg, size_t n);
void conn_free(struct guest_conn *c);
void conns_tick(struct vm *vm, uint64_t now_ms);

/* ---- decide.c ---- */
void decide(struct vm *vm, struct asker *a, const uint8_t *p, size_t n);
void answer_empty(struct vm *vm, struct asker *a, const struct dns_query *q, enum dns_rcode rcode);
/* An upstream's (or the cache's) answer to an allowed question: addresses are opened, then it goes to the guest. msg is g->scratch or a copy. q is
 * consumed. */
void deliver(struct query *q, uint8_t *msg, size_t n, const struct dns_answer *a);

/* ---- local.c ---- */
/* true: it was a name or address of ours (or one that must not be asked upstream) and is answered. named: an allow entry names it. */
bool local_answer(struct vm *vm, struct asker *a, const struct dns_query *q, bool named);

/* ---- upstream.c ---- */
struct query *query_new(struct vm *vm, const struct asker *a, const struct dns_query *q, struct policy_verdict v); /* NULL: too many, or no memory */
void query_start(struct query *q);
void query_free(struct query *q);
void query_fail(struct query *q, enum dns_rcode rcode); /* answers and frees */

/* ---- cache.c ---- */
void cache_put(struct vm *vm, const struct dns_query *q, const uint8_t *msg, size_t n, uint32_t ttl_s, uint64_t now_ms);
/* The answer, aged, into out (DNS_MESSAGE_MAX); 0: none. */
size_t cache_get(struct vm *vm, const struct dns_query *q, uint8_t *out, uint64_t now_ms);
void cache_free(struct vm *vm);

/* ---- open.c ---- */
/* Asks core to open these for every entry that names q; q->opening counts. 0; -ENOSPC, -ENOMEM, -EPIPE. */
int open_addrs(struct query *q, const struct dns_addr *addrs, unsigned n);
void opened_settled(struct vm *vm);        /* who waits for what is opened again waits no more */
void opened_policy_changed(struct vm *vm); /* forgets what no entry names, opens the rest again */
void opened_sweep(struct vm *vm, uint64_t now_ms);
void opened_free(struct vm *vm);

/* ---- seen.c ---- */
void seen_put(struct vm *vm, const struct dns_addr *a, const char *name, uint64_t now_ms);
const char *seen_name(const struct vm *vm, uint8_t family, const uint8_t *addr); /* NULL: no name led there */
void seen_free(struct vm *vm);

/* ---- events.c, flows.c ---- */
int events_start(struct vm *vm);
void events_stop(struct vm *vm);
/* The host's, for VMs on bridges, known by their addresses: NFLOG of their rules alone, and the end of every flow of the host, most of which are nobody's here. */
int events_host_start(struct gate *g, int fd_taken);
void events_host_stop(struct gate *g);
/* The VM ended: what the kernel still has to tell, then the end of every flow that it began. */
void events_end(struct vm *vm);
/* Takes the place of the flow: a new one or the one that is there. NULL: full, or no memory. */
struct flow *flows_put(struct flows *f, const struct nf_tuple *t);
bool flows_take(struct flows *f, const struct nf_tuple *t, struct flow *out); /* and it is gone */
void flows_free(struct flows *f);

/* ---- record.c ---- */
void record_start(struct vm *vm, int fd_taken);
void record_stop(struct vm *vm); /* writes what is left */
void record_flush(struct vm *vm, uint64_t now_ms);
void record_lost(struct vm *vm, uint64_t n, const char *why); /* something that could not be written or seen */
struct record_line {
	const char *event;       /* "start", "end", "denied", "dns" */
	const struct nf_tuple *t; /* NULL: dns */
	const char *name, *rule; /* NULL: none */
	bool allowed;
	const char *qtype, *note;
	uint64_t bytes_out, bytes_in, duration_ms; /* of "end" */
	uint64_t real_ns;        /* 0: now */
};
void record_write(struct vm *vm, const struct record_line *l);

#endif
