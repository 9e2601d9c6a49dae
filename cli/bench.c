#include "cli/bench.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct summary {
	uint64_t p50, p95, max; /* ns */
	unsigned n, failures;
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static struct summary sum_up(const struct bench *b, unsigned at_once)
{
	struct summary s = { 0 };
	uint64_t *ns = calloc(b->n_seen + 1, sizeof(*ns));
	unsigned good = 0;
	for (size_t i = 0; ns && i < b->n_seen; i++) {
		if (b->seen[i].at_once != at_once)
			continue;
		s.n++;
		if (b->seen[i].ok)
			ns[good++] = b->seen[i].ns;
		else
			s.failures++;
	}
	if (good) { /* nearest rank */
		qsort(ns, good, sizeof(*ns), by_size);
		s.p50 = ns[(good * 50 + 99) / 100 - 1];
		s.p95 = ns[(good * 95 + 99) / 100 - 1];
		s.max = ns[good - 1];
	}
	free(ns);
	return s;
}

static void time_cell(struct table *t, const struct summary *s, uint64_t ns)
{
	if (s->n == s->failures)
		table_cell(t, "-");
	else
		table_cell(t, "%.1fms", (double)ns / 1e6);
}

void bench_print_table(const struct bench *b)
{
	static const char *const titles[] = { "CONCURRENCY", "P50", "P95", "MAX", "FAILURES" };
	struct table t;
	table_init(&t, ARRAY_LEN(titles), titles);
	for (unsigned i = 0; i < b->n_levels; i++) {
		struct summary s = sum_up(b, b->levels[i]);
		table_cell(&t, "%u", b->levels[i]);
		time_cell(&t, &s, s.p50);
		time_cell(&t, &s, s.p95);
		time_cell(&t, &s, s.max);
		table_cell(&t, "%u", s.failures);
	}
	table_print(&t, stdout);
}

/* What was measured, when, with what. */
static void put_receipt(const struct bench *b, struct json_out *o)
{
	static const char *const keys[] = { "version", "git_commit", "platform", "arch" };
	struct answer an;
	struct utsname u;
	struct remote r = b->r;
	char now[RFC3339_MAX];
	r.cancel_fd = -1;
	rfc3339_format(now_real_ns(), now);
	json_obj(o, "receipt");
	json_put_str(o, "id", b->id);
	json_put_str(o, "started_at", b->started);
	json_put_str(o, "finished_at", now);
	json_put_str(o, "client_version", MICA_VERSION);
	if (!uname(&u))
		json_put_str(o, "client_kernel", u.release);
	json_put_i64(o, "client_cpus", sysconf(_SC_NPROCESSORS_ONLN));
	if (!remote_ask(&r, "GET", "/info", NULL, &an)) {
		json_obj(o, "daemon");
		for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
			const char *s;
			if (!json_get_str(json_root(&an.json), keys[i], &s))
				json_put_str(o, keys[i], s);
		}
		json_end(o);
		answer_done(&an);
	}
	json_end(o);
}

static void put_config(const struct bench *b, struct json_out *o)
{
	json_obj(o, "config");
	json_put_str(o, "hostgroup", b->group);
	json_arr(o, "concurrency");
	for (unsigned i = 0; i < b->n_levels; i++)
		json_put_u64(o, NULL, b->levels[i]);
	json_end(o);
	json_put_u64(o, "runs", b->runs);
	json_put_str(o, "wait", b->wait ? b->wait : "none");
	json_put_str(o, "timeout", b->timeout);
	json_put_bool(o, "keep", b->keep);
	json_end(o);
}

int bench_print_json(const struct bench *b)
{
	struct buf text;
	struct json_out o;
	buf_init(&text, REPLY_MAX);
	json_out_init(&o, &text);
	json_obj(&o, NULL);
	put_receipt(b, &o);
	put_config(b, &o);
	json_arr(&o, "observations");
	for (size_t i = 0; i < b->n_seen; i++) {
		const struct observation *s = &b->seen[i];
		json_obj(&o, NULL);
		json_put_u64(&o, "concurrency", s->at_once);
		json_put_u64(&o, "run", s->run);
		json_put_str(&o, "hostname", s->hostname);
		json_put_real(&o, "duration_ms", (double)(s->ns / 1000) / 1e3);
		json_put_bool(&o, "ok", s->ok);
		if (!s->ok)
			json_put_str(&o, "error", s->error);
		json_end(&o);
	}
	json_end(&o);
	json_arr(&o, "summary");
	for (unsigned i = 0; i < b->n_levels; i++) {
		struct summary s = sum_up(b, b->levels[i]);
		json_obj(&o, NULL);
		json_put_u64(&o, "concurrency", b->levels[i]);
		json_put_u64(&o, "count", s.n);
		json_put_real(&o, "p50_ms", (double)(s.p50 / 1000) / 1e3);
		json_put_real(&o, "p95_ms", (double)(s.p95 / 1000) / 1e3);
		json_put_real(&o, "max_ms", (double)(s.max / 1000) / 1e3);
		json_put_u64(&o, "failures", s.failures);
		json_end(&o);
	}
	json_end(&o);
	json_end(&o);
	bool failed = !buf_cstr(&text);
	if (!failed)
		printf("%s\n", buf_cstr(&text));
	buf_done(&text);
	return failed ? out_error(EXIT_FAIL, strerror(ENOMEM), "ask for fewer runs", "cannot print the results") : 0;
}
