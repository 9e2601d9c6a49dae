#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/base/buf.h"
#include "tests/unit/tap.h"

static void bounds(void)
{
	struct buf b;
	buf_init(&b, 8);
	ok(buf_add(&b, "123456789", 9) == -ENOBUFS && b.failed && buf_len(&b) == 0, "more than max is refused");
	ok(buf_add(&b, "1", 1) != 0, "a failed buffer stays failed");
	buf_clear(&b);
	ok(buf_add(&b, "12345678", 8) == 0 && buf_add(&b, "9", 1) == -ENOBUFS && buf_len(&b) == 8, "exactly max fits");
	buf_done(&b);
}

static void queue(void)
{
	struct buf b;
	uint64_t in = 0, out = 0;
	bool same = true;
	buf_init(&b, 1 << 16);
	for (int i = 0; i < 20000; i++) {
		uint8_t chunk[97];
		size_t n = (size_t)(i * 7) % sizeof chunk;
		for (size_t k = 0; k < n; k++)
			chunk[k] = (uint8_t)in++;
		buf_add(&b, chunk, n);
		size_t eat = buf_len(&b) * 3 / 4;
		for (size_t k = 0; k < eat; k++)
			same = same && buf_data(&b)[k] == (uint8_t)out++;
		buf_eat(&b, eat);
	}
	ok(same && !b.failed && b.cap <= 4096, "a queue keeps order and stays small (cap %zu)", b.cap);
	buf_clear(&b);
	ok(buf_printf(&b, "%s-%d", "vm", 12) == 0 && strcmp(buf_cstr(&b), "vm-12") == 0 && buf_len(&b) == 5, "printf and cstr");
	buf_done(&b);
}

static void files(void)
{
	char dir[] = "/tmp/mica-unit-XXXXXX";
	char *text = NULL;
	size_t n = 0;
	if (!mkdtemp(dir))
		return;
	int d = open(dir, O_RDONLY | O_DIRECTORY);
	ok(write_file_atomic(d, "record", "one", 3, 0600) == 0 && write_file_atomic(d, "record", "three", 5, 0600) == 0, "atomic write, twice");
	ok(read_file_at(d, "record", 100, &text, &n) == 0 && n == 5 && strcmp(text, "three") == 0, "and read back");
	free(text);
	ok(read_file_at(d, "record", 4, &text, &n) == -EFBIG, "a file over its cap is refused");
	ok(symlinkat("/etc/passwd", d, "out") == 0 && open_beneath(d, "out", O_RDONLY, 0) == -ELOOP, "no symbolic link is followed");
	ok(open_beneath(d, "../../etc/passwd", O_RDONLY, 0) == -EXDEV && open_beneath(d, "/etc/passwd", O_RDONLY, 0) == -EXDEV, "no way out of the folder");
	unlinkat(d, "record", 0);
	unlinkat(d, "out", 0);
	close(d);
	rmdir(dir);
}

int main(void)
{
	bounds();
	queue();
	files();
	return tap_done();
}
