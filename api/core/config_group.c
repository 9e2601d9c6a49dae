/* One host group: name, sizes, what this version can and cannot do. */
#include <string.h>

#include "api/core/config_int.h"

const char *config_net_mode(const struct host_group *g)
{
	return g->keys->network.mode.line ? g->keys->network.mode.v : "bridge";
}

static int check_name(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	if (!k->name.line)
		return REFUSE(x, k->line, "a host group needs a name, for example 'name: vm'");
	if (strcmp(k->name.v, "commits") == 0)
		return REFUSE(x, k->name.line, "'commits' is a word of the API: choose another name");
	if (!name_is_valid(k->name.v, GROUP_NAME_MAX))
		return REFUSE(x, k->name.line,
			      "group name '%.60s': use a-z, 0-9 and '-' (not first or last), at most %u characters", k->name.v,
			      GROUP_NAME_MAX);
	g->name = k->name.v;
	g->line = k->name.line;
	return 0;
}

static int check_ram(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	const struct { const struct yaml_num *n; uint64_t unit; } forms[] = {
		{ &k->ram_gb, 1ull << 30 }, { &k->ram_mb, 1ull << 20 }, { &k->ram_bytes, 1 },
	};
	unsigned line = k->name.line, given = 0;

	g->ram_bytes = 4ull << 30;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (!forms[i].n->line)
			continue;
		if (given++)
			return REFUSE(x, forms[i].n->line, "group '%s': only one of ram_gb, ram_mb and ram_bytes can be given", g->name);
		line = forms[i].n->line;
		if (mul_overflows_u64(forms[i].n->v, forms[i].unit, &g->ram_bytes))
			g->ram_bytes = UINT64_MAX;
	}
	if (g->ram_bytes < RAM_MIN_BYTES)
		return REFUSE(x, line, "group '%s': %llu bytes of RAM are too few: give at least %llu MiB (ram_mb: %llu)", g->name,
			      (unsigned long long)g->ram_bytes, RAM_MIN_BYTES >> 20, RAM_MIN_BYTES >> 20);
	if (g->ram_bytes % 4096)
		return REFUSE(x, line, "group '%s': ram_bytes must be a multiple of 4096", g->name);
	if (x->host->ram_bytes && g->ram_bytes > x->host->ram_bytes)
		return REFUSE(x, line, "group '%s': a VM would have %llu MiB of RAM%s, this host has %llu: lower ram_mb", g->name,
			      (unsigned long long)(g->ram_bytes >> 20), given ? "" : " (the default)",
			      (unsigned long long)(x->host->ram_bytes >> 20));
	return 0;
}

static int check_numbers(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	uint64_t count = k->count.line ? k->count.v : x->by_api ? 0 : 1, vcpus = k->vcpu.line ? k->vcpu.v : 2;

	if (count > VM_COUNT_MAX)
		return REFUSE(x, k->count.line, "group '%s': count %llu is too many: at most %u VMs", g->name,
			      (unsigned long long)count, VM_COUNT_MAX);
	if (vcpus < 1 || vcpus > VCPUS_MAX)
		return REFUSE(x, k->vcpu.line, "group '%s': vcpu is %llu, this version can do 1 to %u", g->name,
			      (unsigned long long)vcpus, VCPUS_MAX);
	if (k->gpu_count.v)
		return REFUSE(x, k->gpu_count.line, "group '%s': GPUs are not in this version: remove gpu_count", g->name);
	if (k->cpu_weight.line && (k->cpu_weight.v < 1 || k->cpu_weight.v > CPU_WEIGHT_MAX))
		return REFUSE(x, k->cpu_weight.line, "group '%s': cpu_weight must be 1 to %u (%u is as much as any other process)", g->name, CPU_WEIGHT_MAX,
			      CPU_WEIGHT_DEFAULT);
	if (k->max_vms.line && (k->max_vms.v < 1 || k->max_vms.v > VM_COUNT_MAX || k->max_vms.v < count))
		return REFUSE(x, k->max_vms.line, "group '%s': max_vms must be 1 to %u, and not less than count (%llu)", g->name, VM_COUNT_MAX, (unsigned long long)count);
	g->cpu_weight = k->cpu_weight.line ? (unsigned)k->cpu_weight.v : CPU_WEIGHT_DEFAULT;
	g->quota.v[Q_VMS] = k->max_vms.v;
	g->count = (unsigned)count;
	g->vcpus = (unsigned)vcpus;
	g->persistent = k->persistent.v;
	return check_ram(x, k, g);
}

static int check_storage(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	g->storage = k->storage.line ? k->storage.v : "image";
	if (strcmp(g->storage, "devmapper") == 0 || strcmp(g->storage, "zfs") == 0) {
		config_note(x, k->storage.line, "group '%s': storage '%s' is kept as 'image': sparse files in the state folder", g->name,
			    g->storage);
		g->storage = "image";
	} else if (strcmp(g->storage, "image") != 0) {
		return REFUSE(x, k->storage.line, "group '%s': unknown storage '%.40s': write 'storage: image'", g->name, g->storage);
	}
	g->disk_bytes = k->storage_size.line ? k->storage_size.v : DISK_DEFAULT_BYTES;
	if (g->disk_bytes > DISK_MAX_BYTES)
		return REFUSE(x, k->storage_size.line, "group '%s': storage_size is larger than 16 TiB: lower it", g->name);
	if (g->disk_bytes % 4096)
		return REFUSE(x, k->storage_size.line, "group '%s': storage_size must be a multiple of 4096 bytes", g->name);
	return 0;
}

/* The sizes of the files are known now. */
static int check_disk_fits(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	if (!k->storage_size.line && g->disk_bytes < g->image.bytes) /* no wish: as large as the image */
		g->disk_bytes = (g->image.bytes + 4095) & ~4095ull;
	if (g->disk_bytes >= g->image.bytes)
		return 0;
	return REFUSE(x, k->storage_size.line, "group '%s': storage_size is %llu MiB, the image '%.200s' alone has %llu MiB: raise it",
		      g->name, (unsigned long long)(g->disk_bytes >> 20), g->image.path,
		      (unsigned long long)((g->image.bytes + (1u << 20) - 1) >> 20));
}

static int check_dns(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	static struct yaml_str defaults[] = { { "8.8.8.8", 0 }, { "1.1.1.1", 0 } };
	const struct yaml_strs *list = &k->dns_servers;
	const struct yaml_strs usual = { defaults, 2, 0 };
	uint32_t a;

	g->dns_given = list->line;
	if (!list->line)
		list = &usual;
	if (list->n > DNS_MAX)
		return REFUSE(x, list->line, "group '%s': at most %u dns_servers are possible", g->name, DNS_MAX);
	for (size_t i = 0; i < list->n; i++) {
		if (addr_parse(list->v[i].v, &a))
			return REFUSE(x, list->v[i].line, "group '%s': '%.60s' is not an IPv4 address of a DNS server", g->name,
				      list->v[i].v);
		if (i)
			strcat(g->dns, ",");
		addr_format(a, g->dns + strlen(g->dns));
	}
	return 0;
}

static void note_mac_only(struct checking *x, const struct keys_group *k, const struct host_group *g)
{
	unsigned line = k->share_home.line ? k->share_home.line : k->rosetta.line ? k->rosetta.line : k->sleep_action.line;

	if (line)
		config_note(x, line, "group '%s': share_home, rosetta and sleep_action have no meaning on Linux", g->name);
	if (k->ca.generate.v || k->ca.files.n)
		config_note(x, k->ca.line, "group '%s': ca is read, but this version puts no certificates into guests", g->name);
}

/* A quota that its own VMs of count cannot meet is a slip. */
static int check_quotas(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	const struct yaml_num *keys[Q_N] = { &k->max_vms, &k->max_vcpus, &k->max_ram, &k->max_disk };
	uint64_t disks = g->disk_bytes, each = g->count ? g->count : 1;

	for (unsigned i = 0; i < g->n_disks; i++)
		disks += g->disks[i].file.fd < 0 ? g->disks[i].bytes : 0;
	uint64_t least[Q_N] = { each, each * g->vcpus, each * g->ram_bytes, each * disks }; /* counts and sizes are checked: no overflow */
	for (int i = Q_VCPUS; i < Q_N; i++) {
		if (keys[i]->line && keys[i]->v < least[i])
			return REFUSE(x, keys[i]->line, "group '%s': %s is %llu, its VMs want %llu: raise it, or make them smaller", g->name, quota_keys[i],
				      (unsigned long long)keys[i]->v, (unsigned long long)least[i]);
		g->quota.v[i] = keys[i]->v;
	}
	return 0;
}

int config_check_group(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	int r = check_name(x, k, g);

	if (!r)
		r = check_numbers(x, k, g);
	if (!r)
		r = check_storage(x, k, g);
	if (!r)
		r = config_check_files(x, k, g);
	if (!r)
		r = check_disk_fits(x, k, g);
	if (!r)
		r = config_check_userdata(x, k, g);
	if (!r)
		r = check_dns(x, k, g);
	if (!r)
		r = config_check_network(x, k, g);
	if (!r)
		r = config_check_publish(x, k, g);
	if (!r)
		r = config_check_disks(x, k, g);
	if (!r)
		r = check_quotas(x, k, g);
	if (!r)
		note_mac_only(x, k, g);
	return r;
}
