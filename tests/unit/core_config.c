/* The daemon's YAML: refusals first, each with file:line and a remedy; then what a good file becomes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/core/config.h"
#include "tests/unit/tap.h"

static const struct config_host host = { 8ull << 30, 4ull << 20, .addrs = { { 0x0a323202, 24 } }, .n_addrs = 1 }; /* 10.50.50.2 */

static int parse(struct config *c, const char *text, struct fault *f)
{
	f->text[0] = 0;
	return config_parse(c, "t.yaml", text, strlen(text), &host, f);
}

#define G "config:\n  host_groups:\n  - name: vm\n"
#define G2 "  - name: b\n"

static const struct { const char *text, *says; } refusals[] = {
	{ "", "t.yaml:1: no 'config:' key" },
	{ "config:\n", "t.yaml:1: 'config:' is empty" },
	{ "- a\n", "t.yaml:1: no 'config:' key" },
	{ "config:\n  api: {port: 80}\n", "t.yaml:1: host_groups needs" },
	{ "config:\n  host_groups:\n", "t.yaml:1: host_groups needs" },
	{ "config:\n  host_groups:\n  - count: 1\n", "t.yaml:3: a host group needs a name" },
	{ "config:\n  host_grups: []\n", "t.yaml:2: unknown key 'host_grups', did you mean 'host_groups'?" },
	{ G "    vcpus: 2\n", "t.yaml:4: unknown key 'vcpus', did you mean 'vcpu'?" },
	{ G "    network:\n      gatway: 10.0.0.1/24\n", "t.yaml:5: unknown key 'gatway', did you mean 'gateway'?" },
	{ G "    zzzzzzzzzzzzzzz: 2\n", "t.yaml:4: unknown key 'zzzzzzzzzzzzzzz'; known here: name, count" },
	{ G "    vcpu: 2\n    vcpu: 3\n", "t.yaml:5: key 'vcpu' is given twice (first on line 4)" },
	{ G "    vcpu: 0\n", "t.yaml:4: group 'vm': vcpu is 0, this version can do 1 to 8" },
	{ G "    vcpu: 9\n", "t.yaml:4: group 'vm': vcpu is 9" },
	{ G "    vcpu: two\n", "t.yaml:4: 'vcpu' must be a whole number" },
	{ G "    vcpu: -1\n", "t.yaml:4: 'vcpu' must be a whole number" },
	{ G "    vcpu: [2]\n", "t.yaml:4: 'vcpu' must be a single value, not a list" },
	{ G "    count: 99999\n", "t.yaml:4: group 'vm': count 99999 is too many" },
	{ G "    ram_gb: 1\n    ram_mb: 512\n", "t.yaml:5: group 'vm': only one of ram_gb, ram_mb and ram_bytes" },
	{ G "    ram_gb: 9\n", "t.yaml:4: group 'vm': a VM would have 9216 MiB of RAM, this host has 8192" },
	{ G "    ram_gb: 99999999999999\n", "t.yaml:4: group 'vm': " },
	{ G "    ram_mb: 1\n", "t.yaml:4: group 'vm': 1048576 bytes of RAM are too few" },
	{ G "    ram_bytes: 134217729\n", "multiple of 4096" },
	{ G "    storage_size: 1M\n", "t.yaml:4: group 'vm': storage_size is 1 MiB, the image 'min' alone has 4 MiB: raise it" },
	{ G "    storage_size: lots\n", "t.yaml:4: 'storage_size' must be a size as 512M or 25G" },
	{ G "    storage_size: 99999T\n", "t.yaml:4: " },
	{ G "    storage: tape\n", "t.yaml:4: group 'vm': unknown storage 'tape'" },
	{ G "    cpu_weight: 0\n", "t.yaml:4: group 'vm': cpu_weight must be 1 to 10000" },
	{ G "    cpu_weight: 10001\n", "t.yaml:4: group 'vm': cpu_weight must be" },
	{ G "    max_vms: 0\n", "t.yaml:4: group 'vm': max_vms must be 1 to 1024" },
	{ G "    count: 3\n    max_vms: 2\n", "t.yaml:5: group 'vm': max_vms must be 1 to 1024, and not less than count (3)" },
	{ "config:\n  ram_overcommit: 5\n  host_groups: []\n", "t.yaml:2: ram_overcommit is percent: 10 to 10000" },
	{ "config:\n  vm_io_bytes_per_s: 1000\n  host_groups: []\n", "t.yaml:2: vm_io_bytes_per_s must be at least 65536" },
	{ "config:\n  vm_io_iops: 9\n  host_groups: []\n", "t.yaml:2: vm_io_iops must be at least 10" },
	{ "config:\n  disk_overcommit: 10001\n  host_groups: []\n", "t.yaml:2: disk_overcommit is percent" },
	{ G "    disks: [{}]\n", "t.yaml:4: group 'vm': a disk needs either a size" },
	{ G "    disks: [{size: 4097}]\n", "t.yaml:4: group 'vm': a disk's size is a multiple of 4096" },
	{ G "    disks: [{size: 1M, readonly: true}]\n", "t.yaml:4: unknown key 'readonly', did you mean 'read_only'?" },
	{ G "    vcpu: 2\n    max_vcpus: 1\n", "t.yaml:5: group 'vm': max_vcpus is 1, its VMs want 2" },
	{ G "    ram_mb: 64\n    count: 3\n    max_ram: 191M\n", "t.yaml:6: group 'vm': max_ram is 200278016, its VMs want 201326592" },
	{ G "    storage_size: 8M\n    disks: [{size: 4M}]\n    max_disk: 11M\n", "t.yaml:6: group 'vm': max_disk is 11534336, its VMs want 12582912" },
	{ G "    disk_bytes_per_s: 1000\n", "t.yaml:4: group 'vm': disk_bytes_per_s must be at least 65536" },
	{ G "    disk_iops: 0\n", "t.yaml:4: group 'vm': disk_iops must be at least 1" },
	{ G "    gpu_count: 1\n", "t.yaml:4: group 'vm': GPUs are not in this version" },
	{ G "    persistent: maybe\n", "t.yaml:4: 'persistent' must be true or false" },
	{ G "    dns_servers: [a]\n", "t.yaml:4: group 'vm': 'a' is not an IPv4 address" },
	{ G "    dns_servers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]\n", "at most 3 dns_servers" },
	{ G "    network: {mode: isolated, range: abc}\n", "t.yaml:4: group 'vm': range 'abc' must be a network" },
	{ G "    network: {mode: isolated, range: 10.0.0.5-10.0.0.9}\n", "must be a network" },
	{ G "    network: {mode: isolated, range: 10.0.0.4/22}\n", "has bits behind its length" },
	{ G "    network: {mode: isolated, range: 10.0.0.0/31}\n", "must be a network of /8 to /30" },
	{ G "    network: {mode: isolated, range: 169.254.168.0/22}\n", "is taken by addresses with a meaning of their own" },
	{ G "    network: {mode: isolated, range: 10.50.0.0/16}\n", "is taken by an address of this host" },
	{ G "    network: {mode: isolated, addresses: [10.0.0.5]}\n", "take their addresses from 'range'" },
	{ G "    count: 2\n    network: {mode: isolated, range: 10.0.0.0/30}\n", "t.yaml:4: group 'vm': 2 VMs, but the range has room for 1" },
	{ "config:\n  host_groups:\n  - name: abcdefghijklmn\n    network: {mode: isolated}\n", "t.yaml:3: group 'abcdefghijklmn': names of isolated VMs" },
	{ G "    network: {mode: isolated, allow: [10.0.0.0/33]}\n", "t.yaml:4: group 'vm': network.allow: " },
	{ G "    network: {mode: isolated, range: 10.0.0.0/16}\n" G2 "    network: {gateway: 10.0.5.1/24}\n", "overlaps 10.0.0.0/16 of group 'vm'" },
	{ G "    network: {gateway: 10.0.5.1/24}\n" G2 "    network: {mode: isolated, range: 10.0.0.0/16}\n",
	  "t.yaml:6: network 10.0.0.0/16 of group 'b' overlaps 10.0.5.1/24 of group 'vm' (line 3): give it another range" },
	{ G "    network: {mode: macvtap, range: 10.0.0.5-10.0.0.9}\n", "t.yaml:4: group 'vm': range and addresses need the LAN's router" },
	{ G "    network: {mode: macvtap, addresses: [10.0.0.5]}\n", "range and addresses need the LAN's router" },
	{ G "    network: {mode: macvtap, gateway: 10.0.0.1/24, range: 10.0.1.5-10.0.1.9}\n", "leaves the gateway's network" },
	{ G "    network: {mode: macvtap, parent: a/b}\n", "t.yaml:4: group 'vm': parent 'a/b' is no interface name" },
	{ G "    network: {mode: macvtap, drop: [0.0.0.0/0]}\n", "would not hold in mode 'macvtap'" },
	{ G "    count: 36\n    network: {mode: macvtap, gateway: 10.0.0.1/24}\n", "36 VMs, but the network has 35" },
	{ G "    network: {mode: macvtap, gateway: 10.0.0.1/24}\n" G2 "    network: {bridge: b1, gateway: 10.0.0.9/16}\n", "overlaps 10.0.0.1/24 of group 'vm'" },
	{ G "    network: {mode: x}\n", "t.yaml:4: group 'vm': unknown network mode 'x'" },
	{ G "    network: {bytes_per_s: 10}\n", "t.yaml:4: group 'vm': network.bytes_per_s is 10 bytes" },
	{ G "    network: {packets_per_s: 0}\n", "t.yaml:4: group 'vm': network.packets_per_s must be at least 1" },
	{ G "    network: {gateway: 10.0.0.1}\n", "t.yaml:4: group 'vm': gateway '10.0.0.1' is not an address with a length" },
	{ G "    network: {gateway: 10.0.0.0/24}\n", "first or last address" },
	{ G "    network: {gateway: 10.0.0.1/31}\n", "must be /8 to /30" },
	{ G "    network: {gateway: 127.0.0.1/24}\n", "cannot be a host's address" },
	{ G "    network: {gateway: 010.0.0.1/24}\n", "is not an address" },
	{ G "    network: {range: 10.0.0.5-10.0.0.9}\n", "leaves the gateway's network" },
	{ G "    network: {range: abc}\n", "must be first-last" },
	{ G "    network: {addresses: [192.168.137.1]}\n", "is not a free one" },
	{ G "    network: {addresses: [192.168.137.5, 192.168.137.5/24]}\n", "is there twice" },
	{ G "    network: {addresses: [192.168.137.5/25]}\n", "must be as" },
	{ G "    count: 2\n    network: {addresses: [192.168.137.5]}\n", "t.yaml:4: group 'vm': 2 VMs, but the network has 1" },
	{ G "    count: 2\n    network: {gateway: 10.0.0.1/30}\n", "2 VMs, but the network has 1" },
	{ G "    network: {tap_prefix: abcdefghijkl}\n", "t.yaml:4: group 'vm': tap_prefix" },
	{ G "    network: {bridge: a/b}\n", "t.yaml:4: group 'vm': bridge 'a/b' is no interface name" },
	{ G "    network: {drop: [192.168.137.0/25]}\n", "lies in the network of bridge 'brvm0'" },
	{ G "    network: {allow: [example.com]}\n    dns_servers: [192.168.137.1]\n", "names are enforced by mica's resolver" },
	{ G "    network: {audit: required}\n", "there is a network record only where rules hold" },
	{ G "    network: {mode: macvtap, audit: required}\n", "there is a network record only where rules hold" },
	{ G "    network: {bridge: b0, gateway: 10.0.0.1/16}\n" G2 "    network: {bridge: b1, gateway: 10.0.5.1/24}\n",
	  "t.yaml:6: network 10.0.5.1/24 of group 'b' overlaps 10.0.0.1/16 of group 'vm' (line 3)" },
	{ G G2 "    network: {bridge: b1}\n", "t.yaml:5: network 192.168.137.1/24 (the default) of group 'b' overlaps" },
	{ G "    network: {bridge: b0, gateway: 10.0.0.1/24}\n" G2 "    network: {bridge: b0, gateway: 10.0.1.1/24}\n",
	  "t.yaml:6: bridge 'b0' of group 'b' is used by group 'vm' already" },
	{ G "  - name: vm\n", "t.yaml:4: host group 'vm' is there twice (first on line 3)" },
	{ "config:\n  host_groups:\n  - name: A_b\n", "t.yaml:3: group name 'A_b'" },
	{ "config:\n  host_groups:\n  - name: ../x\n", "t.yaml:3: group name '../x'" },
	{ "config:\n  host_groups:\n  - name: commits\n", "t.yaml:3: 'commits' is a word of the API" },
	{ G "  hypervisor: apple\n", "t.yaml:4: hypervisor 'apple' exists on macOS only" },
	{ G "  hypervisor: bhyve\n", "t.yaml:4: unknown hypervisor 'bhyve'" },
	{ G "  pci:\n    vm-1: [\"0000:04:00.0\"]\n", "t.yaml:4: pci: device passthrough is not" },
	{ G "  image: registry.example//b:latest\n", "t.yaml:4: image 'registry.example//b:latest': No such file" },
	{ G "  image: disks/web.img\n", "t.yaml:4: image 'disks/web.img': No such file" },
	{ G "  image: /nonexistent/x.img\n", "t.yaml:4: image '/nonexistent/x.img': No such file" },
	{ G "  image: /dev\n", "t.yaml:4: image '/dev' is not a regular file" },
	{ G "  kernel_file: /nonexistent/k\n", "t.yaml:4: kernel_file '/nonexistent/k': No such file" },
	{ G "    kernel: huge\n", "t.yaml:4: there is no kernel 'huge': write 'kernel: min'" },
	{ G "    kernel: full\n", "t.yaml:4: kernel 'full' is not in this build of mica: make one with 'make full', or leave 'kernel' out [E_KERNEL_ABSENT]" },
	{ G "  kernel: full\n", "t.yaml:4: kernel 'full' is not in this build" },
	{ G "    kernel: min\n    kernel_file: /k\n", "t.yaml:4: group 'vm': give either kernel or kernel_file" },
	{ G "  kernel: min\n  kernel_file: /k\n", "t.yaml:4: group 'vm': give either kernel or kernel_file" },
	{ G "    userdata: a\n    userdata_file: b\n", "t.yaml:5: group 'vm': give either userdata or userdata_file" },
	{ G "    userdata_file: /nonexistent/u\n", "t.yaml:4: group 'vm': userdata_file '/nonexistent/u': No such file" },
	{ G "  api: {port: 65536}\n", "t.yaml:4: 'port' must be a whole number from 0 to 65535" },
	{ G "  api: {port: 0}\n", "t.yaml:4: api.port 0 is no port" },
	{ G "  api: {bind_address: example.com}\n", "t.yaml:4: api.bind_address 'example.com' must be" },
	{ G "  api: {bind_address: 0.0.0.0, auth: {enabled: false}}\n", "t.yaml:4: api.auth.enabled: false on 0.0.0.0 would let anybody" },
	{ G "  api: {bind_address: 0.0.0.0}\n", "t.yaml:4: the API on 0.0.0.0 would be plain HTTP, and the token could be read on the way: add 'tls: {enabled: true}'" },
	{ G "  api: {bind_address: 0.0.0.0, tls: {enabled: true}, auth: {enabled: false}}\n", "t.yaml:4: api.auth.enabled: false on 0.0.0.0" },
	{ G "  api: {tls: {cert_file: /c}}\n", "t.yaml:4: api.tls.cert_file needs api.tls.key_file" },
	{ G "  api: {tls: {key_file: /c}}\n", "t.yaml:4: api.tls.key_file needs api.tls.cert_file" },
	{ G "  api: {auth: {token: short}}\n", "t.yaml:4: api.auth.token must have" },
	{ G "  api: &a {port: 1}\n", "t.yaml:4: anchors (&) and tags (!) are not supported" },
	{ G "  api: *a\n", "t.yaml:4: aliases (*) are not supported" },
	{ G "---\nconfig: {}\n", "t.yaml:4: a second document" },
	{ G "  api: {port: [\n", "t.yaml:5: not valid YAML" },
	{ G "\tx: 1\n", "t.yaml:4: not valid YAML" },
	{ "config: [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n", "t.yaml:1: nested too deeply" },
	{ "config: {[a]: 1}\n", "t.yaml:1: a key must be a plain word" },
	{ "config: \"\\0\"\n", "t.yaml:1: a value holds a NUL byte" },
	{ "\xff\xfe\xfd", "t.yaml: not UTF-8 text" },
};

static void test_refusals(void)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		struct config c;
		struct fault f;
		int r = parse(&c, refusals[i].text, &f);

		ok(r == -EINVAL && strstr(f.text, refusals[i].says), "refused: %s", refusals[i].says);
		if (r != -EINVAL || !strstr(f.text, refusals[i].says))
			printf("# r=%d says: %s\n", r, f.text);
		if (r == 0)
			config_done(&c);
	}
}

static void test_defaults(void)
{
	struct config c;
	struct fault f;
	const struct host_group *g;

	ok(parse(&c, G "    image: min\n", &f) == 0, "the smallest file: %s", f.text);
	g = config_group(&c, "vm");
	ok(g && g->count == 1 && g->vcpus == 2 && g->ram_bytes == 4ull << 30 && !g->persistent, "defaults of a group");
	ok(g && g->disk_bytes == 10ull << 30 && g->image.fd == -1 && g->kernel.fd == -1, "default disk, image and kernel");
	ok(g && strcmp(g->dns, "8.8.8.8,1.1.1.1") == 0 && strcmp(g->bridge, "brvm0") == 0, "default dns and bridge");
	ok(g && g->pool.first == 0xc0a88902 && g->pool.last == 0xc0a889fe, "addresses .2 to .254");
	ok(c.graceful_shutdown && c.port == 8080 && c.tcp_auth && strcmp(c.bind_host, "127.0.0.1") == 0 && !c.socket, "api defaults");
	ok(!config_group(&c, "other") && c.n_notes == 0, "no other group, nothing to note");
	config_done(&c);
	config_done(&c);
}

static void test_tls(void)
{
	static const struct { const char *text; bool forced, tls; } rows[] = {
		{ "  api: {port: 1}\n", false, false }, { "  api: {port: 1}\n", true, true }, { "  api: {tls: {enabled: true}}\n", false, true },
		{ "  api: {tls: {cert_file: /c, key_file: /k}}\n", false, true }, { "  api: {tls: {enabled: false, cert_file: /c, key_file: /k}}\n", false, false },
		{ "  api: {bind_address: 0.0.0.0}\n", true, true }, { "  api: {bind_address: /run/x.sock, tls: {enabled: true}}\n", false, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_host h = host;
		struct config c;
		struct fault f = { "" };
		char text[200];

		h.tls = rows[i].forced;
		snprintf(text, sizeof(text), "%s%s", G, rows[i].text);
		ok(config_parse(&c, "t.yaml", text, strlen(text), &h, &f) == 0 && c.tls == rows[i].tls, "TLS %s:%s%s", rows[i].tls ? "on" : "off",
		   rows[i].text, f.text);
		config_done(&c);
	}
}

static void test_isolated(void)
{
	static const char two[] = G "    network: {mode: isolated, ipv6: false}\n" G2 "    network: {mode: isolated, allow: [1.2.3.4, example.com], drop: [0.0.0.0/0]}\n";
	struct config c;
	struct fault f = { "" };
	const struct host_group *a, *b;
	uint32_t addr = 0;
	char text[400];

	ok(parse(&c, two, &f) == 0, "two isolated groups: %s", f.text);
	a = config_group(&c, "vm");
	b = config_group(&c, "b");
	ok(a && b && a->pool.gateway.bits == 22 && a->pool.gateway.addr >> 16 == 0xa9fe && !cidr_overlaps(a->pool.gateway, b->pool.gateway),
	   "each has a /22 of its own in 169.254.0.0/16");
	ok(a && !a->ipv6 && b->ipv6, "IPv6 unless it is switched off");
	ok(b && b->policy.n[POLICY_ALLOW] == 2 && b->policy.n[POLICY_DROP] == 1 && !a->policy.n[POLICY_ALLOW], "rules of one, none of the other");
	addr = a ? a->pool.gateway.addr : 0;
	config_done(&c);
	ok(parse(&c, G "    network: {mode: isolated}\n", &f) == 0 && config_group(&c, "vm")->pool.gateway.addr == addr, "the same name gets the same range");
	config_done(&c);
	/* what a later group asks for is not derived for an earlier one */
	snprintf(text, sizeof(text), G "    network: {mode: isolated}\n" G2 "    network: {mode: isolated, range: 169.254.%u.0/22}\n", addr >> 8 & 255);
	ok(parse(&c, text, &f) == 0 && config_group(&c, "vm")->pool.gateway.addr != addr && config_group(&c, "b")->pool.gateway.addr == addr,
	   "unless another group asks for it: %s", f.text);
	config_done(&c);
}

static void test_full(void)
{
	static const char text[] =
		"config:\n"
		"  graceful_shutdown: false\n"
		"  github_user: someone\n"
		"  host_groups:\n"
		"  - name: vm\n"
		"    storage: devmapper\n"
		"    storage_size: 25G\n"
		"    count: 3\n"
		"    vcpu: 4\n"
		"    ram_mb: 256\n"
		"    persistent: true\n"
		"    userdata: |\n"
		"      #!/bin/sh\n"
		"      echo hi\n"
		"    dns_servers: [\"127.0.0.1\",\"127.0.0.1\"]\n"
		"    network: { bridge: br7, tap_prefix: t, gateway: 10.9.0.1/24, range: 10.9.0.20-10.9.0.29 }\n"
		"  - name: off\n"
		"    count: 0\n"
		"    network: { mode: none }\n"
		"  hypervisor: firecracker\n"
		"  pci: {}\n"
		"  ssh: { port: 0 }\n"
		"  api:\n"
		"    bind_address: ./mica.sock\n"
		"    auth:\n";
	struct config c;
	struct fault f;
	const struct host_group *g;

	ok(parse(&c, text, &f) == 0, "a full file: %s", f.text);
	g = config_group(&c, "vm");
	ok(g && g->count == 3 && g->vcpus == 4 && g->ram_bytes == 256ull << 20 && g->persistent, "numbers");
	ok(g && g->disk_bytes == 25ull << 30 && strcmp(g->storage, "image") == 0, "storage");
	ok(g && strcmp(g->userdata, "#!/bin/sh\necho hi\n") == 0, "userdata");
	ok(g && strcmp(g->dns, "127.0.0.1,127.0.0.1") == 0, "dns twice");
	ok(g && g->pool.first == 0x0a090014 && addr_pool_size(&g->pool) == 10, "range");
	g = config_group(&c, "off");
	ok(g && g->net_mode == NET_NONE && g->count == 0, "no network");
	ok(!c.graceful_shutdown && !c.bind_host && strcmp(c.socket, "./mica.sock") == 0 && !c.socket_auth, "api on a socket, no auth");
	ok(c.n_notes == 2 && strstr(c.notes[0], "t.yaml:6: ") && strstr(c.notes[1], "t.yaml:3: "), "two notes with their lines");
	config_done(&c);
	ok(parse(&c, G "    network: {mode: macvtap, gateway: 192.168.1.1/24, parent: eth1}\n" G2 "    network: {mode: macvtap, gateway: 192.168.1.1/24}\n", &f) == 0,
	   "two groups on one LAN: %s", f.text);
	g = config_group(&c, "vm");
	ok(g && g->net_mode == NET_MACVTAP && g->pool.first == 0xc0a801dc && g->pool.last == 0xc0a801fe && addr_pool_size(&g->pool) == 35 && !g->ipv6 &&
	   strcmp(g->parent, "eth1") == 0 && !group_dhcp(g), "macvtap: .220 to .254 of the LAN");
	config_done(&c);
	ok(parse(&c, G "    count: 2\n    network: {mode: macvtap}\n" G2 "    network: {mode: isolated}\n  - name: c\n", &f) == 0, "macvtap by DHCP beside others: %s", f.text);
	g = config_group(&c, "vm");
	ok(g && group_dhcp(g) && !g->parent[0] && strcmp(g->tap_prefix, "vmtap") == 0, "it has no pool");
	config_done(&c);
	ok(parse(&c, G G2, &f) == 0 && c.n_groups == 2, "two groups without a network share the default one");
	config_done(&c);
}

static void test_files(void)
{
	char path[64], text[256];
	uint8_t sb[8192] = { 0 };
	int fd = memfd_new("image");
	struct config c;
	struct fault f;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(text, sizeof(text), G "    image: %s\n", path);
	ok(fd >= 0 && parse(&c, text, &f) == -EINVAL && strstr(f.text, "too short"), "empty image: %s", f.text);
	pwrite_full(fd, sb, sizeof(sb), 0);
	ok(parse(&c, text, &f) == -EINVAL && strstr(f.text, "no ext4"), "zeros: %s", f.text);
	sb[510] = 0x55;
	sb[511] = 0xaa;
	pwrite_full(fd, sb, sizeof(sb), 0);
	ok(parse(&c, text, &f) == -EINVAL && strstr(f.text, "partitions"), "partitioned: %s", f.text);
	sb[1024 + 0x38] = 0x53;
	sb[1024 + 0x39] = 0xef;
	sb[1024 + 4] = 9; /* 9 blocks of 1 KiB in 8 KiB */
	pwrite_full(fd, sb, sizeof(sb), 0);
	ok(parse(&c, text, &f) == -EINVAL && strstr(f.text, "does not fit"), "truncated: %s", f.text);
	sb[1024 + 4] = 8;
	pwrite_full(fd, sb, sizeof(sb), 0);
	ok(parse(&c, text, &f) == 0 && c.groups[0].image.fd >= 0 && c.groups[0].image.bytes == 8192, "good: %s", f.text);
	config_done(&c);
	snprintf(text, sizeof(text), G "    kernel_file: %s\n", path);
	ok(parse(&c, text, &f) == -EINVAL && strstr(f.text, "t.yaml:4: kernel_file") && strstr(f.text, "is no kernel"), "no kernel: %s", f.text);
	memcpy(sb, "\177ELF", 4);
	pwrite_full(fd, sb, sizeof(sb), 0);
	ok(parse(&c, text, &f) == 0 && c.groups[0].kernel.fd >= 0, "ELF: %s", f.text);
	config_done(&c);
	close(fd);
}

/* A build with the kernel full, on both routes. */
static void test_kernels(void)
{
	struct config_host h = host;
	struct host_group g;
	struct config_notes notes;
	struct yaml_doc d;
	struct config c;
	struct fault f = { "" };
	const char *by_api = "name: n\nkernel: full\nnetwork: {mode: none}\n";
	const char *text = G "    kernel: full\n" G2 "    network: {bridge: b1, gateway: 10.1.0.1/24}\n", *over = G "    kernel: min\n  kernel: full\n";

	h.kernel_full = true;
	ok(config_parse(&c, "t.yaml", text, strlen(text), &h, &f) == 0 && c.groups[0].kernel_full && strcmp(c.groups[0].kernel.path, "full") == 0 &&
	   c.groups[0].kernel.fd == -1, "full: %s", f.text);
	ok(c.n_groups == 2 && !c.groups[1].kernel_full && strcmp(c.groups[1].kernel.path, "min") == 0, "the other group has min");
	ok(yaml_doc_parse(&d, NULL, by_api, strlen(by_api), &f) == 0 && config_check_added(&c, &d, NULL, &g, &notes, &f) == 0 && g.kernel_full,
	   "by the API: %s", f.text);
	host_group_done(&g);
	config_done(&c);
	ok(config_parse(&c, "t.yaml", over, strlen(over), &h, &f) == 0 && !c.groups[0].kernel_full, "the group's own word goes first: %s", f.text);
	config_done(&c);
	h.emulated = true;
	ok(config_parse(&c, "t.yaml", text, strlen(text), &h, &f) == -EINVAL && strstr(f.text, "t.yaml:4: kernel 'full' needs VMX or SVM") && strstr(f.text, "[E_KVM_EMULATED]"),
	   "not where KVM emulates: %s", f.text);
	ok(config_parse(&c, "t.yaml", G, strlen(G), &h, &f) == 0 && strcmp(c.groups[0].kernel.path, "emulated") == 0, "what boots there: %s", f.text);
	config_done(&c);
}

static void test_bounds(void)
{
	size_t n = 300u << 10;
	char *big = malloc(n);
	struct config c;
	struct fault f = { "" };

	memset(big, ' ', n);
	ok(config_parse(&c, "big", big, n, &host, &f) == -EFBIG, "too large: %s", f.text);
	for (size_t i = 0; i < 40000; i++)
		memcpy(big + 2 * i, "- ", 2);
	memcpy(big + 80000, "[", 1);
	for (size_t i = 0; i < 9000; i++)
		memcpy(big + 80001 + 2 * i, "1,", 2);
	ok(config_parse(&c, "deep", big, 98000, &host, &f) == -EINVAL, "deep: %s", f.text);
	big[80000] = '[';
	ok(config_parse(&c, "wide", big + 80000, 18000, &host, &f) == -EINVAL && strstr(f.text, "too many values"), "wide: %s", f.text);
	free(big);
}

/* The one group of a refused file, as if the API had sent its keys; NULL when there is not exactly one. */
static struct yaml_node *one_group(struct yaml_doc *d, const char *text)
{
	struct yaml_node *list;
	struct fault f;

	if (yaml_doc_parse(d, NULL, text, strlen(text), &f))
		return NULL;
	list = yaml_child(yaml_child(d->root, "config"), "host_groups");
	return list && list->kind == YAML_SEQ && list->first && !list->first->next ? list->first : NULL;
}

/* Every refusal about one group has the same sentence by the API, without a place. */
static void test_added_refusals(void)
{
	unsigned same = 0;
	struct config c;
	struct fault f;

	ok(parse(&c, "config:\n  host_groups: []\n", &f) == 0 && c.n_groups == 0 && c.n_notes == 1, "a file without groups, with a note: %s", f.text);
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		const char *says = refusals[i].says;
		struct config_notes notes;
		struct host_group g;
		struct yaml_doc d;

		if (strncmp(refusals[i].text, G, strlen(G)) != 0 || strstr(refusals[i].text, "_file") || strstr(refusals[i].text, "image"))
			continue;
		d.root = one_group(&d, refusals[i].text);
		if (!d.root || strstr(refusals[i].text, "\n  api") || strstr(refusals[i].text, "\n  pci") || strstr(refusals[i].text, "\n  hyper") ||
		    strstr(refusals[i].text, "\n  kernel")) {
			yaml_doc_done(&d);
			continue;
		}
		if (strncmp(says, "t.yaml:", 7) == 0)
			says += strcspn(says, " ") + 1;
		f.text[0] = 0;
		if (config_check_added(&c, &d, NULL, &g, &notes, &f) != -EINVAL || !strstr(f.text, says) || strstr(f.text, "t.yaml") || d.root)
			ok(false, "by the API: '%s', not '%s'", says, f.text);
		else
			same++;
	}
	ok(same >= 25, "%u refusals are the same by the API", same);
	config_done(&c);
}

static int add(struct config *c, const char *text, const struct host_group *old, struct host_group *out, struct fault *f)
{
	struct config_notes notes;
	struct yaml_doc d;

	f->text[0] = 0;
	return yaml_doc_parse(&d, NULL, text, strlen(text), f) ? -EBADMSG : config_check_added(c, &d, old, out, &notes, f);
}

static void test_added(void)
{
	struct host_group g, h;
	struct config c;
	struct fault f;

	ok(parse(&c, G "    network: {gateway: 10.0.0.1/24}\n", &f) == 0, "one of the file");
	ok(add(&c, "name: vm\n", NULL, &g, &f) == -EEXIST && strstr(f.text, "'vm' already"), "its name: %s", f.text);
	ok(add(&c, "name: b\nnetwork: {bridge: b1, gateway: 10.0.0.65/26}\n", NULL, &g, &f) == -EEXIST && strstr(f.text, "of group 'vm' (line 3)"), "its network: %s",
	   f.text);
	ok(add(&c, "name: b\nuserdata_file: /etc/passwd\n", NULL, &g, &f) == -EINVAL, "a file: %s", f.text);
	ok(add(&c, "name: b\nkernel_file: /etc/passwd\n", NULL, &g, &f) == -EINVAL && strstr(f.text, "not open in the daemon"), "a kernel's path: %s", f.text);
	ok(add(&c, "name: b\nnetwork: {bridge: b1, gateway: 10.1.0.1/24}\n", NULL, &g, &f) == 0 && g.by_api && g.count == 0 && !g.line, "a good one: %s", f.text);
	config_add(&c, &g);
	ok(c.n_groups == 2 && config_group(&c, "b") == &c.groups[1], "is there");
	ok(add(&c, "name: x\nnetwork: {bridge: b2, gateway: 10.1.0.129/25}\n", NULL, &h, &f) == -EEXIST && strstr(f.text, "of group 'b': give"), "no line of a file: %s", f.text);
	ok(add(&c, "name: b\nvcpu: 3\nnetwork: {bridge: b1, gateway: 10.1.0.1/24}\n", &c.groups[1], &h, &f) == 0 && h.vcpus == 3, "over itself: %s", f.text);
	host_group_done(&h);
	ok(add(&c, "name: c\n", &c.groups[1], &h, &f) == -EINVAL && strstr(f.text, "name"), "another name: %s", f.text);
	config_take_out(&c, 0);
	ok(c.n_groups == 1 && config_group(&c, "b") == &c.groups[0] && !config_group(&c, "vm"), "taken out");
	config_done(&c);
}

int main(void)
{
	test_added_refusals();
	test_added();
	test_kernels();
	test_refusals();
	test_defaults();
	test_tls();
	test_isolated();
	test_full();
	test_files();
	test_bounds();
	return tap_done();
}
