#include "cli/forward.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The table of the contract's §4.5, and what stands around it. */
static const struct {
	const char *spec, *listen, *upstream; /* listen: "host:port" or a path; NULL: refused */
} rows[] = {
	{ "127.0.0.1:9000", "127.0.0.1:9000", "127.0.0.1:9000" },
	{ "9001:127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9000" },
	{ "0:127.0.0.1:9000", "127.0.0.1:0", "127.0.0.1:9000" },
	{ "0.0.0.0:9000:127.0.0.1:9000", "0.0.0.0:9000", "127.0.0.1:9000" },
	{ "127.0.0.1:9000:/run/x.sock", "127.0.0.1:9000", "unix:/run/x.sock" },
	{ "9000:/run/x.sock", "0.0.0.0:9000", "unix:/run/x.sock" },
	{ "/tmp/a.sock:/run/x.sock", "/tmp/a.sock", "unix:/run/x.sock" },
	{ "./a.sock:/run/x.sock", "./a.sock", "unix:/run/x.sock" },
	{ "../a.sock:/run/x.sock", "../a.sock", "unix:/run/x.sock" },
	{ "localhost:80", "localhost:80", "localhost:80" },
	{ "0:[::1]:80", "::1:0", "[::1]:80" },
	{ "[::]:9000:127.0.0.1:80", ":::9000", "127.0.0.1:80" },
	{ "", NULL, NULL }, { ":", NULL, NULL }, { "9000", NULL, NULL }, { "host", NULL, NULL }, { "9000:9001", NULL, NULL },
	{ "127.0.0.1:0", NULL, NULL }, { "127.0.0.1:65536", NULL, NULL }, { "127.0.0.1:-1", NULL, NULL }, { "127.0.0.1:80x", NULL, NULL },
	{ "1:127.0.0.1:0", NULL, NULL }, { "65536:127.0.0.1:1", NULL, NULL }, { ":127.0.0.1:80", NULL, NULL }, { "1::80", NULL, NULL },
	{ "a:1:b:2:c", NULL, NULL }, { "/tmp/a.sock", NULL, NULL }, { "/tmp/a.sock:127.0.0.1:80", NULL, NULL }, { "80:./rel.sock", NULL, NULL },
	{ "1:[::1:80", NULL, NULL }, { "1:::1]:80", NULL, NULL }, { "1:[::1]x:80", NULL, NULL }, { "1:a b:80", NULL, NULL }, { "1:a\nb:80", NULL, NULL },
};

int main(void)
{
	char where[400], path[300];
	struct forward_spec s;
	struct fault f;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		f.text[0] = 0;
		int err = forward_spec_parse(&s, rows[i].spec, &f);
		if (!rows[i].listen) {
			ok(err == -EINVAL && f.text[0], "refused: %s", strchr(rows[i].spec, '\n') ? "a line break" : rows[i].spec);
			continue;
		}
		snprintf(where, sizeof(where), s.listen_unix ? "%s" : "%s:%u", s.listen_unix ? s.path : s.host, s.port);
		ok(!err && !strcmp(where, rows[i].listen) && !strcmp(s.upstream, rows[i].upstream), "%s", rows[i].spec);
	}
	memset(path, 'a', sizeof(path));
	memcpy(path, "9:/", 3);
	path[109] = 0;
	ok(!forward_spec_parse(&s, path, &f) && strlen(s.upstream) == 5 + 107, "a path of 107 bytes");
	path[109] = 'a', path[110] = 0;
	ok(forward_spec_parse(&s, path, &f) == -ENAMETOOLONG, "a path of 108 bytes");
	return tap_done();
}
