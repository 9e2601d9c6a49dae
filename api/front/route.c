/* From a parsed head to a running handler: target, route, credential, body. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "api/front/front.h"
#include "lib/base/sha256.h"

/* Does the target have the pattern's segments? Those under {} go to vars. */
static bool match(const char *pattern, const struct http_target *t, const char **vars, unsigned vars_max)
{
	unsigned seg = 0, var = 0;

	while (*pattern == '/') {
		size_t n = strcspn(++pattern, "/");

		if (seg == t->n_segments)
			return false;
		if (n == 2 && memcmp(pattern, "{}", 2) == 0) {
			if (var == vars_max || !*t->segments[seg])
				return false;
			vars[var++] = t->segments[seg];
		} else if (strlen(t->segments[seg]) != n || memcmp(pattern, t->segments[seg], n) != 0) {
			return false;
		}
		pattern += n;
		seg++;
	}
	return seg == t->n_segments;
}

/* 200 with r->route set, 404, or 405 with the allowed methods. */
static int find_route(struct req *r, char *allow, size_t allow_cap)
{
	bool path_known = false;

	allow[0] = '\0';
	for (unsigned i = 0; i < n_routes; i++) {
		size_t n = strlen(allow);

		if (!match(routes[i].path, &r->target, r->vars, ARRAY_LEN(r->vars)))
			continue;
		if (http_str_is(&r->head.method, routes[i].method)) {
			r->route = &routes[i];
			return 200;
		}
		path_known = true;
		snprintf(allow + n, allow_cap - n, "%s%s", n ? ", " : "", routes[i].method);
	}
	return path_known ? 405 : 404;
}

static void no_route(struct req *r, int status, const char *allow)
{
	char text[200];
	struct json_out o;
	struct buf b;

	if (status == 404) {
		bool proxy = r->target.n_segments && strcmp(r->target.segments[0], "proxy") == 0;

		reply_error(r, 404, proxy ? "this daemon has no egress proxy: rules about where VMs may connect stand in host groups" :
					    "no such path in this API; GET /openapi.json describes it");
		return;
	}
	snprintf(text, sizeof(text), "this path takes %s", allow);
	buf_init(&b, 1024);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "error", text);
	json_end(&o);
	reply_begin(r, 405, "application/json");
	reply_field(r, "Allow", allow);
	http_add_field_u64(&r->conn->out, "Content-Length", buf_len(&b));
	http_add_end(&r->conn->out);
	reply_data(r, buf_data(&b), buf_len(&b));
	req_end(r);
	buf_done(&b);
}

/* "Bearer <token>"; an empty token (the Go SDK sends one) and other schemes count as none. */
static void read_credential(struct req *r)
{
	const struct http_str *v = http_head_field(&r->head, "Authorization");
	size_t at = 6;

	if (!v || v->n <= 7 || strncasecmp(v->p, "Bearer", 6) != 0 || v->p[6] != ' ')
		return;
	while (at < v->n && v->p[at] == ' ')
		at++;
	if (at == v->n)
		return;
	sha256(v->p + at, v->n - at, r->auth);
	r->has_auth = true;
}

bool auth_needed(const struct req *r)
{
	return r->conn->listener->auth_needed && !(r->route && r->route->flags & ROUTE_OPEN);
}

unsigned req_scope(const struct req *r)
{
	return !r->route ? SCOPE_ANY : r->route->scope ? r->route->scope : SCOPE_ADMIN;
}

static void start(struct req *r)
{
	r->deadline_ms = 0;
	r->on_deadline = NULL;
	r->route->start(r);
}

static void too_large(struct req *r)
{
	r->conn->front->rejects.n[REJECT_BODY_SIZE]++;
	reply_error(r, 413, "the body is larger than 1 MiB");
}

static void gather_piece(struct req *r, uint8_t *p, size_t n)
{
	if (buf_add(&r->gather, p, n))
		too_large(r);
}

static void gather_late(struct req *r)
{
	r->conn->front->rejects.n[REJECT_BODY_LATE]++;
	reply_error(r, 408, "the body did not arrive in time");
}

static void gather(struct req *r)
{
	if (r->head.body == HTTP_BODY_LENGTH && r->head.body_bytes > BODY_BYTES_MAX) {
		too_large(r);
		return;
	}
	buf_init(&r->gather, BODY_BYTES_MAX);
	r->deadline_ms = now_mono_ms() + r->conn->front->limits.body;
	r->on_deadline = gather_late;
	req_read_body(r, gather_piece, start);
}

/* The client may ask this. */
static void admitted(struct req *r)
{
	char allow[64];
	int status = r->route ? 200 : find_route(r, allow, sizeof(allow));

	if (!r->route || !(r->route->flags & ROUTE_OPEN))
		r->conn->trusted = true;
	if (status != 200) {
		no_route(r, status, allow);
		return;
	}
	if (r->route->flags & ROUTE_BODY) {
		gather(r);
		return;
	}
	if (!(r->route->flags & ROUTE_STREAM)) {
		req_read_body(r, NULL, NULL);
		body_feed(r->conn);
	}
	if (!r->ended)
		start(r);
}

static void auth_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds;
	(void)n_fds;
	uint64_t status = 0;

	if (m->type == WIRE_OK) {
		admitted(r);
		return;
	}
	if (wire_get_u64(m, WIRE_T_STATUS, &status) && status == 401)
		r->conn->front->rejects.n[REJECT_AUTH]++;
	reply_refusal(r, m);
}

static void check_credential(struct req *r)
{
	if (!auth_needed(r)) {
		admitted(r);
		return;
	}
	if (!r->has_auth) {
		r->conn->front->rejects.n[REJECT_AUTH]++;
		reply_error(r, 401, "a token is needed: send 'Authorization: Bearer <token>'");
		return;
	}
	wire_u64(ask_begin(r, C_AUTH), C_T_FOR, req_scope(r));
	ask_send(r, auth_answer);
}

/* Moves the head's bytes from the connection to a request of its own. */
static struct req *take_head(struct conn *c)
{
	struct req *r = calloc(1, sizeof(*r));
	size_t n = c->head->head_bytes;
	char *mem = r ? malloc(n) : NULL;

	if (!mem) {
		free(r);
		return NULL;
	}
	memcpy(mem, buf_data(&c->in), n);
	buf_eat(&c->in, n);
	r->conn = c;
	r->begun_ns = now_mono_ns();
	r->head_mem = mem;
	http_head_init(&r->head, HTTP_REQUEST);
	http_head_parse(&r->head, mem, n, NULL); /* parsed well once already; now its views lie in mem */
	free(c->head);
	c->head = NULL;
	stream_init(r);
	body_init(r);
	return r;
}

void request_begin(struct conn *c)
{
	char allow[64];
	struct req *r = take_head(c);
	int err;

	if (!r) {
		conn_break(c);
		return;
	}
	c->req = r;
	c->state = CONN_REQUEST;
	r->is_head = http_str_is(&r->head.method, "HEAD");
	read_credential(r);
	err = http_target_parse(&r->target, r->head.target.p, r->head.target.n);
	if (err) {
		c->front->rejects.n[REJECT_TARGET]++;
		reply_error(r, err == -E2BIG ? 414 : err == -ENOMEM ? 503 : 400, "the request target cannot be read: "
			    "broken percent-encoding, a NUL, or too many parts");
		return;
	}
	find_route(r, allow, sizeof(allow)); /* open routes need no credential; others learn about it only with one */
	check_credential(r);
}
