/* Forward specs (contract §4.5), by the number of parts between their colons. */
#include "cli/forward.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PARTS_MAX 4u

struct part {
	const char *p;
	size_t n;
};

/* "[::1]:80" has one colon that counts. Returns how many parts, PARTS_MAX + 1 for more, 0 for a stray bracket. */
static unsigned cut(const char *text, struct part out[PARTS_MAX])
{
	unsigned n = 0;
	bool inside = false;
	const char *from = text;
	for (const char *p = text;; p++) {
		if ((*p == '[' && (inside || p != from)) || (*p == ']' && (!inside || (p[1] && p[1] != ':'))))
			return 0;
		inside = *p == '[' || (inside && *p != ']');
		if (*p && (*p != ':' || inside))
			continue;
		if (n == PARTS_MAX)
			return PARTS_MAX + 1;
		out[n++] = (struct part){ from, (size_t)(p - from) };
		from = p + 1;
		if (!*p)
			return inside ? 0 : n;
	}
}

static bool is_path(struct part p)
{
	return p.n > 1 && (p.p[0] == '/' || (p.n > 2 && p.p[0] == '.' && (p.p[1] == '/' || (p.p[1] == '.' && p.p[2] == '/'))));
}

static bool read_port(struct part p, uint16_t min, uint16_t *out)
{
	char text[8];
	uint64_t n;
	if (!p.n || p.n >= sizeof(text))
		return false;
	memcpy(text, p.p, p.n);
	text[p.n] = 0;
	if (parse_u64(text, 65535, &n) || n < min)
		return false;
	*out = (uint16_t)n;
	return true;
}

/* A host is a name or an address; digits alone are a port that stands in the wrong place. */
static bool read_host(struct part p, char out[256])
{
	bool digits = true;
	if (p.n > 2 && p.p[0] == '[')
		p = (struct part){ p.p + 1, p.n - 2 };
	if (!p.n || p.n >= 256 || memchr(p.p, '/', p.n))
		return false;
	for (size_t i = 0; i < p.n; i++) {
		if ((unsigned char)p.p[i] < 0x21 || p.p[i] == 0x7f)
			return false;
		digits = digits && p.p[i] >= '0' && p.p[i] <= '9';
	}
	memcpy(out, p.p, p.n);
	out[p.n] = 0;
	return !digits;
}

static int bad(struct fault *f, const char *what, struct part p)
{
	return fault_set(f, -EINVAL, "'%.*s' is no %s", (int)(p.n < 100 ? p.n : 100), p.p, what);
}

static int listen_tcp(struct forward_spec *s, struct part host, struct part port, uint16_t min, struct fault *f)
{
	if (!read_host(host, s->host))
		return bad(f, "host", host);
	return read_port(port, min, &s->port) ? 0 : bad(f, "port", port);
}

static int upstream_tcp(struct forward_spec *s, struct part host, struct part port, struct fault *f)
{
	char name[256];
	uint16_t number;
	if (!read_host(host, name))
		return bad(f, "host", host);
	if (!read_port(port, 1, &number))
		return bad(f, "port", port);
	snprintf(s->upstream, sizeof(s->upstream), "%.*s:%u", (int)host.n, host.p, number);
	return 0;
}

static int upstream_unix(struct forward_spec *s, struct part path, struct fault *f)
{
	if (path.p[0] != '/')
		return fault_set(f, -EINVAL, "a socket in the guest needs its full path, not '%.*s'", (int)(path.n < 100 ? path.n : 100), path.p);
	if (path.n >= sizeof(s->path))
		return fault_set(f, -ENAMETOOLONG, "a unix socket's path has at most 107 bytes");
	snprintf(s->upstream, sizeof(s->upstream), "unix:%.*s", (int)path.n, path.p);
	return 0;
}

static int listen_path(struct forward_spec *s, struct part path, struct fault *f)
{
	if (path.n >= sizeof(s->path))
		return fault_set(f, -ENAMETOOLONG, "a unix socket's path has at most 107 bytes");
	s->listen_unix = true;
	memcpy(s->path, path.p, path.n);
	s->path[path.n] = 0;
	return 0;
}

int forward_spec_parse(struct forward_spec *s, const char *text, struct fault *f)
{
	static const struct part any = { "0.0.0.0", 7 };
	struct part p[PARTS_MAX];
	*s = (struct forward_spec){ 0 };
	unsigned n = cut(text, p);
	int err = fault_set(f, -EINVAL, "it has none of the known forms");
	if (n == 2 && is_path(p[1]))
		err = is_path(p[0]) ? listen_path(s, p[0], f) : listen_tcp(s, any, p[0], 0, f);
	else if (n == 2)
		err = listen_tcp(s, p[0], p[1], 1, f);
	else if (n == 3 && is_path(p[2]))
		err = listen_tcp(s, p[0], p[1], 0, f);
	else if (n == 3)
		err = listen_tcp(s, p[1], p[0], 0, f); /* the middle host, as the SDK does */
	else if (n == 4)
		err = listen_tcp(s, p[0], p[1], 0, f);
	if (err)
		return err;
	return is_path(p[n - 1]) ? upstream_unix(s, p[n - 1], f) : upstream_tcp(s, p[n - 2], p[n - 1], f);
}
