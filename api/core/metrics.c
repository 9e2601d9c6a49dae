#include "api/core/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 32768u /* of one file: some hundred network cards */

static int open_proc(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC);
}

void metrics_open(struct metrics *m)
{
	const char *adapter = getenv("MICA_EGRESS_ADAPTER");

	if (!adapter || !*adapter)
		adapter = getenv("SLICER_EGRESS_ADAPTER");
	*m = (struct metrics){ .loadavg_fd = open_proc("/proc/loadavg"), .file_nr_fd = open_proc("/proc/sys/fs/file-nr"),
			       .sockstat_fd = open_proc("/proc/net/sockstat"), .net_dev_fd = open_proc("/proc/net/dev"),
			       .route_fd = open_proc("/proc/net/route") };
	snprintf(m->adapter, sizeof(m->adapter), "%s", adapter ? adapter : "");
}

void metrics_done(struct metrics *m)
{
	fd_close(&m->loadavg_fd);
	fd_close(&m->file_nr_fd);
	fd_close(&m->sockstat_fd);
	fd_close(&m->net_dev_fd);
	fd_close(&m->route_fd);
	free(m->counts);
	m->counts = NULL;
	m->n_counts = 0;
}

void metrics_launch(struct metrics *m, const char *group, unsigned code)
{
	struct launch_count *more;
	unsigned i = 0;

	while (i < m->n_counts && (m->counts[i].code != code || strcmp(m->counts[i].group, group) != 0))
		i++;
	if (i == LAUNCH_COUNTS_MAX)
		i--;
	if (i == m->n_counts) {
		more = realloc(m->counts, (i + 1) * sizeof(*more));
		if (!more) /* a count that is too low beats no launch */
			return;
		m->counts = more;
		more[i] = (struct launch_count){ .code = code };
		snprintf(more[i].group, sizeof(more[i].group), "%s", group);
		m->n_counts++;
	}
	m->counts[i].n++;
}

/* ---- what the kernel's files say ---- */

static bool to_u64(const char **at, uint64_t *out)
{
	char *end;

	*at += strspn(*at, " \t");
	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*out = strtoull(*at, &end, 10);
	*at = end;
	return errno == 0;
}

bool metrics_loads(const char *text, uint64_t out[3])
{
	for (unsigned i = 0; i < 3; i++) {
		uint64_t whole, part;

		if (!to_u64(&text, &whole) || whole > 1000000 || *text++ != '.')
			return false;
		if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
			return false;
		part = (uint64_t)(text[0] - '0') * 10 + (uint64_t)(text[1] - '0');
		out[i] = whole * 100 + part;
		text += 2;
	}
	return true;
}

bool metrics_route(const char *text, char adapter[32])
{
	while ((text = strchr(text, '\n'))) { /* the first line is a title; each round ends a line */
		char name[32], to[16], mask[16], gw[16];
		unsigned flags, refs, use, metric;

		text++;
		if (sscanf(text, "%31s %15s %15s %x %u %u %u %15s", name, to, gw, &flags, &refs, &use, &metric, mask) == 8 &&
		    strcmp(to, "00000000") == 0 && strcmp(mask, "00000000") == 0 && (flags & 1)) {
			snprintf(adapter, 32, "%s", name);
			return true;
		}
	}
	return false;
}

bool metrics_traffic(const char *text, const char *adapter, uint64_t *rx, uint64_t *tx)
{
	size_t n = strlen(adapter);

	for (; n && text; text = strchr(text, '\n')) { /* each round ends a line */
		uint64_t skipped;

		text += strspn(text, " \n");
		if (strncmp(text, adapter, n) != 0 || text[n] != ':')
			continue;
		text += n + 1;
		if (!to_u64(&text, rx))
			return false;
		for (unsigned i = 0; i < 7; i++)
			if (!to_u64(&text, &skipped))
				return false;
		return to_u64(&text, tx);
	}
	return false;
}

bool metrics_word(const char *text, const char *before, uint64_t *out)
{
	const char *at = strstr(text, before);

	if (!at)
		return false;
	at += strlen(before);
	return to_u64(&at, out);
}

/* false: no file, or nothing in it. */
static bool read_text(int fd, char *text)
{
	ssize_t n = fd < 0 ? 0 : pread_full(fd, text, TEXT_MAX - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	return true;
}

static void put_traffic(const struct metrics *m, char *text, struct buf *b)
{
	char adapter[32];
	uint64_t rx, tx;

	snprintf(adapter, sizeof(adapter), "%s", m->adapter);
	if (!adapter[0] && (!read_text(m->route_fd, text) || !metrics_route(text, adapter)))
		return;
	if (!read_text(m->net_dev_fd, text) || !metrics_traffic(text, adapter, &rx, &tx))
		return;
	wire_u64(b, C_T_EGRESS_TX, tx);
	wire_u64(b, C_T_EGRESS_RX, rx);
}

void metrics_put_host(const struct metrics *m, struct buf *b)
{
	char *text = malloc(TEXT_MAX);
	uint64_t v, loads[3];

	if (!text)
		return;
	if (read_text(m->loadavg_fd, text) && metrics_loads(text, loads)) {
		wire_u64(b, C_T_LOAD_1, loads[0]);
		wire_u64(b, C_T_LOAD_5, loads[1]);
		wire_u64(b, C_T_LOAD_15, loads[2]);
	}
	if (read_text(m->file_nr_fd, text) && metrics_word(text, "", &v))
		wire_u64(b, C_T_OPEN_FILES, v);
	if (read_text(m->sockstat_fd, text) && metrics_word(text, "TCP: inuse ", &v))
		wire_u64(b, C_T_OPEN_SOCKETS, v);
	put_traffic(m, text, b);
	free(text);
}
