/*
 * cli/remote: one daemon, reached over TCP (http:// or https://) or a unix socket, and one HTTP exchange at a time. Every answer is
 * hostile: heads and bodies are bounded, JSON is checked. Functions that say so print the three lines themselves. Room card: cli.h.
 */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "cli/cli.h"
#include "cli/context.h"
#include "lib/http/chunk.h"
#include "lib/http/http.h"
#include "lib/http/target.h"
#include "lib/json/json.h"
#include "lib/tls/tls.h"

#define REPLY_MAX (64u << 20) /* most bytes of a JSON answer */
#define REPLY_VALUES_MAX 1000000u

struct remote {
	bool is_unix, tls;
	char path[108];      /* unix socket */
	char host[256], port[6];
	char host_header[270];
	char where[300];     /* for messages */
	char token[4096];    /* "" : none */
	char agent[128];     /* User-Agent */
	bool pinned;         /* tls: by fingerprint, else by ca */
	uint8_t fingerprint[TLS_FINGERPRINT_BYTES];
	char *ca;            /* PEM; kept until the program ends */
	size_t ca_len;
	int cancel_fd;       /* borrowed; -1: none. Readable (a signalfd): waiting ends with -ECANCELED */
};
/* From options, else the environment, else the current context, else what this machine has (contract §3.1). 0 or EXIT_USAGE/EXIT_FAIL after
 * saying why. A token or fingerprint comes from the same places; a context's belong to the place where the context was named. */
int remote_init(struct remote *r, const struct args *a);
enum place { PLACE_DEFAULT, PLACE_CURRENT, PLACE_ENVIRONMENT, PLACE_OPTION }; /* where a context was named; the higher wins */
/* secure.c: for https://, whom to trust: --fingerprint, --ca-file, their variables, the context (NULL: none), or on this machine the daemon's
 * own file. 0 or EXIT_* after saying why. */
int remote_trust(struct remote *r, const struct args *a, struct context *c, enum place place, bool is_loopback);
/* Only takes the address apart: http://, https://, a socket's path. 0 or EXIT_USAGE after saying why. */
int remote_at(struct remote *r, const char *url);
/* SIGINT, SIGTERM, SIGHUP become readable on a descriptor instead of ending us; *old for sigprocmask. fd or -errno. */
int cancel_signals(void *old_sigset);
/* A socket path, no token. 0 or -ENAMETOOLONG. */
int remote_init_socket(struct remote *r, const char *path);

struct call { /* large: heap or static */
	const struct remote *r; /* borrowed */
	int fd;                 /* owned, non-blocking */
	struct buf in;          /* raw bytes not yet eaten */
	struct buf out;         /* bytes the socket (or TLS) did not take yet */
	struct tls *tls;        /* owned; NULL without */
	struct buf net_in, net_out; /* with TLS: what the socket sees */
	struct http_head head;  /* views into head_bytes */
	char *head_mem;         /* owned copy of the head */
	struct http_chunked chunked;
	uint64_t left;
	bool have_head, ended, chunked_out, eof;
	bool eof_cut;           /* TLS: the end came without a word of TLS (close_notify): anybody on the way may have made it */
};
enum call_body { CALL_NO_BODY, CALL_CHUNKED, CALL_LENGTH };

/* Connects and queues a request head. extra: field lines or NULL. On failure: -errno and f; nothing to free. */
int call_open(struct call *c, const struct remote *r, const char *method, const char *target, enum call_body body, uint64_t length,
	      const struct buf *extra, struct fault *f);
void call_done(struct call *c);
/* Something waits for the socket to take it. */
static inline bool call_has_out(const struct call *c) { return buf_len(&c->out) || buf_len(&c->net_out); }
/* secure.c: the handshake (-EKEYREJECTED with f: no trust), then the same two as below through TLS. */
int secure_open(struct call *c, struct fault *f);
int secure_flush(struct call *c);
int secure_fill(struct call *c, size_t n);
/* Queues body bytes (chunked when asked so). */
int call_send(struct call *c, const void *p, size_t n);
void call_send_end(struct call *c);
/* Writes what is queued, as far as it goes now. 0 or -errno; a peer that stopped reading is no error until its answer is read. */
int call_flush(struct call *c);
/* Reads what is there now (at most once). 0 or -errno; at end c->eof. */
int call_fill(struct call *c);
/* Looks for the head among what was read: 1 there (c->head), 0 not yet, -EPROTO/-ECONNRESET. Interim answers are dropped. */
int call_head(struct call *c, struct fault *f);
/* Next piece of body among what was read: 1 *p,*n; 0 more is needed; 2 complete; -EPROTO/-ECONNRESET when cut. */
int call_piece(struct call *c, const uint8_t **p, size_t *n, struct fault *f);
/* Waits: flushes and reads until the head is there. */
int call_wait_head(struct call *c, struct fault *f);
/* Waits for the next piece: 1, 2 as call_piece, or -errno. */
int call_wait_piece(struct call *c, const uint8_t **p, size_t *n, struct fault *f);
/* Waits for the whole body. */
int call_body(struct call *c, struct buf *into, struct fault *f);

/* ---- whole exchanges that print their own errors ---- */

struct answer {
	int status;
	struct buf text;
	struct json json; /* of a JSON object or array; else json.v is NULL */
};
void answer_done(struct answer *a);
/* One request with an optional JSON body. 0 with any status; or EXIT_FAIL after saying why. */
int remote_ask(const struct remote *r, const char *method, const char *target, const struct buf *body, struct answer *out);
/* Says what a status >= 300 means; `doing` is "cannot delete vm-1". Returns code. */
int remote_refused(const struct remote *r, int code, int status, const struct buf *text, const char *doing);
/* Says that the connection failed. Returns code. */
int remote_broken(const struct remote *r, int code, int err, const struct fault *f, const char *doing);
/* The sentence inside an error body. */
void remote_error_text(const struct buf *text, char *dst, size_t cap);

/* ---- VMs by name ---- */
#define VM_NAME_MAX 256
/* After a 404 for `name`: is it a friendly name? 1 and the hostname in out; 0 no. */
int remote_friendly(const struct remote *r, const char *name, char out[VM_NAME_MAX]);
/* "/vm/<name><tail>" into b. */
void vm_target(struct buf *b, const char *name, const char *tail);
/* remote_ask on /vm/<name><tail>, with the friendly-name retry; name is replaced by the hostname then. A refusal is said: returns EXIT_FAIL. */
int vm_ask(const struct remote *r, const char *method, char name[VM_NAME_MAX], const char *tail, const struct buf *body, struct answer *out,
	   const char *doing);
/* The same without a word about a refusal: 0 with any status. */
int vm_ask_any(const struct remote *r, const char *method, char name[VM_NAME_MAX], const char *tail, const struct buf *body, struct answer *out,
	       const char *doing);
/* Copies and checks a VM name given by the user (no empty, no '/', no control bytes). 0 or EXIT_USAGE after saying so. */
int vm_name_take(char out[VM_NAME_MAX], const char *given);
/* The only VM there is. 0, or EXIT_* after saying so. */
int vm_only(const struct remote *r, char out[VM_NAME_MAX]);
/* The only host group there is. The same. */
int group_only(const struct remote *r, char out[VM_NAME_MAX]);

#endif
