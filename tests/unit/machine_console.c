#include "vmm/machine/console.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/tap.h"

static unsigned pendings;

static void pending(void *arg)
{
	(void)arg;
	pendings++;
}

static void say(struct console *c, const char *s)
{
	while (*s)
		console_byte(c, (uint8_t)*s++);
}

static uint64_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_size;
}

static void test_lines(void)
{
	struct console c;
	int fd = memfd_new("console");
	char got[64] = "", words[CONSOLE_PANIC_BYTES];

	ok(!console_init(&c, fd, pending, NULL, NULL), "a console on a file");
	say(&c, "one\ntw");
	ok(pread_full(fd, got, 63, 0) == 4 && pendings == 2, "a whole line is written, a begun one is announced");
	console_flush(&c);
	ok(pread_full(fd, got, 63, 0) == 6 && !memcmp(got, "one\ntw", 6), "and written when asked for");
	ok(!console_panic_text(&c, words) && !console_said_restart(&c), "nothing special was said");
	say(&c, "[ 1] KKernel panic - not syncing: Fatal exception\n---[ end Kernel panic - not syncing: Fatal exception ]---\n");
	ok(console_panic_text(&c, words) && !strcmp(words, "Fatal exception"), "a panic's own words, the first ones");
	say(&c, "reboot: Restarting system\n");
	ok(console_said_restart(&c), "an announced restart");
	close(fd);
}

static void test_bound(void)
{
	struct console c;
	int fd = memfd_new("console");
	char line[64], first[64] = "", last[64] = "";
	uint64_t most = 0;
	unsigned n = 0, begin;

	console_init(&c, fd, pending, NULL, NULL);
	while (c.bytes < 40u << 20) {
		snprintf(line, sizeof(line), "line %010u %0*d\n", n++, 40, 0);
		say(&c, line);
		if (size_of(fd) > most)
			most = size_of(fd);
	}
	ok(most <= CONSOLE_MAX_BYTES && size_of(fd) >= CONSOLE_MAX_BYTES / 2, "40 MiB of output: never more than 16 MiB, at least 8 MiB");
	pread_full(fd, first, sizeof(first) - 1, 0);
	pread_full(fd, last, sizeof(last) - 1, size_of(fd) - strlen(line));
	begin = (unsigned)strtoul(strchr(first, '\n') + 6, NULL, 10);
	ok(!strcmp(last, line) && begin > 0 && begin < n, "the newest is at the end, in order");
	ok(c.lost_bytes == 0, "none was lost to the host");
	close(fd);
}

static void test_pipe(void)
{
	struct console c;
	uint64_t bytes, lost;
	int p[2];

	if (pipe(p))
		return;
	ok(!console_init(&c, p[1], pending, NULL, NULL), "a console on a pipe that nobody reads");
	for (unsigned i = 0; i < 300000; i++)
		console_byte(&c, '\n');
	console_counts(&c, &bytes, &lost);
	ok(bytes == 300000 && lost > 0 && lost < bytes, "does not wait; what is lost is counted");
	ok(!console_init(&c, -1, pending, NULL, NULL), "no console at all");
	say(&c, "x\n");
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	test_lines();
	test_bound();
	test_pipe();
	return tap_done();
}
