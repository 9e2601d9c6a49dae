#include "cli/lines.h"
#include "cli/out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int give(struct lines *l, const uint8_t *p, size_t n)
{
	int code = 0;
	while (n && !code) {
		const uint8_t *nl = memchr(p, '\n', n);
		size_t part = nl ? (size_t)(nl - p) : n;
		if (nl && !buf_len(&l->rest)) {
			code = l->line(l, (const char *)p, part);
		} else {
			if (buf_add(&l->rest, p, part))
				return out_error(l->fail, "a line of the answer is too long", "'mica info' shows the daemon's version", "%s", l->doing);
			if (nl) {
				code = l->line(l, (const char *)buf_data(&l->rest), buf_len(&l->rest));
				buf_clear(&l->rest);
			}
		}
		part += nl ? 1 : 0;
		p += part;
		n -= part;
	}
	return code;
}

static int refused(const struct remote *r, struct call *c, struct lines *l)
{
	struct buf text;
	struct fault f;
	buf_init(&text, 65536);
	call_body(c, &text, &f);
	int code = remote_refused(r, l->fail, c->head.status, &text, l->doing);
	buf_done(&text);
	return code;
}

/* Head and body of one answer. -ENOENT: no such VM, and nothing was said. */
static int take(const struct remote *r, struct call *c, struct lines *l, bool may_retry, int *code, struct fault *f)
{
	const uint8_t *p;
	size_t n;
	int err = call_wait_head(c, f), got = 2;
	if (!err && c->head.status == 404 && may_retry)
		return -ENOENT;
	if (!err && c->head.status >= 300) {
		*code = refused(r, c, l);
		return 0;
	}
	*code = 0;
	while (!err && !*code && (got = call_wait_piece(c, &p, &n, f)) == 1)
		*code = give(l, p, n);
	if (!err && got < 0)
		err = got;
	if (!err && !*code)
		*code = LINES_END;
	return err;
}

int lines_read(const struct remote *r, char vm[VM_NAME_MAX], const char *tail, struct lines *l)
{
	struct buf target;
	struct fault f = { "" };
	struct call *c = calloc(1, sizeof(*c));
	int err = c ? 0 : -ENOMEM, code = l->fail;
	buf_init(&target, HTTP_TARGET_MAX);
	buf_init(&l->rest, LINE_BYTES_MAX);
	for (int round = 0; round < 2 && !err; round++) {
		buf_clear(&target);
		vm_target(&target, vm, tail);
		err = buf_cstr(&target) ? call_open(c, r, "GET", buf_cstr(&target), CALL_NO_BODY, 0, NULL, &f) : -E2BIG;
		if (err)
			break;
		err = take(r, c, l, round == 0, &code, &f);
		call_done(c);
		if (err != -ENOENT || f.text[0])
			break;
		remote_friendly(r, vm, vm); /* when it is none, the second answer is the 404 to show */
		err = 0;
	}
	buf_done(&target);
	buf_done(&l->rest);
	free(c);
	return err ? remote_broken(r, l->fail, err, &f, l->doing) : code;
}
