/*
 * lib/arc: numbers, times, steps through data, and names of an archive: any bytes end in a value or a refusal, no read or write leaves its array, no
 * number wraps, every walk ends.
 * cbmc: --unwind 14 --unsigned-overflow-check
 *
 * Mutations it was seen to catch: number without `v >> 56`; parse_time without `unit /= 10`; step without `take > r->left`; tar_name_is_clean that looks for ".,". Extended
 * headers and patterns are too much for the solver: tests/fuzz/tar.c and glob.c have them.
 */
#include "tests/proof/proof.h"

#include <string.h>

/* The C library's, as the standard says them, where CBMC has none. */
size_t strcspn(const char *s, const char *reject)
{
	size_t n = 0;

	while (s[n] && s[n] != reject[0]) /* one byte is all that tar_read.c asks for */
		n++;
	return n;
}

void *memchr(const void *p, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)p)[i] == (unsigned char)c)
			return (void *)((const char *)p + i);
	return NULL;
}

#include "lib/arc/tar_read.c"

int fault_set(struct fault *f, int err, const char *fmt, ...)
{
	return err;
}

/* A number of a header: octal with blanks, or base 256. */
void proof_number(void)
{
	uint8_t field[12];
	uint64_t v = 0;
	size_t n = nondet_bool() ? 8 : 12;

	for (unsigned i = 0; i < sizeof(field); i++)
		field[i] = nondet_u8();
	if (number(field, n, &v) == 0) {
		PROVE(field[0] & 0x80 || v < 1ull << 36, "octal numbers are of 36 bits");
		PROVE(!(field[0] & 0x80) || n == 8 || (!field[1] && !field[2] && !field[3]), "others of 64");
	}
}

/* A time of an extended header. */
void proof_time(void)
{
	char text[12];
	size_t n = nondet_u64();
	int64_t s = 0;
	uint32_t ns = 0;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)nondet_u8();
	ASSUME(n <= sizeof(text));
	if (parse_time(text, n, &s, &ns) == 0)
		PROVE(ns < 1000000000, "nanoseconds are less than a second");
}

static int op_data(void *arg, const void *p, size_t n, struct fault *f)
{
	PROVE(n > 0 && __CPROVER_r_ok(p, n), "data that is passed on is there");
	return nondet_bool() ? 0 : -1;
}

static int op_end(void *arg, struct fault *f)
{
	return nondet_bool() ? 0 : -1;
}

static const struct tar_reader_ops ops = { .data = op_data, .end = op_end };

/* One step within data or between entries, from any counts: it uses what it says, goes on or refuses. */
static void one_step(enum tar_state state)
{
	static struct tar_reader r;
	uint8_t in[8];
	size_t n = nondet_u64();
	uint64_t left = nondet_u64(), pad = nondet_u64(), at = nondet_u64();
	ssize_t used;

	r = (struct tar_reader){ .ops = &ops, .state = state, .left = left, .pad = pad, .at = at, .data_bytes = at };
	ASSUME(n >= 1 && n <= sizeof(in) && pad < TAR_BLOCK_BYTES && left <= INT64_MAX && at <= INT64_MAX && (state != TAR_PAD || pad > 0));
	used = step(&r, in, n, NULL);
	PROVE(used < 0 || (size_t)used <= n, "no more is used than came");
	PROVE(used != 0 || r.state != state, "what uses nothing goes on to another state");
	PROVE(r.left <= left && r.pad <= pad, "what is still to come only shrinks");
	PROVE(used <= 0 || state == TAR_ENDED || r.left + r.pad + (uint64_t)used == left + pad, "by what was used");
}

void proof_step_data(void)
{
	one_step(TAR_DATA);
}

void proof_step_skip(void)
{
	one_step(TAR_SKIP);
}

void proof_step_pad(void)
{
	one_step(TAR_PAD);
}

/* Names that count as clean lead nowhere else. */
void proof_clean(void)
{
	char name[7];
	size_t n = 0, from = 0;

	for (unsigned i = 0; i < 6; i++)
		name[i] = nondet_bool() ? '/' : nondet_bool() ? '.' : (char)nondet_u8();
	name[6] = 0;
	if (!tar_name_is_clean(name))
		return;
	for (;; n++) {
		if (name[n] && name[n] != '/')
			continue;
		PROVE(n > from, "no part is empty");
		PROVE(!(n - from == 1 && name[from] == '.'), "no part is .");
		PROVE(!(n - from == 2 && name[from] == '.' && name[from + 1] == '.'), "no part is ..");
		if (!name[n])
			return;
		from = n + 1;
	}
}
