/* What the agent says of its machine: health and stats. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

static void agent_late(struct req *r)
{
	reply_error(r, 503, "the agent did not answer in time");
}

static void agent_lost(struct req *r)
{
	reply_error(r, 503, "the agent went away");
}

static void set_deadline(struct req *r, void (*late)(struct req *))
{
	r->deadline_ms = now_mono_ms() + AGENT_ANSWER_MS;
	r->on_deadline = late;
}

/* ---- health ---- */

static void health_frame(struct req *r, const struct wire_msg *m)
{
	struct json_out o;
	struct buf b;

	if (m->type != A_HEALTH_IS) {
		reply_refusal(r, m);
		return;
	}
	buf_init(&b, 4096);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "hostname", r->vars[0]);
	if (r->state)
		json_put_str(&o, "ip", r->state);
	put_field_u64(&o, "agent_uptime", m, A_T_UPTIME_NS);
	put_field_str(&o, "agent_version", m, A_T_VERSION);
	put_field_u64(&o, "system_uptime", m, A_T_SYS_UPTIME_NS);
	put_field_bool(&o, "userdata_ran", m, A_T_USERDATA_RAN);
	put_field_u64(&o, "userdata_exit_code", m, A_T_USERDATA_CODE);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

static const struct agent_ops health_ops = { health_frame, agent_lost, NULL };

static void health_opened(struct req *r)
{
	stream_begin(r, A_HEALTH);
	stream_send(r);
}

static void health_connected(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct wire_field ip;

	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	r->state = wire_get(m, C_T_IP, &ip) ? wire_field_dup(&ip) : NULL;
	r->state_done = free;
	stream_adopt(r, fds, n_fds);
}

void h_health(struct req *r)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	set_deadline(r, agent_late);
	stream_open_with(r, vm, true, &health_ops, health_opened, health_connected);
}

/* ---- stats: first the list of VMs, then one after the other ---- */

struct stat_vm {
	char name[64], ip[64];
	uint64_t created_ns;
	bool running;
};
struct stats {
	struct stat_vm *vms; /* owned */
	unsigned n, cap, at;
};

static void stats_done(void *state)
{
	struct stats *s = state;

	free(s->vms);
	free(s);
}

static void stats_next(struct req *r);

/* "6m53s", as Go prints durations of whole seconds. */
static void go_duration(uint64_t seconds, char out[32])
{
	unsigned long long h = seconds / 3600, m = seconds / 60 % 60, s = seconds % 60;

	if (h)
		snprintf(out, 32, "%lluh%llum%llus", h, m, s);
	else if (m)
		snprintf(out, 32, "%llum%llus", m, s);
	else
		snprintf(out, 32, "%llus", s);
}

static uint64_t stat_of(const struct wire_msg *m, uint16_t tag)
{
	uint64_t v = 0;

	wire_get_u64(m, tag, &v);
	return v;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? (double)part * 100.0 / (double)whole : 0.0;
}

static const struct {
	const char *key;
	uint16_t tag;
	unsigned divide; /* 1: as it is; 100: sent in hundredths */
} stat_rows[] = {
	{ "totalCpus", A_T_STAT_CPUS, 1 },
	{ "totalMemory", A_T_STAT_MEM_TOTAL, 1 },
	{ "memoryUsed", A_T_STAT_MEM_USED, 1 },
	{ "memoryAvailable", A_T_STAT_MEM_AVAIL, 1 },
	{ "loadAvg1", A_T_STAT_LOAD1, 100 },
	{ "loadAvg5", A_T_STAT_LOAD5, 100 },
	{ "loadAvg15", A_T_STAT_LOAD15, 100 },
	{ "diskReadTotal", A_T_STAT_DISK_READ, 1 },
	{ "diskWriteTotal", A_T_STAT_DISK_WRITE, 1 },
	{ "networkReadTotal", A_T_STAT_NET_READ, 1 },
	{ "networkWriteTotal", A_T_STAT_NET_WRITE, 1 },
	{ "diskIOInflight", A_T_STAT_DISK_INFLIGHT, 1 },
	{ "openConnections", A_T_STAT_OPEN_CONNS, 1 },
	{ "openFiles", A_T_STAT_OPEN_FILES, 1 },
	{ "entropy", A_T_STAT_ENTROPY, 1 },
	{ "diskSpaceTotal", A_T_STAT_SPACE_TOTAL, 1 },
	{ "diskSpaceUsed", A_T_STAT_SPACE_USED, 1 },
	{ "diskSpaceFree", A_T_STAT_SPACE_FREE, 1 },
};

static void put_snapshot(struct json_out *o, const struct stat_vm *vm, const struct wire_msg *m)
{
	char uptime[32];

	go_duration(stat_of(m, A_T_SYS_UPTIME_NS) / 1000000000u, uptime);
	json_obj(o, "snapshot");
	json_put_str(o, "hostname", vm->name);
	json_put_str(o, "arch", "x86_64");
	put_time(o, "timestamp", now_real_ns());
	json_put_str(o, "uptime", uptime);
	for (size_t i = 0; i < ARRAY_LEN(stat_rows); i++) {
		uint64_t v = stat_of(m, stat_rows[i].tag);

		if (stat_rows[i].divide == 1)
			json_put_u64(o, stat_rows[i].key, v);
		else
			json_put_real(o, stat_rows[i].key, (double)v / stat_rows[i].divide);
	}
	json_put_real(o, "memoryUsedPercent", percent(stat_of(m, A_T_STAT_MEM_USED), stat_of(m, A_T_STAT_MEM_TOTAL)));
	json_put_real(o, "diskSpaceUsedPercent", percent(stat_of(m, A_T_STAT_SPACE_USED), stat_of(m, A_T_STAT_SPACE_TOTAL)));
	json_end(o);
}

/* The element of the VM at hand; m is its A_STATS_IS, or NULL with the reason. */
static void put_stat(struct req *r, const struct wire_msg *m, const char *error)
{
	struct stats *s = r->state;
	const struct stat_vm *vm = &s->vms[s->at];
	struct json_out o;

	if (buf_len(&r->gather) > 1)
		buf_adds(&r->gather, ",");
	json_out_init(&o, &r->gather);
	json_obj(&o, NULL);
	json_put_str(&o, "hostname", vm->name);
	json_put_str(&o, "ip", vm->ip);
	put_time(&o, "created_at", vm->created_ns);
	if (m)
		put_snapshot(&o, vm, m);
	else
		json_put_null(&o, "snapshot");
	json_put_str(&o, "error", error);
	json_end(&o);
	s->at++;
}

static void stats_frame(struct req *r, const struct wire_msg *m)
{
	char text[512] = "the agent refused";

	if (m->type == A_STATS_IS) {
		put_stat(r, m, "");
	} else {
		wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
		put_stat(r, NULL, text);
	}
	stats_next(r);
}

static void stats_late(struct req *r)
{
	put_stat(r, NULL, "the agent did not answer in time");
	stats_next(r);
}

static void stats_lost(struct req *r)
{
	put_stat(r, NULL, "the agent went away");
	stats_next(r);
}

static const struct agent_ops stats_ops = { stats_frame, stats_lost, NULL };

static void stats_opened(struct req *r)
{
	stream_begin(r, A_STATS);
	stream_send(r);
}

/* Like stream_open's refusal, but one VM that cannot be asked is not the end of the list. */
static void stats_connect_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	char text[512] = "the agent cannot be reached";

	if (m->type == WIRE_OK) {
		stream_adopt(r, fds, n_fds);
		return;
	}
	wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
	put_stat(r, NULL, text);
	stats_next(r);
}

static void stats_next(struct req *r)
{
	struct stats *s = r->state;

	stream_close(r);
	while (s->at < s->n && !s->vms[s->at].running)
		put_stat(r, NULL, "the VM is not running");
	if (s->at == s->n) {
		r->deadline_ms = 0;
		buf_adds(&r->gather, "]");
		reply_json(r, 200, &r->gather);
		return;
	}
	set_deadline(r, stats_late);
	stream_open_with(r, s->vms[s->at].name, true, &stats_ops, stats_opened, stats_connect_answer);
}

/* Remembers one VM of the list. */
static int stats_note(struct stats *s, const struct wire_msg *m, const char *only)
{
	struct stat_vm *vm;
	char status[32] = "", name[64], *slash;

	if (wire_get_str(m, C_T_VM, name, sizeof(name)) || (only && strcmp(only, name) != 0))
		return 0;
	if (s->n == s->cap) {
		unsigned cap = s->cap ? s->cap * 2 : 16;
		struct stat_vm *more = realloc(s->vms, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->vms = more;
		s->cap = cap;
	}
	vm = &s->vms[s->n++];
	memset(vm, 0, sizeof(*vm));
	memcpy(vm->name, name, sizeof(name));
	wire_get_str(m, C_T_IP, vm->ip, sizeof(vm->ip));
	slash = strchr(vm->ip, '/');
	if (slash)
		*slash = '\0';
	wire_get_u64(m, C_T_CREATED_NS, &vm->created_ns);
	wire_get_str(m, C_T_STATUS, status, sizeof(status));
	vm->running = strcmp(status, "Running") == 0;
	return 0;
}

static void stats_list(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct stats *s = r->state;

	(void)fds;
	(void)n_fds;
	if (m->type == C_ITEM) {
		if (stats_note(s, m, r->vars[0]))
			conn_break(r->conn);
	} else if (m->type != WIRE_OK) {
		reply_refusal(r, m);
	} else if (r->vars[0] && s->n == 0) {
		reply_error(r, 404, "no VM has that name");
	} else {
		list_begin(r);
		stats_next(r);
	}
}

void h_stats_all(struct req *r)
{
	r->state = calloc(1, sizeof(struct stats));
	r->state_done = stats_done;
	if (!r->state) {
		reply_error(r, 503, "out of memory");
		return;
	}
	ask_begin(r, C_NODES);
	ask_send(r, stats_list);
}

void h_stats_one(struct req *r)
{
	if (vm_name(r))
		h_stats_all(r);
}
