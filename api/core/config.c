/* From text to struct config: parse, then check what concerns the whole file; groups stand in config_group.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/core/config_int.h"
#include "api/core/record.h"
#include "api/core/ssh_line.h"

void config_note(struct checking *x, unsigned line, const char *fmt, ...)
{
	char text[600] = "";
	int at = x->c->doc.file ? snprintf(text, sizeof(text), "%s:%u: ", x->c->doc.file, line) : 0;
	va_list ap;

	if (at < 0 || (size_t)at >= sizeof(text) || x->c->n_notes == NOTES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text + at, sizeof(text) - (size_t)at, fmt, ap);
	va_end(ap);
	x->c->notes[x->c->n_notes] = yaml_doc_strdup(&x->c->doc, text);
	x->c->n_notes += x->c->notes[x->c->n_notes] != NULL;
}

/* Which monitors people's files name, and what we make of that. */
static int check_hypervisor(struct checking *x)
{
	const struct yaml_str *h = &x->k->hypervisor;

	if (!h->line || strcmp(h->v, "firecracker") == 0 || strcmp(h->v, "mica") == 0)
		return 0;
	if (strcmp(h->v, "cloud-hypervisor") == 0 || strcmp(h->v, "qemu") == 0) {
		config_note(x, h->line, "hypervisor '%s' is not used: VMs run on mica's own monitor", h->v);
		return 0;
	}
	if (strcmp(h->v, "apple") == 0)
		return REFUSE(x, h->line, "hypervisor 'apple' exists on macOS only: remove the line");
	return REFUSE(x, h->line, "unknown hypervisor '%.40s': remove the line (mica brings its own), 'firecracker' is also accepted",
		      h->v);
}

static int check_ssh_keys(struct checking *x)
{
	const struct yaml_strs *list = &x->k->ssh_keys;
	struct buf lines;
	int r = 0;

	if (!list->n)
		return 0;
	buf_init(&lines, SSH_KEYS_BYTES_MAX / 2); /* a maker's own come on top */
	for (size_t i = 0; i < list->n && !r; i++) {
		r = ssh_keys_add(&lines, list->v[i].v, strlen(list->v[i].v));
		if (r == -EINVAL)
			r = REFUSE(x, list->v[i].line, "ssh_keys: '%.40s' is no public key: one line as in ~/.ssh/id_ed25519.pub is needed", list->v[i].v);
		else if (r == -ENOBUFS)
			r = REFUSE(x, list->v[i].line, "ssh_keys: all together are longer than %u bytes: remove some", SSH_KEYS_BYTES_MAX / 2);
	}
	if (!r) {
		x->c->ssh_keys = yaml_doc_strdup(&x->c->doc, buf_cstr(&lines));
		r = x->c->ssh_keys ? 0 : -ENOMEM;
	}
	buf_done(&lines);
	return r;
}

/* Keys that are read for the sake of people's files and do nothing here, yet. */
static void note_unused(struct checking *x)
{
	const struct keys_config *k = x->k;

	if (k->github_user.line)
		config_note(x, k->github_user.line, "github_user is not used: this daemon fetches nothing from the network; write the keys under ssh_keys");
	if (k->kernel_image.line)
		config_note(x, k->kernel_image.line, "kernel_image is not used: the built-in kernel is, or kernel_file (a path)");
	if (k->insecure_registry.line)
		config_note(x, k->insecure_registry.line, "insecure_registry is not used: this version talks to no registry");
	if (k->network_name.line)
		config_note(x, k->network_name.line, "network_name is not used: there is no CNI; give groups a network: key");
	if (k->ssh.line && !(k->ssh.port.line && k->ssh.port.v == 0))
		config_note(x, k->ssh.line, "the serial console over SSH is not in this version: use 'mica vm shell' and 'mica vm logs'");
}

static int check_pci(struct checking *x)
{
	const struct yaml_node *n = x->k->pci;

	if (!n || (n->kind != YAML_SCALAR && !n->first))
		return 0;
	return REFUSE(x, n->line, "pci: device passthrough is not in this version: remove the key");
}

static int check_names(struct checking *x)
{
	for (size_t i = 0; i < x->c->n_groups; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(x->c->groups[i].name, x->c->groups[j].name) == 0)
				return REFUSE(x, x->c->groups[i].line, "host group '%s' is there twice (first on line %u): rename one",
					      x->c->groups[i].name, x->c->groups[j].line);
	return 0;
}

int config_check_total(struct checking *x, unsigned line)
{
	unsigned total = 0;

	for (size_t i = 0; i < x->c->n_groups; i++)
		total += x->c->groups[i].count; /* each at most VM_COUNT_MAX */
	if (total > VM_COUNT_MAX)
		return REFUSE(x, line, "all groups together have more than %u VMs: lower the counts", VM_COUNT_MAX);
	return 0;
}

static int check_groups(struct checking *x)
{
	const struct yaml_maps *maps = &x->k->host_groups;
	const struct keys_group *keys = maps->v;
	int r;

	if (!maps->line)
		return REFUSE(x, x->k->line, "host_groups needs at least one group: 'mica new NAME' prints a file to start from "
			      "('host_groups: []' is a daemon whose groups are made by 'mica group create')");
	x->c->groups = yaml_doc_alloc(&x->c->doc, GROUPS_MAX * sizeof(*x->c->groups));
	if (!x->c->groups)
		return -ENOMEM;
	if (!maps->n)
		config_note(x, maps->line, "there is no host group here: 'mica group create NAME' makes them");
	for (size_t i = 0; i < maps->n; i++) {
		struct host_group *g = &x->c->groups[i];

		g->image.fd = g->kernel.fd = g->initrd.fd = -1;
		g->keys = &keys[i];
		x->c->n_groups++;
		r = config_check_group(x, &keys[i], g);
		if (!r)
			r = config_check_total(x, keys[i].count.line);
		if (r)
			return r;
	}
	r = check_names(x);
	return r ? r : config_check_overlaps(x);
}

static int check_overcommit(struct checking *x, const char *key, const struct yaml_num *n, unsigned least, unsigned *out)
{
	if (n->line && (n->v < least || n->v > OVERCOMMIT_MAX))
		return REFUSE(x, n->line, "%s is percent: %u to %u (200: twice of what is there)", key, least, OVERCOMMIT_MAX);
	*out = (unsigned)n->v;
	return 0;
}

static int check_vm_io(struct checking *x)
{
	const struct yaml_num *bytes = &x->k->vm_io_bytes_per_s, *ops = &x->k->vm_io_iops;

	if (bytes->line && (bytes->v < DISK_BYTES_S_MIN || bytes->v > NET_RATE_MAX))
		return REFUSE(x, bytes->line, "vm_io_bytes_per_s must be at least %u, for example 200M", DISK_BYTES_S_MIN);
	if (ops->line && (ops->v < 10 || ops->v > NET_RATE_MAX))
		return REFUSE(x, ops->line, "vm_io_iops must be at least 10: leave it out for no limit");
	x->c->vm_io_bytes_s = bytes->v;
	x->c->vm_io_ops_s = ops->v;
	return 0;
}

static int check_all(struct checking *x)
{
	int r = check_hypervisor(x);

	if (!r)
		r = check_overcommit(x, "ram_overcommit", &x->k->ram_overcommit, 10, &x->c->ram_overcommit);
	if (!r)
		r = check_overcommit(x, "disk_overcommit", &x->k->disk_overcommit, 10, &x->c->disk_overcommit);
	if (!r)
		r = check_vm_io(x);
	if (!r)
		r = check_pci(x);
	if (!r)
		r = check_ssh_keys(x);
	if (!r)
		r = check_groups(x);
	if (!r)
		r = config_check_api(x);
	if (!r)
		r = config_check_ports(x);
	if (!r)
		note_unused(x);
	x->c->graceful_shutdown = x->k->graceful_shutdown.line ? x->k->graceful_shutdown.v : true;
	return r;
}

int config_parse(struct config *c, const char *file, const void *text, size_t n, const struct config_host *host, struct fault *f)
{
	struct keys_root *root;
	struct checking x = { c, NULL, host, f, false };
	int r;

	memset(c, 0, sizeof(*c));
	r = yaml_doc_parse(&c->doc, file, text, n, f);
	if (r)
		return r;
	root = yaml_doc_alloc(&c->doc, sizeof(*root));
	if (!root)
		r = -ENOMEM;
	else
		x.k = c->keys = &root->config;
	c->host = *host;
	if (!r && (!c->doc.root || c->doc.root->kind != YAML_MAPPING))
		r = REFUSE(&x, c->doc.root ? c->doc.root->line : 1,
			   "no 'config:' key: 'mica new NAME' prints a file to start from");
	if (!r)
		r = yaml_read(&c->doc, c->doc.root, config_root_keys, root, f);
	if (!r && !root->config.line)
		r = REFUSE(&x, c->doc.root->line, "'config:' is empty: 'mica new NAME' prints a file to start from");
	if (!r)
		r = check_all(&x);
	if (r == -ENOMEM)
		fault_set(f, r, "%s: out of memory", file);
	if (r)
		config_done(c);
	return r;
}

void config_done(struct config *c)
{
	for (size_t i = 0; i < c->n_groups; i++)
		host_group_done(&c->groups[i]);
	yaml_doc_done(&c->doc);
	memset(c, 0, sizeof(*c));
}

const struct host_group *config_group(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->n_groups; i++)
		if (strcmp(c->groups[i].name, name) == 0)
			return &c->groups[i];
	return NULL;
}
