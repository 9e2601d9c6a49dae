#include "agent/agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define PROC_MAX_BYTES (256u * 1024)

/* A file of /proc as a string; "" when it cannot be read. Caller frees; NULL only without memory. */
static char *proc(const char *path)
{
	char *text;
	size_t n;
	if (read_file_at(AT_FDCWD, path, PROC_MAX_BYTES, &text, &n) < 0)
		return calloc(1, 1);
	return text;
}

/* The first number behind key; 0 when it does not stand there. */
static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void put_memory(struct buf *b)
{
	char *t = proc("/proc/meminfo");
	if (!t)
		return;
	uint64_t total = number_after(t, "MemTotal:") * 1024, avail = number_after(t, "MemAvailable:") * 1024;
	wire_u64(b, A_T_STAT_MEM_TOTAL, total);
	wire_u64(b, A_T_STAT_MEM_AVAIL, avail);
	wire_u64(b, A_T_STAT_MEM_USED, total > avail ? total - avail : 0);
	free(t);
}

/* "0.07 0.02 0.00 …" in hundredths. */
static void put_loads(struct buf *b)
{
	char *t = proc("/proc/loadavg"), *at = t;
	for (unsigned i = 0; at && i < 3; i++) {
		uint64_t whole = strtoull(at, &at, 10), part = *at == '.' ? strtoull(at + 1, &at, 10) : 0;
		wire_u64(b, (uint16_t)(A_T_STAT_LOAD1 + i), whole * 100 + part % 100);
	}
	free(t);
}

/* The n-th number (from 0) of a line, counting words from `at`; 0 when the line ends before. */
static uint64_t number_at(const char *at, unsigned n)
{
	for (unsigned i = 0;; i++) {
		at += strspn(at, " \t");
		if (*at == '\n' || *at == '\0')
			return 0;
		if (i == n)
			return strtoull(at, NULL, 10);
		at += strcspn(at, " \t\n");
	}
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return line + (*line == '\n');
}

/* Lines "254 0 vda reads merged sectors ms writes merged sectors ms in-flight …". Our disks are vda, vdb …; partitions and others have
 * longer names. */
static void put_disks(struct buf *b)
{
	char *t = proc("/proc/diskstats");
	uint64_t rd = 0, wr = 0, busy = 0;
	for (const char *line = t; line && *line; line = next_line(line)) {
		const char *name = strstr(line, " vd");
		if (!name || name > next_line(line) || name[4] != ' ')
			continue;
		rd += number_at(name + 5, 2) * 512;
		wr += number_at(name + 5, 6) * 512;
		busy += number_at(name + 5, 8);
	}
	wire_u64(b, A_T_STAT_DISK_READ, rd);
	wire_u64(b, A_T_STAT_DISK_WRITE, wr);
	wire_u64(b, A_T_STAT_DISK_INFLIGHT, busy);
	free(t);
}

/* Lines "  eth0: bytes packets … (8 of receiving) bytes … (of sending)". */
static void put_network(struct buf *b)
{
	char *t = proc("/proc/net/dev");
	uint64_t rx = 0, tx = 0;
	for (const char *line = t; line && *line; line = next_line(line)) {
		const char *name = line + strspn(line, " "), *colon = name + strcspn(name, ":\n");
		if (*colon != ':' || strncmp(name, "lo:", 3) == 0)
			continue;
		rx += number_at(colon + 1, 0);
		tx += number_at(colon + 1, 8);
	}
	wire_u64(b, A_T_STAT_NET_READ, rx);
	wire_u64(b, A_T_STAT_NET_WRITE, tx);
	free(t);
}

static void put_counts(struct buf *b)
{
	char *tcp = proc("/proc/net/sockstat"), *tcp6 = proc("/proc/net/sockstat6");
	char *files = proc("/proc/sys/fs/file-nr"), *entropy = proc("/proc/sys/kernel/random/entropy_avail");
	if (tcp && tcp6 && files && entropy) {
		wire_u64(b, A_T_STAT_OPEN_CONNS, number_after(tcp, "TCP: inuse ") + number_after(tcp6, "TCP6: inuse "));
		wire_u64(b, A_T_STAT_OPEN_FILES, strtoull(files, NULL, 10));
		wire_u64(b, A_T_STAT_ENTROPY, strtoull(entropy, NULL, 10));
	}
	free(tcp);
	free(tcp6);
	free(files);
	free(entropy);
}

static void put_space(struct buf *b)
{
	struct statvfs v;
	if (statvfs("/", &v) < 0)
		return;
	wire_u64(b, A_T_STAT_SPACE_TOTAL, (uint64_t)v.f_blocks * v.f_frsize);
	wire_u64(b, A_T_STAT_SPACE_USED, (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize);
	wire_u64(b, A_T_STAT_SPACE_FREE, (uint64_t)v.f_bavail * v.f_frsize);
}

static uint64_t system_uptime_ns(void)
{
	struct timespec ts = {0};
	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void answer(struct conn *c, struct buf *b, size_t mark)
{
	wire_end(b, mark);
	(void)buf_write_fd(b, c->fd);
	buf_done(b);
}

void stats_answer(struct conn *c, const struct wire_msg *m)
{
	struct buf b;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	buf_init(&b, 4096);
	size_t mark = wire_begin(&b, A_STATS_IS, m->id);
	wire_u64(&b, A_T_STAT_CPUS, cpus > 0 ? (uint64_t)cpus : 1);
	wire_u64(&b, A_T_SYS_UPTIME_NS, system_uptime_ns());
	put_memory(&b);
	put_loads(&b);
	put_disks(&b);
	put_network(&b);
	put_counts(&b);
	put_space(&b);
	answer(c, &b, mark);
}

void health_answer(struct conn *c, const struct wire_msg *m)
{
	struct buf b;
	uint64_t code;
	bool has_code, running, ran = userdata_state(c->a, &running, &has_code, &code);
	buf_init(&b, 4096);
	size_t mark = wire_begin(&b, A_HEALTH_IS, m->id);
	wire_u64(&b, A_T_UPTIME_NS, now_mono_ns() - c->a->started_ns);
	wire_u64(&b, A_T_SYS_UPTIME_NS, system_uptime_ns());
	wire_str(&b, A_T_VERSION, MICA_VERSION);
	wire_u64(&b, A_T_USERDATA_RAN, ran && !running);
	if (has_code)
		wire_u64(&b, A_T_USERDATA_CODE, code);
	answer(c, &b, mark);
}
