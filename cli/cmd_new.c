/* new: print a config file (contract §2.2, §3.2). */
#include "cli/cli.h"
#include "cli/out.h"
#include "lib/json/json.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (1u << 20)
#define YAML_MAX (4u << 20)

static const struct opt new_opts[] = {
	{ "count", 0, OPT_NUMBER, "N", "VMs to start with the daemon (default 1; 0: by API only)" },
	{ "cpu", 0, OPT_NUMBER, "N", "processors of a VM (default 2)" },
	{ "ram", 0, OPT_NUMBER, "N", "memory of a VM in GiB (default 4)" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "the same in MiB" },
	{ "storage", 0, OPT_TEXT, "KIND", "image (default)" },
	{ "storage-size", 0, OPT_SIZE, "SIZE", "root disk (default 25G, sparse)" },
	{ "persistent", 0, OPT_FLAG, NULL, "VMs made by the API keep their disk" },
	{ "net", 0, OPT_TEXT, "MODE", "bridge (default), isolated, macvtap, or none" },
	{ "cidr", 0, OPT_TEXT, "CIDR", "the host's address and network (default 192.168.137.1/24)" },
	{ "range", 0, OPT_TEXT, "A-B", "addresses to give to VMs" },
	{ "address", 0, OPT_LIST, "ADDRESS", "pinned address" },
	{ "parent", 0, OPT_TEXT, "NIC", "macvtap: the host's interface on the LAN (default: of its default route)" },
	{ "tap-prefix", 0, OPT_TEXT, "PREFIX", "names of the taps (default vmtap)" },
	{ "bridge", 0, OPT_TEXT, "NAME", "name of the bridge (default brvm0)" },
	{ "isolated-range", 0, OPT_TEXT, "CIDR", "isolated: where its /30 networks come from" },
	{ "allow", 0, OPT_LIST, "CIDR", "isolated, bridge: destination that is allowed" },
	{ "drop", 0, OPT_LIST, "CIDR", "isolated, bridge: destination that is dropped" },
	{ "dns", 0, OPT_LIST, "ADDRESS", "name server" },
	{ "publish", 0, OPT_LIST, "SPEC", "with count 1: port of the host that leads into the VM, without token: [ADDRESS:]PORT:GUEST-PORT" },
	{ "api-bind", 0, OPT_TEXT, "ADDRESS", "where the API listens (default 127.0.0.1)" },
	{ "api-port", 0, OPT_NUMBER, "N", "its port (default 8080)" },
	{ "socket", 0, OPT_TEXT, "PATH", "the API on a unix socket instead" },
	{ "api-auth", 0, OPT_FLAG, NULL, "ask for the token (default on TCP; sockets: off)" },
	{ "tls", 0, OPT_FLAG, NULL, "HTTPS on the API's port (default when --api-bind is not this machine alone)" },
	{ "ssh-port", 0, OPT_NUMBER, "N", "serial console over SSH" },
	{ "ssh-key", 0, OPT_LIST, "KEY", "public key, its text or a file" },
	{ "find-ssh-keys", 0, OPT_FLAG, NULL, "take ~/.ssh/*.pub (default; =false: not)" },
	{ "github", 0, OPT_TEXT, "USER", "GitHub user whose keys are taken" },
	{ "import-user", 0, OPT_TEXT, "USER", "the same" },
	{ "userdata", 0, OPT_TEXT, "TEXT", "script for the first boot" },
	{ "userdata-file", 0, OPT_TEXT, "PATH", "file with that script" },
	{ "image", 0, OPT_TEXT, "IMAGE", "min (built in, default) or the path of a raw ext4 image" },
	{ "min", 0, OPT_FLAG, NULL, "the built-in image (default)" },
	{ "ca", 0, OPT_FLAG, NULL, "make a CA and trust it in the VMs" },
	{ "bench", 0, OPT_FLAG, NULL, "preset for benchmarks: group bch, 1 CPU, 1 GiB, by API only, no grace" },
	{ "graceful-shutdown", 0, OPT_FLAG, NULL, "shut VMs down when the daemon stops (default; =false: kill them)" },
	{ "insecure-registry", 0, OPT_FLAG, NULL, "image registry over plain HTTP" },
	{ 0 },
};

/* A double-quoted YAML scalar: JSON's is one. */
static void quoted(struct buf *b, const char *s)
{
	struct json_out o;
	json_out_init(&o, b);
	json_put_str(&o, NULL, s);
}

static void key(struct buf *b, const char *indent_key, const char *value)
{
	if (!value)
		return;
	buf_printf(b, "%s: ", indent_key);
	quoted(b, value);
	buf_adds(b, "\n");
}

static void list(struct buf *b, const char *indent_key, const struct args *a, const char *option)
{
	const char *v;
	unsigned i = 0;
	bool first = true;
	if (!arg_text(a, option))
		return;
	buf_printf(b, "%s: [", indent_key);
	for (; (v = arg_next(a, option, &i)); first = false) {
		buf_adds(b, first ? "" : ", ");
		quoted(b, v);
	}
	buf_adds(b, "]\n");
}

/* ---- keys ---- */

static bool add_key(struct buf *b, bool *any, const char *text)
{
	char line[2048];
	size_t n = strcspn(text, "\r\n");
	if (!n || n >= sizeof(line) || *text == '#')
		return false;
	memcpy(line, text, n);
	line[n] = 0;
	if (!*any)
		buf_adds(b, "  ssh_keys:\n");
	*any = true;
	buf_adds(b, "  - ");
	quoted(b, line);
	buf_adds(b, "\n");
	return true;
}

static void ssh_keys(struct buf *b, const struct args *a, bool find)
{
	bool any = false;
	const char *v;
	unsigned i = 0;
	char *text;
	size_t n;
	while ((v = arg_next(a, "ssh-key", &i))) {
		if (!read_file_at(AT_FDCWD, v, FILE_MAX, &text, &n)) {
			add_key(b, &any, text);
			free(text);
		} else {
			add_key(b, &any, v);
		}
	}
	const char *home = getenv("HOME");
	char pattern[512];
	glob_t g;
	snprintf(pattern, sizeof(pattern), "%s/.ssh/*.pub", home ? home : "");
	if (!find || !home || glob(pattern, 0, NULL, &g))
		return;
	for (size_t k = 0; k < g.gl_pathc; k++) {
		if (read_file_at(AT_FDCWD, g.gl_pathv[k], FILE_MAX, &text, &n))
			continue;
		add_key(b, &any, text);
		free(text);
	}
	globfree(&g);
}

/* ---- network ---- */

static void network(struct buf *b, const struct args *a, const char *mode)
{
	bool bridge = !strcmp(mode, "bridge"), isolated = !strcmp(mode, "isolated");
	buf_adds(b, "    network:\n");
	buf_printf(b, "      mode: %s\n", mode);
	if (bridge) {
		key(b, "      bridge", arg_text(a, "bridge") ? arg_text(a, "bridge") : "brvm0");
		key(b, "      tap_prefix", arg_text(a, "tap-prefix") ? arg_text(a, "tap-prefix") : "vmtap");
	}
	if (bridge || arg_text(a, "cidr"))
		key(b, "      gateway", arg_text(a, "cidr") ? arg_text(a, "cidr") : "192.168.137.1/24");
	key(b, "      parent", arg_text(a, "parent"));
	key(b, "      range", isolated ? arg_text(a, "isolated-range") : arg_text(a, "range"));
	list(b, "      addresses", a, "address");
	if (bridge) { /* where there is an entry */
		list(b, "      drop", a, "drop");
		list(b, "      allow", a, "allow");
	}
	if (!isolated)
		return;
	if (arg_text(a, "drop"))
		list(b, "      drop", a, "drop");
	else
		buf_adds(b, "      drop: []\n");
	if (arg_text(a, "allow"))
		list(b, "      allow", a, "allow");
	else
		buf_adds(b, arg_text(a, "drop") ? "      allow: []\n" : "      allow: [\"0.0.0.0/0\"]\n");
}

static void api(struct buf *b, const struct args *a, bool bench)
{
	const char *sock = arg_text(a, "socket");
	if (!sock && bench)
		sock = "./mica.sock";
	buf_adds(b, "  api:\n");
	if (!sock)
		buf_printf(b, "    port: %llu\n", (unsigned long long)arg_u64(a, "api-port", 8080));
	key(b, "    bind_address", sock ? sock : arg_text(a, "api-bind") ? arg_text(a, "api-bind") : "127.0.0.1");
	const char *bind = arg_text(a, "api-bind");
	bool open = bind && !strchr(bind, '/') && strncmp(bind, "127.", 4) && strcmp(bind, "localhost");
	if (!sock && arg_flag(a, "tls", open))
		buf_adds(b, "    tls:\n      enabled: true\n");
	if (!sock || arg_text(a, "api-auth"))
		buf_printf(b, "    auth:\n      enabled: %s\n", arg_flag(a, "api-auth", !sock) ? "true" : "false");
}

static int userdata(struct buf *b, const struct args *a)
{
	const char *file = arg_text(a, "userdata-file");
	key(b, "    userdata", arg_text(a, "userdata"));
	key(b, "    userdata_file", file);
	struct stat st;
	if (file && stat(file, &st))
		return out_error(EXIT_FAIL, strerror(errno), "check the path", "cannot read userdata from %s", file);
	return 0;
}

static int check(const struct args *a, const char *name, const char *mode)
{
	static const char *const modes[] = { "bridge", "isolated", "macvtap", "none" };
	size_t m = 0;
	while (m < ARRAY_LEN(modes) && strcmp(modes[m], mode))
		m++;
	if (!name_is_valid(name, 40))
		return out_error(EXIT_USAGE, "a host group has small letters, digits and '-', at most 40", "mica new sbox > mica.yaml",
			"'%s' is no name for a host group", name);
	if (m == ARRAY_LEN(modes))
		return out_error(EXIT_USAGE, "there are four modes", "--net bridge, isolated, macvtap or none", "unknown network mode '%s'", mode);
	if (strcmp(mode, "isolated") && strcmp(mode, "bridge") && (arg_text(a, "allow") || arg_text(a, "drop")))
		return out_error(EXIT_USAGE, "they are rules of the modes 'isolated' and 'bridge'", "add --net=isolated, or leave them out",
			"--allow and --drop do not fit --net=%s", mode);
	if (arg_u64(a, "api-port", 8080) > 65535)
		return out_error(EXIT_USAGE, "a port is at most 65535", "leave it out for 8080", "--api-port=%s", arg_text(a, "api-port"));
	return 0;
}

static void group(struct buf *b, const struct args *a, const char *name, const char *mode, bool bench)
{
	buf_printf(b, "  host_groups:\n  - name: %s\n", name);
	key(b, "    storage", arg_text(a, "storage") ? arg_text(a, "storage") : "image");
	buf_printf(b, "    storage_size: %s\n", arg_text(a, "storage-size") ? arg_text(a, "storage-size") : bench ? "10G" : "25G");
	buf_printf(b, "    count: %llu\n    vcpu: %llu\n", (unsigned long long)arg_u64(a, "count", bench ? 0 : 1), (unsigned long long)arg_u64(a,
		"cpu", bench ? 1 : 2));
	if (arg_text(a, "ram-mb"))
		buf_printf(b, "    ram_mb: %llu\n", (unsigned long long)arg_u64(a, "ram-mb", 0));
	else
		buf_printf(b, "    ram_gb: %llu\n", (unsigned long long)arg_u64(a, "ram", bench ? 1 : 4));
	if (arg_text(a, "persistent"))
		buf_printf(b, "    persistent: %s\n", arg_flag(a, "persistent", false) ? "true" : "false");
	list(b, "    dns_servers", a, "dns");
	list(b, "    publish", a, "publish");
	if (arg_flag(a, "ca", false))
		buf_adds(b, "    ca:\n      generate: true\n");
	network(b, a, mode);
}

static int run(struct args *a)
{
	bool bench = arg_flag(a, "bench", false);
	const char *name = a->n_pos ? a->pos[0] : bench ? "bch" : "vm", *mode = arg_text(a, "net") ? arg_text(a, "net") : "bridge";
	const char *github = arg_text(a, "github") ? arg_text(a, "github") : arg_text(a, "import-user");
	struct buf b;
	int code = check(a, name, mode);
	if (code)
		return code;
	buf_init(&b, YAML_MAX);
	buf_adds(&b, "config:\n");
	if (arg_text(a, "graceful-shutdown") || bench)
		buf_printf(&b, "  graceful_shutdown: %s\n", arg_flag(a, "graceful-shutdown", false) ? "true" : "false");
	group(&b, a, name, mode, bench);
	code = userdata(&b, a);
	key(&b, "  image", arg_text(a, "image") ? arg_text(a, "image") : "min");
	if (arg_flag(a, "insecure-registry", false))
		buf_adds(&b, "  insecure_registry: true\n");
	key(&b, "  github_user", github);
	ssh_keys(&b, a, arg_flag(a, "find-ssh-keys", !bench));
	api(&b, a, bench);
	if (arg_text(a, "ssh-port"))
		buf_printf(&b, "  ssh:\n    port: %llu\n", (unsigned long long)arg_u64(a, "ssh-port", 0));
	const char *text = buf_cstr(&b);
	if (!code && !text)
		code = out_error(EXIT_FAIL, "it is larger than 4 MiB", "use fewer keys, or --userdata-file", "cannot print the config");
	if (!code)
		fputs(text, stdout);
	buf_done(&b);
	return code;
}

const struct cmd cmd_new = { .name = "new", .synopsis = "[NAME]", .summary = "Print a config file for a host group", .opts = new_opts,
	.examples = "mica new vm > mica.yaml\nmica new sbox --count 0 --cpu 1 --ram 1 --storage-size 10G > mica.yaml\n"
		    "mica new ci --count 0 --socket ./mica.sock --graceful-shutdown=false > mica.yaml",
	.max_pos = 1, .command_at = -1, .run = run };
