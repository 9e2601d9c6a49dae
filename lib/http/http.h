/*
 * lib/http: HTTP/1.1 (RFC 9112) and WebSocket (RFC 6455) as functions over bytes: heads and body
 * framing (here), chunked coding (chunk.h), targets and queries (target.h), WebSocket (ws.h).
 * No sockets and no waiting: the caller feeds bytes and looks at results. Strict: what two
 * parsers could read in two ways (both lengths, folded lines, bare LF, …) is refused with the status
 * that fits. front uses the server half, cli the client half. Stands on lib/base alone. Any thread.
 */
#ifndef LIB_HTTP_HTTP_H
#define LIB_HTTP_HTTP_H

#include "lib/base/buf.h"

#define HTTP_HEAD_MAX 65536u   /* bytes of one head, first byte to the empty line */
#define HTTP_TARGET_MAX 61440u /* bytes of a request target (exec carries arguments there) */
#define HTTP_FIELD_MAX 16384u  /* bytes of one field line */
#define HTTP_FIELDS_MAX 96u    /* field lines of one head */

/* A view into the caller's bytes; no NUL at its end. p is NULL when absent. */
struct http_str {
	const char *p;
	size_t n;
};

/* Why a message was refused: the status to answer with and one sentence. */
struct http_refusal {
	int status;       /* 400, 411, 413, 414, 417, 431, 501, 505 */
	const char *text; /* static */
	bool framing;     /* it is the body's length that could be read in two ways: what request smuggling is made of */
};

enum http_kind { HTTP_REQUEST, HTTP_RESPONSE };

/* How the body after a head is framed. */
enum http_body {
	HTTP_BODY_NONE,
	HTTP_BODY_LENGTH,  /* body_bytes, may be 0 */
	HTTP_BODY_CHUNKED, /* lib/http/chunk.h */
	HTTP_BODY_CLOSE,   /* responses only: until the peer closes */
};

struct http_head_field {
	struct http_str name, value; /* value without surrounding blanks */
};

struct http_head {
	enum http_kind kind;
	bool to_head;  /* responses: set by the caller when the request was HEAD (no body follows) */
	size_t scanned; /* private: bytes already looked at */

	/* set once http_head_parse() returned 0; every view points into the bytes given then */
	size_t head_bytes;               /* length of the head with its empty line; the body starts there */
	struct http_str method, target;  /* requests */
	int status;                      /* responses: 100–599 */
	struct http_str reason;          /* responses, may be empty */
	int minor;                       /* HTTP/1.minor */
	enum http_body body;
	uint64_t body_bytes;             /* with HTTP_BODY_LENGTH */
	bool keep_alive;                 /* the connection may carry another message */
	bool expect_continue;            /* requests: send "100 Continue" before reading the body */
	bool upgrade;                    /* Connection names "upgrade" and there is an Upgrade field */
	unsigned n_fields;
	struct http_head_field fields[HTTP_FIELDS_MAX];
};

/* Before the first byte of each message. */
void http_head_init(struct http_head *h, enum http_kind kind);
/*
 * Looks for one whole head at p[0..n). 0: parsed. -EAGAIN: more bytes are needed (call again with the same
 * bytes and more; nothing is scanned twice). -EPROTO: refused, *why says how (the connection cannot go on). Never
 * allocates. why may be NULL.
 */
int http_head_parse(struct http_head *h, const void *p, size_t n, struct http_refusal *why);
/* First field of that name (case does not matter); NULL when absent. */
const struct http_str *http_head_field(const struct http_head *h, const char *name);
/* Copies and NUL-terminates. 0; -ENOENT absent; -EMSGSIZE too long. */
int http_head_copy(const struct http_head *h, const char *name, char *dst, size_t cap);
/* Does the comma-separated list in v hold this token (case does not matter)? */
bool http_list_has(const struct http_str *v, const char *token);
bool http_str_is(const struct http_str *s, const char *text);     /* exact */
bool http_str_is_nocase(const struct http_str *s, const char *text);

/* ---- writing (check b->failed once) ---- */

/* "HTTP/1.1 200 OK\r\n"; fields follow by http_add_field, then http_add_end. */
void http_add_status(struct buf *b, int status);
/* "GET /x HTTP/1.1\r\nHost: …\r\n"; target must be encoded already (target.h). */
void http_add_request(struct buf *b, const char *method, const char *target, const char *host);
/* "Name: value\r\n". Bytes that would break the line (CR, LF, NUL) are left out of the value. */
void http_add_field(struct buf *b, const char *name, const char *value);
void http_add_field_u64(struct buf *b, const char *name, uint64_t value);
void http_add_end(struct buf *b);
/* "OK", "Not Found", …; "Status" when not known. */
const char *http_reason(int status);

#endif
