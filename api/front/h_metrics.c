/* GET /metrics: Prometheus text (exposition format 0.0.4) of what core and front know. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define METRICS_BYTES_MAX (8u << 20)

static void put_number(struct buf *b, const struct wire_msg *m, uint16_t tag)
{
	uint64_t v = 0;

	wire_get_u64(m, tag, &v);
	buf_printf(b, "} %" PRIu64 "\n", v);
}

static void put_label(struct buf *b, const char *key, const struct wire_msg *m, uint16_t tag)
{
	struct wire_field f = { .n = 0 };

	wire_get(m, tag, &f);
	label_put(b, key, f.p, f.n);
}

static void put_vms(struct buf *b, const struct wire_msg *m)
{
	struct wire_field f = { .n = 0 };
	uint64_t api = 0;
	char state[16] = "";

	wire_get_u64(m, C_T_BY_API, &api);
	wire_get(m, C_T_STATUS, &f);
	for (size_t i = 0; i < f.n && i < sizeof(state) - 1; i++) /* "Running" is "running" here */
		state[i] = (char)(f.p[i] >= 'A' && f.p[i] <= 'Z' ? f.p[i] | 32 : f.p[i]);
	buf_printf(b, ",api=\"%s\",", api ? "true" : "false");
	label_put(b, "state", state, strlen(state));
	put_number(b, m, C_T_COUNT);
}

static void put_launches(struct buf *b, const struct wire_msg *m)
{
	uint64_t code = 0;

	wire_get_u64(m, C_T_CODE, &code);
	buf_printf(b, ",code=\"%" PRIu64 "\"", code);
	put_number(b, m, C_T_COUNT);
}

static void put_gpus(struct buf *b, const struct wire_msg *m)
{
	put_number(b, m, C_T_GPU_COUNT);
}

/* Core's items come family by family; each family is known by a field of its own. */
static const struct family {
	uint16_t tag;
	const char *name, *type, *help;
	void (*put)(struct buf *b, const struct wire_msg *m);
} families[] = {
	{ C_T_GPU_COUNT, "slicer_vm_gpu_count", "gauge", "GPUs in use by VMs of the host group.", put_gpus },
	{ C_T_STATUS, "slicer_vm_running", "gauge", "VMs by host group, whether the API asked for them, and state.", put_vms },
	{ C_T_CODE, "slicer_vm_launch_total", "counter", "Launches by host group and HTTP status.", put_launches },
};

/* What is gathered for one answer. */
struct scrape {
	const struct family *last;
	struct buf cards; /* payloads of items about network cards, each after its length: samples of a family stand together */
};

static void scrape_free(void *state)
{
	struct scrape *s = state;

	buf_done(&s->cards);
	free(s);
}

static bool next_card(const struct buf *cards, size_t *at, struct wire_msg *m)
{
	const uint8_t *p = (const uint8_t *)buf_data(cards) + *at;

	if (*at >= buf_len(cards))
		return false;
	*m = (struct wire_msg){ .p = p + sizeof(m->n) };
	memcpy(&m->n, p, sizeof(m->n));
	*at += sizeof(m->n) + m->n;
	return true;
}

/* The nth counter of a card. */
static bool card_counter(const struct wire_msg *m, unsigned nth, char name[40], uint64_t *value)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg counter;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f))
		if (f.tag == C_T_COUNTER && nth-- == 0)
			return !wire_sub(&f, &counter) && !wire_get_str(&counter, C_T_NAME, name, 40) && wire_get_u64(&counter, C_T_COUNT, value) &&
			       name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")] == 0;
	return false;
}

/* A family a counter; all cards have the same ones, in the same order. */
static void put_cards(struct buf *out, const struct buf *cards)
{
	struct wire_msg m;
	char name[40], full[80];
	uint64_t value;

	for (unsigned nth = 0;; nth++) { /* ends behind the first card's last counter */
		size_t at = 0;

		if (!next_card(cards, &at, &m) || !card_counter(&m, nth, name, &value))
			return;
		snprintf(full, sizeof(full), "mica_vm_net_%s_total", name);
		family_put(out, full, "counter", "Of the VM's network card; rx: into the VM.");
		for (at = 0; next_card(cards, &at, &m);) {
			if (!card_counter(&m, nth, name, &value))
				continue;
			buf_printf(out, "%s{", full);
			put_label(out, "host_group", &m, C_T_GROUP);
			buf_adds(out, ",");
			put_label(out, "hostname", &m, C_T_VM);
			buf_printf(out, "} %" PRIu64 "\n", value);
		}
	}
}

/* A counter of one isolated VM: FLOWS says which (as in G_COUNTS), all VMs' for one of them come together. */
static const struct {
	struct family family;
	const char *label;
} vm_counts[] = {
	{ { 0, "mica_net_flows_total", "counter", "New flows of isolated VMs by what was decided.", NULL }, ",verdict=\"allowed\"" },
	{ { 0, "mica_net_flows_total", "counter", NULL, NULL }, ",verdict=\"denied\"" },
	{ { 0, "mica_net_bytes_total", "counter", "Bytes of their flows that are over, as the VM sees it.", NULL }, ",direction=\"out\"" },
	{ { 0, "mica_net_bytes_total", "counter", NULL, NULL }, ",direction=\"in\"" },
	{ { 0, "mica_net_dns_queries_total", "counter", "Their questions to the resolver.", NULL }, "" },
	{ { 0, "mica_net_dns_refused_total", "counter", "Of these, refused.", NULL }, "" },
	{ { 0, "mica_net_record_lost_total", "counter", "Lines that are missing in their network records.", NULL }, "" },
};

static void put_vm_count(struct req *r, const struct wire_msg *m, uint64_t which)
{
	struct scrape *s = r->state;
	const struct family *fam = &vm_counts[which].family;

	if (s->last != fam && fam->help)
		family_put(&r->gather, fam->name, fam->type, fam->help);
	s->last = fam;
	buf_printf(&r->gather, "%s{", fam->name);
	put_label(&r->gather, "host_group", m, C_T_GROUP);
	buf_adds(&r->gather, ",");
	put_label(&r->gather, "vm", m, C_T_VM);
	buf_adds(&r->gather, vm_counts[which].label);
	put_number(&r->gather, m, C_T_COUNT);
}

static void put_item(struct req *r, const struct wire_msg *m)
{
	struct scrape *s = r->state;
	const struct family **last = &s->last;
	struct wire_field f;
	uint64_t which;

	if (wire_get_u64(m, C_T_FLOWS, &which) && which < ARRAY_LEN(vm_counts)) {
		put_vm_count(r, m, which);
		return;
	}
	if (wire_get(m, C_T_COUNTER, &f)) {
		buf_add(&s->cards, &m->n, sizeof(m->n));
		buf_add(&s->cards, m->p, m->n);
		return;
	}

	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		const struct family *fam = &families[i];

		if (!wire_get(m, fam->tag, &f))
			continue;
		if (*last != fam)
			family_put(&r->gather, fam->name, fam->type, fam->help);
		*last = fam;
		buf_printf(&r->gather, "%s{", fam->name);
		put_label(&r->gather, "host_group", m, C_T_GROUP);
		fam->put(&r->gather, m);
		return;
	}
}

static void put_host(struct buf *b, const struct wire_msg *m)
{
	static const struct { uint16_t tag; bool hundredths; const char *name, *type, *help; } rows[] = {
		{ C_T_LOAD_1, true, "slicer_system_load_avg_1", "gauge", "Load of the host, 1 minute." },
		{ C_T_LOAD_5, true, "slicer_system_load_avg_5", "gauge", "Load of the host, 5 minutes." },
		{ C_T_LOAD_15, true, "slicer_system_load_avg_15", "gauge", "Load of the host, 15 minutes." },
		{ C_T_MEM_TOTAL, false, "slicer_system_memory_total_bytes", "gauge", "Memory of the host." },
		{ C_T_MEM_AVAILABLE, false, "slicer_system_memory_available_bytes", "gauge", "Memory that programs can still get." },
		{ C_T_EGRESS_TX, false, "slicer_system_egress_tx", "counter", "Bytes sent by the network card of the default route." },
		{ C_T_EGRESS_RX, false, "slicer_system_egress_rx", "counter", "Bytes received by it." },
		{ C_T_OPEN_FILES, false, "slicer_system_open_files", "gauge", "Open files of the host." },
		{ C_T_OPEN_SOCKETS, false, "slicer_system_open_connections", "gauge", "TCP sockets in use on the host." },
	};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!wire_get_u64(m, rows[i].tag, &v))
			continue;
		family_put(b, rows[i].name, rows[i].type, rows[i].help);
		if (rows[i].hundredths)
			buf_printf(b, "%s %" PRIu64 ".%02" PRIu64 "\n", rows[i].name, v / 100, v % 100);
		else
			buf_printf(b, "%s %" PRIu64 "\n", rows[i].name, v);
	}
}

static void answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds;
	(void)n_fds;
	if (m->type == C_ITEM) {
		put_item(r, m);
		return;
	}
	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	if (((struct scrape *)r->state)->cards.failed)
		r->gather.failed = true;
	else
		put_cards(&r->gather, &((struct scrape *)r->state)->cards);
	put_host(&r->gather, m);
	counts_put(&r->conn->front->counts, &r->gather);
	rejects_put(&r->conn->front->rejects, &r->gather);
	published_put(&r->conn->front->published, &r->gather);
	if (r->gather.failed)
		reply_error(r, 500, "the answer is too large or memory ran out");
	else
		reply_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_data(&r->gather), buf_len(&r->gather));
}

void h_metrics(struct req *r)
{
	r->state = calloc(1, sizeof(struct scrape));
	r->state_done = scrape_free;
	if (!r->state) {
		reply_error(r, 503, "out of memory; try again");
		return;
	}
	buf_init(&((struct scrape *)r->state)->cards, METRICS_BYTES_MAX);
	buf_done(&r->gather);
	buf_init(&r->gather, METRICS_BYTES_MAX);
	ask_begin(r, C_METRICS);
	ask_send(r, answer);
}
