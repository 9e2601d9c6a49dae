/* Chunked bodies with any bytes: whole and byte by byte must give the same body, end and verdict. */
#include <stdlib.h>
#include <string.h>
#include "lib/http/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct result {
	int r;
	size_t eaten, body;
	uint32_t sum;
};

static struct result decode(const uint8_t *p, size_t n, size_t piece)
{
	struct http_chunked c = { 0 };
	struct result out = { 0, 0, 0, 0 };

	while (out.eaten < n && out.r >= 0 && out.r != 2) {
		size_t take = n - out.eaten < piece ? n - out.eaten : piece, used, data_n;
		const uint8_t *data;

		out.r = http_chunked_step(&c, p + out.eaten, take, &used, &data, &data_n);
		if (used > take || (out.r == 0 && used != take))
			abort();
		for (size_t i = 0; out.r == 1 && i < data_n; i++)
			out.sum = out.sum * 31 + data[i];
		out.body += out.r == 1 ? data_n : 0;
		out.eaten += used;
	}
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct result a = decode(p, n, n), b = decode(p, n, 1);

	if ((a.r < 0) != (b.r < 0) || (a.r == 2) != (b.r == 2) || a.body != b.body || a.sum != b.sum)
		abort();
	if (a.r == 2 && a.eaten != b.eaten)
		abort();
	return 0;
}
