/* Heads: find the end, cut the lines, then decide how the body is framed. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include "lib/http/http.h"

static int refuse(struct http_refusal *why, int status, const char *text)
{
	if (why)
		*why = (struct http_refusal){ .status = status, .text = text };
	return -EPROTO;
}

static int refuse_framing(struct http_refusal *why, int status, const char *text)
{
	if (why)
		*why = (struct http_refusal){ .status = status, .text = text, .framing = true };
	return -EPROTO;
}

/* RFC 9110 §5.6.2 */
static bool is_token_char(unsigned char c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(const struct http_str *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!is_token_char((unsigned char)s->p[i]))
			return false;
	return s->n > 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void trim(struct http_str *s)
{
	while (s->n && is_blank(s->p[0])) {
		s->p++;
		s->n--;
	}
	while (s->n && is_blank(s->p[s->n - 1]))
		s->n--;
}

bool http_str_is(const struct http_str *s, const char *text)
{
	return s->p && s->n == strlen(text) && memcmp(s->p, text, s->n) == 0;
}

bool http_str_is_nocase(const struct http_str *s, const char *text)
{
	return s->p && s->n == strlen(text) && strncasecmp(s->p, text, s->n) == 0;
}

bool http_list_has(const struct http_str *v, const char *token)
{
	size_t at = 0;

	while (v->p && at <= v->n) {
		const char *comma = at < v->n ? memchr(v->p + at, ',', v->n - at) : NULL;
		size_t end = comma ? (size_t)(comma - v->p) : v->n;
		struct http_str one = { v->p + at, end - at };

		trim(&one);
		if (http_str_is_nocase(&one, token))
			return true;
		at = end + 1;
	}
	return false;
}

const struct http_str *http_head_field(const struct http_head *h, const char *name)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (http_str_is_nocase(&h->fields[i].name, name))
			return &h->fields[i].value;
	return NULL;
}

int http_head_copy(const struct http_head *h, const char *name, char *dst, size_t cap)
{
	const struct http_str *v = http_head_field(h, name);

	if (!v)
		return -ENOENT;
	if (v->n >= cap)
		return -EMSGSIZE;
	if (v->n)
		memcpy(dst, v->p, v->n);
	dst[v->n] = '\0';
	return 0;
}

void http_head_init(struct http_head *h, enum http_kind kind)
{
	memset(h, 0, sizeof(*h));
	h->kind = kind;
}

/* Walks over new bytes only. 0 when the empty line was found (head_bytes set), -EAGAIN, -EPROTO.
 * A CR that is not before an LF, an LF that is not after a CR, and control bytes are refused here, so
 * nothing below meets them. */
static int find_end(struct http_head *h, const char *p, size_t n, struct http_refusal *why)
{
	size_t max = n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX;
	size_t i = h->scanned;

	for (; i < max; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '\n') {
			if (i == 0 || p[i - 1] != '\r')
				return refuse(why, 400, "a line of the head ends in a bare LF");
			if (i >= 3 && p[i - 2] == '\n') { /* an empty line first of all is skipped, not the end */
				h->head_bytes = i + 1;
				return 0;
			}
		} else if (i > 0 && p[i - 1] == '\r') {
			return refuse(why, 400, "a CR without its LF in the head");
		} else if ((c < 0x20 && c != '\r' && c != '\t') || c == 0x7f) {
			return refuse(why, 400, "a control character in the head");
		}
	}
	h->scanned = i;
	if (max == HTTP_HEAD_MAX)
		return refuse(why, 431, "the head is larger than 64 KiB");
	return -EAGAIN;
}

/* "HTTP/1.0" or "HTTP/1.1" */
static int parse_version(struct http_head *h, const struct http_str *v, struct http_refusal *why)
{
	if (v->n != 8 || memcmp(v->p, "HTTP/", 5) != 0 || v->p[6] != '.')
		return refuse(why, 400, "no HTTP version where one belongs");
	if (v->p[5] != '1' || (v->p[7] != '0' && v->p[7] != '1'))
		return refuse(why, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	h->minor = v->p[7] - '0';
	return 0;
}

static int parse_request_line(struct http_head *h, const char *p, size_t n, struct http_refusal *why)
{
	const char *sp1 = memchr(p, ' ', n);
	const char *sp2 = sp1 ? memchr(sp1 + 1, ' ', (size_t)(p + n - sp1 - 1)) : NULL;

	if (!sp2)
		return refuse(why, 400, "the request line is not 'METHOD target HTTP/1.1'");
	h->method = (struct http_str){ p, (size_t)(sp1 - p) };
	h->target = (struct http_str){ sp1 + 1, (size_t)(sp2 - sp1 - 1) };
	if (!is_token(&h->method) || h->method.n > 32)
		return refuse(why, 400, "the method is no method");
	if (!h->target.n)
		return refuse(why, 400, "the request target is empty");
	if (h->target.n > HTTP_TARGET_MAX)
		return refuse(why, 414, "the request target is larger than 60 KiB");
	for (size_t i = 0; i < h->target.n; i++) {
		unsigned char c = (unsigned char)h->target.p[i];

		if (c <= 0x20 || c >= 0x7f)
			return refuse(why, 400, "the request target holds a byte that must be percent-encoded");
	}
	return parse_version(h, &(struct http_str){ sp2 + 1, (size_t)(p + n - sp2 - 1) }, why);
}

static int parse_status_line(struct http_head *h, const char *p, size_t n, struct http_refusal *why)
{
	int status = 0;

	if (n < 12 || p[8] != ' ' || (n > 12 && p[12] != ' '))
		return refuse(why, 400, "the status line is not 'HTTP/1.1 NNN reason'");
	for (int i = 9; i < 12; i++) {
		if (p[i] < '0' || p[i] > '9')
			return refuse(why, 400, "the status is not three digits");
		status = status * 10 + (p[i] - '0');
	}
	if (status < 100 || status > 599)
		return refuse(why, 400, "the status is outside 100 to 599");
	h->status = status;
	h->reason = (struct http_str){ n > 13 ? p + 13 : p + n, n > 13 ? n - 13 : 0 };
	return parse_version(h, &(struct http_str){ p, 8 }, why);
}

static int parse_field_line(struct http_head *h, const char *p, size_t n, struct http_refusal *why)
{
	const char *colon = memchr(p, ':', n);
	struct http_head_field *f;

	if (n > HTTP_FIELD_MAX)
		return refuse(why, 431, "a header field is larger than 16 KiB");
	if (is_blank(p[0]))
		return refuse(why, 400, "a folded header line");
	if (!colon)
		return refuse(why, 400, "a header line without a colon");
	if (h->n_fields == HTTP_FIELDS_MAX)
		return refuse(why, 431, "more than 96 header fields");
	f = &h->fields[h->n_fields];
	f->name = (struct http_str){ p, (size_t)(colon - p) };
	f->value = (struct http_str){ colon + 1, (size_t)(p + n - colon - 1) };
	if (!is_token(&f->name))
		return refuse(why, 400, "a header name with a character that has no place there");
	trim(&f->value);
	h->n_fields++;
	return 0;
}

/* Cuts p[0..n) (ends in the empty line, all line ends checked) into its lines. */
static int cut_lines(struct http_head *h, const char *p, size_t n, struct http_refusal *why)
{
	size_t at = p[0] == '\r' ? 2 : 0; /* RFC 9112 §2.2: one empty line before is forgiven */
	bool first = true;

	while (at + 2 < n) {
		const char *cr = memchr(p + at, '\r', n - at); /* there is one: the head ends in CR LF */
		size_t len = cr ? (size_t)(cr - p) - at : 0;
		int err;

		if (!first)
			err = parse_field_line(h, p + at, len, why);
		else if (h->kind == HTTP_REQUEST)
			err = parse_request_line(h, p + at, len, why);
		else
			err = parse_status_line(h, p + at, len, why);
		if (err)
			return err;
		first = false;
		at += len + 2;
	}
	return first ? refuse(why, 400, "an empty head") : 0;
}

static int parse_length(const struct http_str *v, uint64_t *out)
{
	uint64_t n = 0;

	if (!v->n || v->n > 18)
		return -EPROTO;
	for (size_t i = 0; i < v->n; i++) {
		if (v->p[i] < '0' || v->p[i] > '9')
			return -EPROTO;
		n = n * 10 + (uint64_t)(v->p[i] - '0');
	}
	*out = n;
	return 0;
}

static int note_length(struct http_head *h, const struct http_str *v, bool *seen, struct http_refusal *why)
{
	if (*seen)
		return refuse_framing(why, 400, "more than one Content-Length");
	if (parse_length(v, &h->body_bytes))
		return refuse_framing(why, 400, "Content-Length is not a decimal number");
	*seen = true;
	return 0;
}

static int note_coding(const struct http_str *v, bool *seen, struct http_refusal *why)
{
	if (*seen)
		return refuse_framing(why, 400, "more than one Transfer-Encoding");
	if (!http_str_is_nocase(v, "chunked"))
		return refuse_framing(why, http_list_has(v, "chunked") ? 400 : 501, "the only Transfer-Encoding spoken here is chunked");
	*seen = true;
	return 0;
}

static void frame_response(struct http_head *h, bool length, bool coding)
{
	if (h->to_head || h->status < 200 || h->status == 204 || h->status == 304)
		h->body = HTTP_BODY_NONE;
	else if (coding)
		h->body = HTTP_BODY_CHUNKED;
	else if (length)
		h->body = HTTP_BODY_LENGTH;
	else
		h->body = HTTP_BODY_CLOSE;
	if (h->body == HTTP_BODY_CLOSE)
		h->keep_alive = false;
}

static int check_expect(struct http_head *h, struct http_refusal *why)
{
	const struct http_str *expect = http_head_field(h, "Expect");

	if (!expect)
		return 0;
	if (!http_str_is_nocase(expect, "100-continue"))
		return refuse(why, 417, "the only expectation known here is 100-continue");
	h->expect_continue = h->minor > 0 && h->body != HTTP_BODY_NONE;
	return 0;
}

/* RFC 9112 §6: how the body is framed, and whether the connection goes on. */
static int frame(struct http_head *h, struct http_refusal *why)
{
	bool length = false, coding = false, close = false, upgrade = false;
	unsigned hosts = 0;
	int err = 0;

	for (unsigned i = 0; i < h->n_fields && !err; i++) {
		const struct http_head_field *f = &h->fields[i];

		if (http_str_is_nocase(&f->name, "Content-Length"))
			err = note_length(h, &f->value, &length, why);
		else if (http_str_is_nocase(&f->name, "Transfer-Encoding"))
			err = note_coding(&f->value, &coding, why);
		else if (http_str_is_nocase(&f->name, "Host"))
			hosts++;
		else if (http_str_is_nocase(&f->name, "Connection")) {
			close = close || http_list_has(&f->value, "close");
			upgrade = upgrade || http_list_has(&f->value, "upgrade");
		}
	}
	if (err)
		return err;
	if (length && coding)
		return refuse_framing(why, 400, "both Content-Length and Transfer-Encoding");
	if (coding && h->minor == 0)
		return refuse_framing(why, 400, "Transfer-Encoding in HTTP/1.0");
	h->keep_alive = h->minor > 0 && !close;
	h->upgrade = upgrade && http_head_field(h, "Upgrade") != NULL;
	if (h->kind == HTTP_RESPONSE) {
		frame_response(h, length, coding);
		return 0;
	}
	if (hosts > 1 || (hosts == 0 && h->minor > 0))
		return refuse(why, 400, hosts ? "more than one Host" : "no Host");
	h->body = coding ? HTTP_BODY_CHUNKED : length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
	return check_expect(h, why);
}

int http_head_parse(struct http_head *h, const void *p, size_t n, struct http_refusal *why)
{
	int err;

	if (n == 0)
		return -EAGAIN;
	err = find_end(h, p, n, why);
	if (err)
		return err;
	err = cut_lines(h, p, h->head_bytes, why);
	return err ? err : frame(h, why);
}
