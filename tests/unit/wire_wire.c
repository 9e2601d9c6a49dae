#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/wire/wire.h"
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"

static void refusals(void)
{
	struct wire_msg m;
	size_t used;
	uint8_t head[20] = {8, 0, 0, 0, 5};
	ok(wire_parse(head, 11, &m, &used) == -EAGAIN && wire_parse(head, 19, &m, &used) == -EAGAIN, "a part of a frame asks for more");
	ok(wire_parse(head, 20, &m, &used) == 0 && used == 20, "an empty field is a frame");
	head[16] = 1;
	ok(wire_parse(head, 20, &m, &used) == -EPROTO, "a field that runs off the frame");
	head[16] = 0xff, head[19] = 0xff;
	ok(wire_parse(head, 20, &m, &used) == -EPROTO, "a field of 4 GiB");
	memset(head, 0, sizeof head);
	head[0] = 7;
	ok(wire_parse(head, 20, &m, &used) == -EPROTO, "a field head that is cut");
	head[0] = 8, head[14] = 1;
	ok(wire_parse(head, 20, &m, &used) == -EPROTO, "a reserved field that is not zero");
	memset(head, 0, sizeof head);
	head[2] = 2;
	ok(wire_parse(head, 20, &m, &used) == -EPROTO, "a frame over the cap is refused before its bytes come");
}

static void round_trip(void)
{
	struct buf b;
	struct wire_msg m, sub;
	struct wire_field f;
	uint64_t v = 0;
	char s[8];
	size_t used;
	buf_init(&b, 1 << 20);
	size_t mark = wire_begin(&b, 77, 4000000000u);
	wire_u64(&b, 20, 0x1122334455667788ull);
	wire_str(&b, 21, "demo-1");
	wire_str(&b, 22, NULL);
	size_t rec = wire_open(&b, 23);
	wire_u64(&b, 1, 5);
	wire_close(&b, rec);
	wire_bytes(&b, 24, "a\0b", 3);
	ok(wire_end(&b, mark) == 0, "a frame is made");
	ok(wire_parse(buf_data(&b), buf_len(&b), &m, &used) == 0 && used == buf_len(&b) && m.type == 77 && m.id == 4000000000u, "and parsed");
	ok(wire_get_u64(&m, 20, &v) && v == 0x1122334455667788ull, "u64");
	ok(wire_get_str(&m, 21, s, sizeof s) == 0 && strcmp(s, "demo-1") == 0, "string");
	ok(wire_get_str(&m, 21, s, 6) == -EMSGSIZE && wire_get_str(&m, 24, s, 8) == -EINVAL && wire_get_str(&m, 22, s, 8) == -ENOENT, "string refusals");
	ok(wire_get(&m, 23, &f) && wire_sub(&f, &sub) == 0 && wire_get_u64(&sub, 1, &v) && v == 5, "a record inside");
	ok(wire_get(&m, 24, &f) && wire_field_dup(&f) == NULL && wire_sub(&f, &sub) == -EPROTO, "bytes are no string and no record");
	ok(!wire_get_u64(&m, 21, &v), "a string is no number");

	size_t before = buf_len(&b);
	static uint8_t big[40000];
	mark = wire_begin(&b, 1, 1);
	wire_bytes(&b, 1, big, sizeof big);
	wire_bytes(&b, 1, big, sizeof big);
	ok(wire_end(&b, mark) == -EMSGSIZE && buf_len(&b) == before, "an oversize frame is taken back");
	buf_done(&b);
}

/* A writer appends freely and checks once. */
static void no_room(void)
{
	static uint8_t big[WIRE_PAYLOAD_MAX + 1];
	struct wire_field f = {.p = (const uint8_t *)"ab", .n = 2};
	struct buf b;
	buf_init(&b, 16);
	size_t mark = wire_begin(&b, 1, 1), rec;
	rec = wire_open(&b, 2);
	wire_u64(&b, 3, 4);
	wire_close(&b, rec);
	ok(b.failed && wire_end(&b, mark) == -ENOBUFS, "a frame over the buffer's cap");
	buf_done(&b);
	buf_init(&b, 4);
	mark = wire_begin(&b, 1, 1);
	ok(b.failed && wire_end(&b, mark) == -ENOBUFS, "not even room for a head");
	buf_done(&b);
	buf_init(&b, 1 << 20);
	mark = wire_begin(&b, 1, 1);
	wire_bytes(&b, 1, big, sizeof big);
	ok(wire_end(&b, mark) == -ENOBUFS, "a field longer than any frame");
	buf_done(&b);
	induce(INDUCE_malloc, 0, ENOMEM);
	ok(!wire_field_dup(&f) && induced(), "no memory for a copy");
}

int main(void)
{
	refusals();
	round_trip();
	no_room();
	return tap_done();
}
