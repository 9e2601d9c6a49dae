/* WebSocket frames with any bytes: whole and byte by byte must tell the same story. First byte: odd = the peer masks. */
#include <stdlib.h>
#include <string.h>
#include "lib/http/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct story {
	int r, code;
	uint32_t sum, messages, controls;
	uint64_t bytes;
};

static struct story read_all(const uint8_t *src, size_t n, size_t piece, bool masks)
{
	struct story s = { 0, 0, 0, 0, 0, 0 };
	struct ws_decoder d;
	struct ws_event e;
	uint8_t *p = malloc(n + 1);
	size_t at = 0;

	if (!p)
		abort();
	if (n)
		memcpy(p, src, n);
	ws_decoder_init(&d, masks, 4096);
	while (at < n && s.r >= 0) {
		size_t take = n - at < piece ? n - at : piece, used;

		s.r = ws_step(&d, p + at, take, &used, &e);
		if (used > take || (s.r == 0 && used != take))
			abort();
		at += used;
		if (s.r != 1)
			continue;
		for (size_t i = 0; i < e.n; i++)
			s.sum = s.sum * 31 + e.data[i];
		s.bytes += e.n;
		s.controls += e.op >= WS_CLOSE;
		s.messages += e.op < WS_CLOSE && e.last;
	}
	s.code = s.r < 0 ? d.close_code : 0;
	free(p);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct story a, b;

	if (n == 0)
		return 0;
	a = read_all(p + 1, n - 1, n, p[0] & 1);
	b = read_all(p + 1, n - 1, 1, p[0] & 1);
	if ((a.r < 0) != (b.r < 0) || a.code != b.code || a.sum != b.sum || a.bytes != b.bytes || a.messages != b.messages ||
	    a.controls != b.controls)
		abort();
	return 0;
}
