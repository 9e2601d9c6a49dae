/*
 * api/front: the HTTP side of the daemon. One epoll loop; parses what the network sends, asks core
 * (lib/wire/core.h) on the client's behalf, and joins a client to an agent stream (lib/wire/agent.h) whose descriptor
 * core hands over. No files, no privileges, no state beyond its connections: core checks every request again.
 *
 * Who frees what: a handler never frees a request or a connection. It writes an answer, marks (req_end, conn_break),
 * and returns; the event's outermost function calls conn_settle(), the one place where requests and connections end.
 * Memory: every queue has a high-water mark; past it the other side is not read (HIGH_BYTES).
 * Everything here runs on the one thread.
 */
#ifndef API_FRONT_FRONT_H
#define API_FRONT_FRONT_H

#include "api/front/guard.h"
#include "api/front/metrics.h"
#include "api/front/publish.h"
#include "lib/ev/ev.h"
#include "lib/http/chunk.h"
#include "lib/http/http.h"
#include "lib/http/target.h"
#include "lib/http/ws.h"
#include "lib/json/json.h"
#include "lib/tls/tls.h"
#include "lib/wire/agent.h"
#include "lib/wire/chan.h"
#include "lib/wire/core.h"

#define FRONT_CORE_FD 3
#define HIGH_BYTES 65536u          /* a queue beyond this stops its source … */
#define LOW_BYTES 16384u           /* … until it is below this again */
#define READ_BYTES 16384u          /* one read(2) from a client */
#define OUT_BYTES_MAX (96u << 20)  /* hard end of a reply queue: whole answers (lists, buffered exec) may be large */
#define BODY_BYTES_MAX (1u << 20)  /* a JSON body */
#define GATHER_BYTES_MAX (64u << 20) /* output of a buffered exec, stdout and stderr together */
#define CONNS_MAX 8192u
#define LISTENERS_MAX 8u
#define HEAD_TIMEOUT_MS 30000u     /* these five: guard.h */
#define BODY_TIMEOUT_MS 60000u
#define FIRST_TIMEOUT_MS 15000u
#define IDLE_TIMEOUT_MS 180000u
#define HANDSHAKE_TIMEOUT_MS 10000u
#define LINGER_TIMEOUT_MS 2000u    /* reading what a refused client still sends, so that it sees the answer */
#define AGENT_ANSWER_MS 10000u     /* health, stats, fs: the agent must answer by then */
#define CONNECT_MS 15000u          /* core gets a stream by then: vmm itself gives up after 10 s */
#define LINE_BYTES_MAX (1u << 20)  /* of NDJSON: a frame's payload, each byte as \u0000 */
#define ASK_BUCKETS 256u

struct front;
struct conn;
struct req;

/* ---- routes ---- */

enum {
	ROUTE_OPEN = 1,   /* no credential */
	ROUTE_BODY = 2,   /* the JSON body is gathered before start() */
	ROUTE_STREAM = 4, /* start() reads the body itself; without either flag a body is read and dropped */
};
struct route {
	const char *method, *path; /* "{}" stands for one segment, handed over in req.vars */
	unsigned flags;
	void (*start)(struct req *r);
	unsigned scope; /* what a token needs for it (lib/wire/core.h); 0 is SCOPE_ADMIN. Core checks by a table of its own. */
};

/* ---- one agent stream of a request ---- */

struct agent_ops {
	void (*frame)(struct req *r, const struct wire_msg *m); /* one frame arrived */
	void (*lost)(struct req *r);  /* the stream ended while the request still needed it */
	void (*raw)(struct req *r, const uint8_t *p, size_t n); /* bytes, after agent.raw was set (forward); else NULL */
	void (*cut)(struct req *r);   /* its token is no more: says so (cut_text) and ends. NULL: an answer that has begun breaks off */
};
struct agent {
	const struct agent_ops *ops;    /* NULL while there is no stream */
	void (*opened)(struct req *r);  /* while core is asked for one */
	int fd;                         /* owned; -1 */
	struct ev_io io;
	struct buf in, out;
	size_t read_bytes;              /* of the next read; 0: the first */
	unsigned generation;            /* streams so far: a handler may open the next one from a callback */
	bool raw, eof, out_dead;
	bool out_full;                  /* it took no more; epoll tells when it does */
	bool out_end;                   /* nothing more will be queued: the agent is told when out has gone */
};

/* ---- a request ---- */

typedef void loss_fn(struct req *r, const char *code, const char *text);
typedef void ask_fn(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds);

enum body_state {
	BODY_WAITING, /* not read yet → READING (req_read_body, req_drop_body) */
	BODY_READING, /* → DONE, or the connection ends */
	BODY_DONE,
};

struct req {
	struct conn *conn;         /* borrowed: outlives the request */
	const struct route *route;
	struct http_head head;     /* views into head_mem */
	char *head_mem;            /* owned */
	struct http_target target;
	const char *vars[3];       /* the {} segments, in target */
	uint8_t auth[32];          /* SHA-256 of the bearer token */
	bool has_auth, is_head;

	/* body */
	enum body_state body;
	uint64_t body_left;
	struct http_chunked chunked;
	bool body_raw;             /* after an upgrade: bytes until the client goes */
	bool body_paused;          /* the sink is full */
	void (*on_body)(struct req *r, uint8_t *p, size_t n); /* NULL: dropped. May change the bytes. */
	void (*on_body_end)(struct req *r);
	struct buf gather;         /* JSON body; then what a handler collects */

	/* answer */
	bool replied;              /* the head of the answer is written */
	int status;                /* in that head; 0 before */
	uint64_t begun_ns;         /* monotonic */
	bool reply_chunked;
	bool ended;                /* nothing more will be written: conn_settle() goes on to the next request */
	bool ending;               /* the same as soon as the agent has taken what is queued for it */
	bool with_client;          /* what runs in the guest ends with the client: a command, a shell, whoever follows or waits */
	uint64_t probe_ms;         /* when to see whether the client is there; 0: no need */
	uint64_t deadline_ms;      /* monotonic; 0 none */
	void (*on_deadline)(struct req *r);

	/* core */
	uint32_t ask_id;           /* 0: nothing asked */
	ask_fn *ask_fn;
	struct req *ask_next;

	struct agent agent;
	struct {
		loss_fn *told;
		unsigned asks;
	} loss;

	/* the handler's own */
	void *state;               /* owned; ended by state_done */
	void (*state_done)(void *state);
};

/* ---- a connection ---- */

enum conn_state {
	CONN_HEAD,    /* between requests or reading a head → REQUEST, FLUSH */
	CONN_REQUEST, /* conn->req is at work → HEAD, FLUSH */
	CONN_FLUSH,   /* writing the rest, then closing → LINGER */
	CONN_LINGER,  /* our side is closed; dropping what still comes → end */
};
struct conn {
	struct front *front;
	struct conn *next, *prev;
	int fd; /* owned */
	struct ev_io io;
	const struct listener *listener; /* where it came from */
	uint64_t local;         /* core's number of a local user's; 0: another one */
	struct secure *secure;  /* owned: TLS between the socket and in, out; NULL without */
	enum conn_state state;
	struct http_head *head; /* owned: the one being read */
	struct buf in, out;
	struct req *req;        /* owned */
	uint64_t since_ms;      /* when this state (or the first byte of a head) began */
	uint64_t linger_bytes;
	bool peer_gone;         /* the client closed its sending side, and all it sent was read */
	bool hung_up;           /* it closed that side; something may still be unread */
	uint64_t left_ms;       /* since when it counts as gone (monotonic); 0: it is there */
	bool broken;            /* end it now */
	bool busy;              /* something happened since the last sweep */
	bool trusted;           /* a request on it had the right to what it asked */
};

struct listener {
	struct front *front;
	struct ev_io io;
	int fd; /* owned */
	unsigned index; /* core's number */
	bool auth_needed, tcp, tls, paused;
};

/* The certificate in use, or one that connections from before a change still use. */
struct cert {
	struct tls_identity *id; /* owned */
	unsigned users;          /* connections, and front while it is the one in use */
};

/* TLS of one connection. Bytes of the network stand in in and out, those of HTTP in the connection's own queues. */
struct secure {
	struct tls *tls;   /* owned; NULL until the first byte came */
	struct cert *cert; /* one of its users is this */
	struct buf in, out;
	bool up;           /* the handshake is done */
	bool eof;          /* the socket has no more */
	bool over;         /* the client ended TLS, or broke it: only what stands in out still goes */
	bool said_end;     /* our close_notify is written */
	bool rested;       /* its buffers were given back since something happened */
};

struct front {
	struct ev_loop *loop;
	struct chan core;
	struct ev_io core_io;
	struct ev_timer sweep;
	struct listener listeners[LISTENERS_MAX];
	struct listener locals; /* what is known of local users' connections: core accepts them */
	unsigned n_listeners, n_conns;
	struct conn *conns, *oldest; /* newest first */
	struct limits limits;
	struct rejects rejects;
	struct published published;
	uint32_t next_id;
	struct req *asks[ASK_BUCKETS];
	struct buf frame; /* the frame being written, to core or an agent */
	struct buf line;  /* the NDJSON line being written */
	size_t frame_mark;
	bool core_gone;
	struct counts counts;
	struct cert *cert; /* NULL: core sent none */
};

/* ---- walls.c ---- */
int front_drop_rights(uid_t uid, gid_t gid, struct fault *f); /* first of all */
int front_filter_calls(struct fault *f);                      /* once everything is set up */

/* ---- listen.c ---- */
int listener_add(struct front *f, const struct wire_msg *m, int fd_taken);
void local_add(struct front *f, const struct wire_msg *m, int fd_taken); /* C_LOCAL */
void listeners_resume(struct front *f);

/* ---- cert.c, secure.c ---- */
void cert_frame(struct front *f, const struct wire_msg *m); /* C_TLS */
void cert_drop(struct cert *c);                             /* one user less; NULL is fine */
/* On a new connection. 0, -ENOMEM, or -ENOENT without a certificate. */
int secure_new(struct conn *c);
void secure_free(struct conn *c);
void conn_left(struct conn *c); /* the client is gone, or cannot be told from one that is */
/* One read of the socket; what HTTP sees of it comes with secure_move(). */
void secure_read(struct conn *c);
bool secure_has_room(const struct conn *c); /* for a read */
/* Moves what can be moved through TLS both ways and writes it. true: c->in grew, or the connection turned out to be plain. */
bool secure_move(struct conn *c);
bool secure_has_out(const struct conn *c); /* not all is written yet, the end of TLS included */

/* ---- conn.c, body.c ---- */
void conn_new(const struct listener *l, int fd_taken, uint64_t local);
void conn_sweep(struct front *f, uint64_t now_ms);
/* The end of every event: writes, resumes, goes to the next request, frees. c may be gone afterwards. */
void conn_settle(struct conn *c);
void conn_break(struct conn *c); /* ends the connection at the next settle */
bool conn_out_full(const struct conn *c);
void req_free(struct req *r);
/* The handler wants the body: data in pieces, then the end. Sends "100 Continue" when asked for. */
void req_read_body(struct req *r, void (*on_body)(struct req *, uint8_t *, size_t), void (*on_body_end)(struct req *));
/* Hands buffered body bytes to the handler while it takes them. true when something moved. */
bool body_feed(struct conn *c);
void body_init(struct req *r);

/* ---- reply.c ---- */
void reply_begin(struct req *r, int status, const char *type); /* head up to the caller's own fields … */
void reply_field(struct req *r, const char *name, const char *value);
void reply_stream(struct req *r);                               /* … then a body of unknown length … */
void reply_data(struct req *r, const void *p, size_t n);        /* … its pieces … */
void req_end(struct req *r);                                    /* … and its end */
/* Whole answers; each ends the request. */
void reply_bytes(struct req *r, int status, const char *type, const void *p, size_t n);
void reply_text(struct req *r, int status, const char *text);
void reply_json(struct req *r, int status, struct buf *b); /* clears b */
void reply_empty(struct req *r, int status);
void reply_error(struct req *r, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void reply_error_code(struct req *r, int status, const char *text, const char *code);
void reply_refusal(struct req *r, const struct wire_msg *m); /* a WIRE_ERR from core or agent */
/* Before there is a request: answers and closes. */
void conn_refuse(struct conn *c, int status, const char *text);

/* ---- route.c ---- */
extern const struct route routes[]; /* routes.c; an earlier row wins */
extern const unsigned n_routes;
/* The scope that this request needs; SCOPE_ANY when there is no such route. */
unsigned req_scope(const struct req *r);
bool auth_needed(const struct req *r);
/* A head stands parsed in c->head: makes c->req and starts it. */
void request_begin(struct conn *c);

/* ---- cut.c ---- */
extern const char cut_text[];
void front_cut(struct front *f, const struct wire_msg *m); /* C_CUT */

/* ---- ask.c ---- */
/* A question to core: begin, fields (wire_* on the returned buf), send. fn gets every answer frame (C_ITEM … then OK or ERR); it takes
 * descriptors by setting them to -1. On failure the request is answered. */
struct buf *ask_begin(struct req *r, uint16_t type);
void ask_send(struct req *r, ask_fn *fn);
int ask_try(struct req *r, ask_fn *fn); /* the same without an answer on failure: -errno */
void ask_drop(struct req *r);
void core_event(struct ev_io *io, uint32_t events);

/* ---- stream.c: the agent stream ---- */
/* Asks core for a stream to that VM; opened() then writes the first frame with stream_begin … stream_send. Refused: answered. */
void stream_open(struct req *r, const char *vm, bool quiet, const struct agent_ops *ops, void (*opened)(struct req *r));
/* The same with the handler's own look at core's answer; it calls stream_adopt() on an OK. */
void stream_open_with(struct req *r, const char *vm, bool quiet, const struct agent_ops *ops, void (*opened)(struct req *r),
		      ask_fn *answer);
void stream_adopt(struct req *r, int *fds, unsigned n_fds);
void stream_close(struct req *r);
struct buf *stream_begin(struct req *r, uint16_t type);
void stream_send(struct req *r); /* queues the frame */
void stream_send_raw(struct req *r, const void *p, size_t n);
void stream_init(struct req *r);
void stream_done(struct req *r);
void stream_flush(struct req *r);
bool stream_pump(struct req *r); /* hands buffered frames over; true when something moved */
void stream_watch(struct req *r); /* sets the epoll interest */
/* Data towards the agent in frames of at most AGENT_DATA_MAX; pauses the body when the queue is full. */
void stream_send_data(struct req *r, uint16_t type, const uint8_t *p, size_t n);

/* ---- loss.c ---- */
/* A command's stream ended before it did: finds out what went away and tells it within seconds, unless the client goes first: a code word
 * "agent_lost" or "vm_lost" and a sentence. */
void loss_find(struct req *r, loss_fn *told);

/* ---- params.c ---- */
const char *param(const struct req *r, const char *key); /* NULL when absent or empty */
bool param_is_true(const struct req *r, const char *key);
/* Which of stdout (0) and stderr (1) is asked for: both, unless one is named "true" alone or "false". */
void param_outputs(const struct req *r, bool wants[2]);
/* A decimal, or a Go duration in ms, as a u64 field when it is there. false: answered. */
bool param_put_u64(struct req *r, struct buf *b, const char *key, uint16_t tag, uint64_t max);
bool param_put_ms(struct req *r, struct buf *b, const char *key, uint16_t tag);
/* Adds a decimal parameter as a u64 field when it is there. false: it was bad and the request is answered. */
bool param_put_u32(struct req *r, struct buf *b, const char *key, uint16_t tag);
/* Octal permissions ("0644"). Same result. */
bool param_put_perm(struct req *r, struct buf *b, const char *text, uint16_t tag);
void param_put_str(const struct req *r, struct buf *b, const char *key, uint16_t tag); /* when there */
/* Every value of a repeated parameter. false when there are more than max (answered). */
bool param_put_all(struct req *r, struct buf *b, const char *key, uint16_t tag, unsigned max);
/* The VM name in vars[0]; NULL when it cannot be one (answered with 404). */
const char *vm_name(struct req *r);
const char *group_name(struct req *r); /* the same for a group in vars[0] */
/* The gathered body as JSON object; an empty body is {} . false: answered with 400. */
bool body_json(struct req *r, struct json *j);
/* A member that must be a list of strings: its elements as fields. -1 bad, 0 absent, 1 there. */
int body_put_strings(struct buf *b, const struct json_val *root, const char *key, uint16_t tag);

/* ---- node.c: objects that several handlers write ---- */
void put_time(struct json_out *o, const char *key, uint64_t real_ns);
void put_node(struct json_out *o, const struct wire_msg *m);       /* the fields of a node, into an open object */
void put_field_str(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag); /* when there */
void put_field_u64(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag); /* when there */
void put_field_list(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag); /* [] when none */
void put_ip_bare(struct json_out *o, const char *key, const struct wire_msg *m); /* without /24 */
void put_time_field(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag); /* when there and not 0 */
void put_publish(struct json_out *o, const struct wire_msg *m); /* published ports, when there are any */
void put_field_bool(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag); /* absent is false */
typedef void put_fn(struct json_out *o, const struct wire_msg *m);
/* Answers a question to core with the object that put() writes from its OK, or with its refusal. */
void reply_object(struct req *r, int status, const struct wire_msg *m, put_fn *put);
/* The same for C_ITEM … OK: an array in r->gather. list_begin() stands before ask_begin(). */
void list_begin(struct req *r);
void list_answer(struct req *r, const struct wire_msg *m, put_fn *put);

/* ---- line.c: NDJSON lines of exec, in the foreground and from history ---- */
#define UTF8_HELD_MAX 3u
/* Text of one output stream whose last character may be cut in the middle. */
struct text {
	uint8_t held[UTF8_HELD_MAX];
	unsigned n;
};
const char *signal_name(uint64_t number); /* "TERM"; "" for 0 */
/* m: the frame of history whose id and time the line carries; NULL: now, without id. */
void line_begin(struct req *r, struct json_out *o, const char *type, const struct wire_msg *m);
void line_end(struct req *r, struct json_out *o);
/* One piece of stdout (0) or stderr (1): as text with t, which holds what is incomplete (n 0: writes that); as base64 without. */
void line_output(struct req *r, const struct wire_msg *m, unsigned which, struct text *t, const uint8_t *p, size_t n);
/* The fields of a command from the query: cmd args env uid gid cwd shell. false: answered. */
bool put_command(struct req *r, struct buf *b);
/* A WIRE_ERR to a command that did not start: its exit code by the code word; 0 when it is another refusal. */
uint64_t start_failure(const struct wire_msg *m);

/* ---- handlers ---- */
void h_healthz(struct req *r);
void h_info(struct req *r);
void h_groups(struct req *r);
void h_group_create(struct req *r);
void h_group_change(struct req *r);
void h_group_delete(struct req *r);
void h_group_nodes(struct req *r);
void h_create(struct req *r);
void h_delete(struct req *r);
void h_nodes(struct req *r);
void h_describe(struct req *r);
/* h_net.c */
void h_net_chaos(struct req *r);
void h_net_chaos_change(struct req *r);
void h_net_heal(struct req *r);
void h_net_stats(struct req *r);
void put_chaos(struct json_out *o, const struct wire_msg *m);
/* h_disks.c */
void h_disks(struct req *r);
void h_disk_usage(struct req *r);
void h_disk_grow(struct req *r);
void h_disk_export(struct req *r);
void h_disk_sparsify(struct req *r);
/* h_images.c */
void h_images(struct req *r);
void h_image(struct req *r);
void h_image_name(struct req *r);
bool image_name_fits(struct req *r, const char *name); /* false: answered */
void h_image_export(struct req *r);
void h_image_delete(struct req *r);
void h_builder(struct req *r);
void h_image_keep(struct req *r);
void h_tags_get(struct req *r);
void h_tags_patch(struct req *r);
void h_logs(struct req *r);
void h_health(struct req *r);
void h_shutdown(struct req *r);
void h_pause(struct req *r);
void h_resume(struct req *r);
void h_relaunch(struct req *r);
void h_daemon_shutdown(struct req *r);
void h_stats_all(struct req *r);
void h_stats_one(struct req *r);
void h_exec(struct req *r);
void bg_start(struct req *r); /* POST exec with background=true */
void h_bg_list(struct req *r);
void h_bg_info(struct req *r);
void h_bg_logs(struct req *r);
void h_bg_kill(struct req *r);
void h_bg_wait(struct req *r);
void h_bg_reap(struct req *r);
void h_cp_in(struct req *r);
void h_cp_out(struct req *r);
void h_readdir(struct req *r);
void h_stat(struct req *r);
void h_mkdir(struct req *r);
void h_remove(struct req *r);
void h_watch(struct req *r);
void h_shell(struct req *r);
void h_forward(struct req *r);
void h_net_log(struct req *r);
void h_policy(struct req *r);
void h_policy_change(struct req *r);
void h_group_policy(struct req *r);
void h_group_policy_change(struct req *r);
void h_explain(struct req *r);
void put_rules(struct json_out *o, const struct wire_msg *m); /* members of a VM's `network` */
void h_metrics(struct req *r);
void h_openapi(struct req *r);
void h_secrets(struct req *r);
void h_secret_create(struct req *r);
void h_secret_patch(struct req *r);
void h_secret_delete(struct req *r);
void h_tokens(struct req *r);
void h_token_create(struct req *r);
void h_token_revoke(struct req *r);
void h_not_yet(struct req *r);
void h_commit(struct req *r);
void h_commits(struct req *r);
void h_commit_delete(struct req *r);
void h_fork(struct req *r);
/* h_create.c, members of a body: a number; {allow, drop, bytes_per_s, packets_per_s}. NULL, or the name of the one that is wrong. */
const char *create_put_count(struct buf *b, const struct json_val *root, const char *key, uint16_t tag);
const char *create_put_network(struct buf *b, const struct json_val *root);

#endif
