/* A bridge of the host: sockets at its gateway's addresses, at which the VMs of one group or several ask. Who asks is told by the source address: netd lets no
 * VM there use another's, and the sockets hear nobody who is not behind the bridge. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

static struct bridge *find(struct gate *g, const char *name)
{
	struct bridge *b = g->bridges;

	while (b && strcmp(b->name, name) != 0)
		b = b->next;
	return b;
}

static struct bridge *bridge_new(struct gate *g, const char *name)
{
	struct bridge *b = g->n_bridges < BRIDGES_MAX ? calloc(1, sizeof(*b)) : NULL;

	if (!b)
		return NULL;
	memcpy(b->name, name, strlen(name) + 1);
	for (unsigned i = 0; i < VM_SOCKETS_MAX; i++)
		b->udp[i] = b->tcp[i] = (struct dns_socket){ .gate = g, .bridge = b, .fd = -1 };
	b->next = g->bridges;
	g->bridges = b;
	g->n_bridges++;
	return b;
}

static int take_fds(struct bridge *b, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct wire_iter it;
	struct wire_field x;
	int err = 0;

	serve_stop_all(b->udp);
	serve_stop_all(b->tcp);
	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &x)) {
		uint64_t i;
		int fd;

		if (x.tag != G_T_FD_UDP && x.tag != G_T_FD_TCP)
			continue;
		if (!wire_field_u64(&x, &i) || i >= n_fds || fds[i] < 0)
			return -EPROTO;
		fd = fds[i];
		fds[i] = -1;
		err = x.tag == G_T_FD_UDP ? serve_take(b->udp, fd, serve_udp) : serve_take(b->tcp, fd, serve_tcp);
	}
	return err;
}

int bridge_up(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f)
{
	char name[BRIDGE_NAME_MAX + 1];
	struct bridge *b;
	int err;

	if (wire_get_str(m, G_T_BRIDGE, name, sizeof(name)) || !name[0])
		return fault_set(f, -EINVAL, "a bridge's name is needed");
	b = find(g, name);
	if (!b && !(b = bridge_new(g, name)))
		return fault_set(f, -ENOSPC, "there is no room for one more bridge");
	err = take_fds(b, m, fds, n_fds);
	if (err) {
		bridge_down(g, name);
		fault_errno(f, err, "gate cannot take the sockets");
	}
	return err;
}

void bridge_down(struct gate *g, const char *name)
{
	struct bridge *b = find(g, name), **at = &g->bridges;

	if (!b)
		return;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	g->n_bridges--;
	serve_stop_all(b->udp);
	serve_stop_all(b->tcp);
	free(b);
}

struct vm *bridge_vm(const struct bridge *b, struct gate *g, const struct sockaddr_storage *from)
{
	bool six = from->ss_family == AF_INET6;
	const void *addr = six ? (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr : (const void *)&((const struct sockaddr_in *)from)->sin_addr;

	for (struct vm *vm = g->vms; vm; vm = vm->next)
		if (vm->ip[six].family && memcmp(vm->ip[six].addr, addr, six ? 16 : 4) == 0 && strcmp(vm->bridge, b->name) == 0)
			return vm;
	return NULL;
}
