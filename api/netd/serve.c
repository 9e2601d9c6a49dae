/* Frames from core: one place where each is checked, then the function that does it. */
#include "api/netd/serve.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Names go into the kernel's tables and messages: letters, digits, '-', '_', '.', not "." or "..". */
bool link_name_is_valid(const char *s)
{
	size_t n = strnlen(s, IFNAMSIZ);
	if (n == 0 || n >= IFNAMSIZ || s[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') || strchr("-_.", s[i])))
			return false;
	return true;
}

int request_addr(const struct request *r, uint16_t tag, uint8_t family, unsigned min_bits, struct net_addr *out)
{
	char text[64];
	*out = (struct net_addr){0};
	int err = wire_get_str(r->m, tag, text, sizeof text);
	if (err)
		return err == -ENOENT ? err : -EINVAL;
	err = net_addr_parse(text, family, min_bits, out);
	if (err)
		*out = (struct net_addr){0};
	return err;
}

int request_mac(const struct request *r, uint8_t mac[6])
{
	struct wire_field f;
	if (!wire_get(r->m, N_T_MAC, &f))
		return -ENOENT;
	if (f.n != 6 || f.p[0] & 1)
		return -EINVAL;
	memcpy(mac, f.p, 6);
	return 0;
}

int request_queues(const struct request *r, unsigned *queues)
{
	uint64_t v = 1;
	wire_get_u64(r->m, N_T_QUEUES, &v);
	*queues = (unsigned)v;
	return v >= 1 && v <= NETD_QUEUES_MAX ? 0 : -EINVAL;
}

static void list_one(void *arg, const char *name, const struct link_info *l)
{
	wire_str(arg, l->bridge ? N_T_BRIDGE : N_T_TAP, name);
}

enum named { NOBODY, LINK_NAME, VM_NAME };

/* Every request: its type, the tag that names what it is about, how many descriptors it brings, what does it. */
static const struct row {
	uint16_t type, name_tag;
	enum named named;
	unsigned n_fds;
	int (*act)(struct request *r, struct fault *f);
} rows[] = {
	{N_HOST_UP, 0, NOBODY, 0, host_up},
	{N_HOST_DOWN, 0, NOBODY, 0, host_down},
	{N_SYNC, 0, NOBODY, 0, host_sync},
	{N_BRIDGE_UP, N_T_BRIDGE, LINK_NAME, 0, bridge_up},
	{N_BRIDGE_DOWN, N_T_BRIDGE, LINK_NAME, 0, bridge_down},
	{N_RANGE_UP, N_T_NAME, VM_NAME, 0, range_up},
	{N_RANGE_DOWN, N_T_NAME, VM_NAME, 0, range_down},
	{N_TAP_UP, N_T_TAP, LINK_NAME, 0, tap_up},
	{N_TAP_DOWN, N_T_TAP, LINK_NAME, 0, tap_down},
	{N_TAP_ADOPT, N_T_TAP, LINK_NAME, 0, tap_adopt},
	{N_PARENT, 0, NOBODY, 0, parent_look},
	{N_MACVTAP_UP, N_T_TAP, LINK_NAME, 0, macvtap_up},
	{N_ISO_UP, N_T_VM, VM_NAME, 4, iso_up},
	{N_ISO_ADOPT, N_T_VM, VM_NAME, 4, iso_adopt},
	{N_VM_DOWN, N_T_VM, VM_NAME, 0, vm_down},
	{N_TAP_RULES, N_T_VM, VM_NAME, 0, tap_rules},
	{N_EVENTS, 0, NOBODY, 0, events_open},
	{N_POLICY, N_T_VM, VM_NAME, 0, iso_policy},
	{N_OPEN, N_T_VM, VM_NAME, 0, iso_open},
	{N_COUNTERS, N_T_VM, VM_NAME, 0, iso_counters},
	{N_LIST, 0, NOBODY, 0, NULL},
};

static const struct row *row_of(uint16_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].type == type)
			return &rows[i];
	return NULL;
}

static int check_name(const struct row *w, const struct wire_msg *m, char name[64], struct fault *f)
{
	bool there = w->named == NOBODY || wire_get_str(m, w->name_tag, name, 64) == 0;
	if (w->named == LINK_NAME && (!there || !link_name_is_valid(name)))
		return fault_set(f, -EINVAL, "a network interface name has 1 to 15 letters, digits, '-', '_' or '.'");
	if (w->named == VM_NAME && (!there || !name_is_valid(name, 63)))
		return fault_set(f, -EINVAL, "a VM's or group's name has 1 to 63 of a-z, 0-9 and '-'");
	return 0;
}

/* The reply's own fields are written by act() into n->out behind the mark, so an error begins the frame anew. */
static void begin_error(struct netd *n, uint32_t id, int err, const struct fault *f)
{
	buf_clear(&n->out);
	wire_begin(&n->out, WIRE_ERR, id);
	wire_u64(&n->out, WIRE_T_STATUS, err == -EINVAL ? 400 : err == -ENOENT ? 404 : 500);
	wire_u64(&n->out, WIRE_T_ERRNO, (uint64_t)-err);
	wire_str(&n->out, WIRE_T_TEXT, f->text);
}

/* 0, or -errno when core has broken the rules or is gone. */
static int serve(struct netd *n, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	const struct row *w = row_of(m->type);
	struct fault f = {""};
	char name[64] = "";
	if (!w || n_fds != w->n_fds)
		return -EPROTO;
	struct request r = {.n = n, .m = m, .name = name, .fds = fds};
	size_t mark = wire_begin(&n->out, WIRE_OK, m->id);
	int err = check_name(w, m, name, &f);
	if (!err && w->act)
		err = w->act(&r, &f);
	else if (!err)
		err = rtnl_each_ours(&n->rtnl, list_one, &n->out);
	if (err)
		begin_error(n, m->id, err, &f);
	else if (r.said.text[0])
		wire_str(&n->out, WIRE_T_TEXT, r.said.text);
	wire_end(&n->out, err ? 0 : mark);
	err = chan_send(&n->core, &n->out, r.out_fds, r.n_out);
	while (r.n_out)
		close(r.out_fds[--r.n_out]);
	return err == -EPIPE ? 0 : err; /* core has gone; what it asked for before is still done, then the channel ends */
}

int netd_run(struct netd *n)
{
	struct wire_msg m;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
	for (;;) {
		int more = chan_recv(&n->core, &m, fds, &n_fds);
		if (more == 1) {
			more = serve(n, &m, fds, n_fds);
			for (unsigned i = 0; i < n_fds; i++)
				fd_close(&fds[i]);
		} else if (more == 0) {
			more = chan_wait(&n->core, chan_want(&n->core), -1);
		}
		if (more < 0)
			return more == -EPIPE ? 0 : more;
		if (chan_want(&n->core) & EPOLLOUT && chan_stuck(&n->core))
			return 0;
	}
}
