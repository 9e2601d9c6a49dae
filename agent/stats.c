#include "agent/agent.h"

#include <fcntl.h>
#include <stdio.h>
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

/* Our disks are vda, vdb …: fields 6 and 10 are sectors read and written, 12 requests in flight. */
static void put_disks(struct buf *b)
{
	char *t = proc("/proc/diskstats"), name[32];
	uint64_t rd = 0, wr = 0, busy = 0;
	for (char *line = t; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned long long v[9];
		if (sscanf(line, " %*u %*u %31s %llu %llu %llu %llu %llu %llu %llu %llu %llu", name, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
			   &v[6], &v[7], &v[8]) != 10 || strncmp(name, "vd", 2) != 0 || strlen(name) != 3)
			continue;
		rd += v[2] * 512;
		wr += v[6] * 512;
		busy += v[8];
	}
	wire_u64(b, A_T_STAT_DISK_READ, rd);
	wire_u64(b, A_T_STAT_DISK_WRITE, wr);
	wire_u64(b, A_T_STAT_DISK_INFLIGHT, busy);
	free(t);
}

static void put_network(struct buf *b)
{
	char *t = proc("/proc/net/dev");
	uint64_t rx = 0, tx = 0;
	for (char *line = t; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned long long r, w;
		char *colon = memchr(line, ':', strcspn(line, "\n"));
		if (!colon || sscanf(colon + 1, " %llu %*u %*u %*u %*u %*u %*u %*u %llu", &r, &w) != 2)
			continue;
		line += strspn(line, " ");
		if (strncmp(line, "lo:", 3) == 0)
			continue;
		rx += r;
		tx += w;
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
	bool has_code, ran = userdata_state(c->a, &has_code, &code);
	buf_init(&b, 4096);
	size_t mark = wire_begin(&b, A_HEALTH_IS, m->id);
	wire_u64(&b, A_T_UPTIME_NS, now_mono_ns() - c->a->started_ns);
	wire_u64(&b, A_T_SYS_UPTIME_NS, system_uptime_ns());
	wire_str(&b, A_T_VERSION, MICA_VERSION);
	wire_u64(&b, A_T_USERDATA_RAN, ran && has_code);
	if (has_code)
		wire_u64(&b, A_T_USERDATA_CODE, code);
	answer(c, &b, mark);
}
