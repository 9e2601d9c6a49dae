/* support-bundle: one tar of what somebody needs who is to help, and nothing that is secret. It is made here, from this machine's daemon, and sent
 * nowhere. Every text passes cli/mask. */
#include "cli/checks.h"
#include "cli/cli.h"
#include "cli/mask.h"
#include "cli/out.h"
#include "cli/parts.h"
#include "cli/remote.h"
#include "cli/spawn.h"
#include "lib/arc/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUNDLE_MAX (256u << 20)
#define MEMBER_MAX (1u << 20)  /* of a command's output */
#define TAIL_BYTES 65536u      /* of a console */
#define COMMAND_MS 10000
#define VMS_MOST 256u
#define SECRETS_MOST 1024u

static const struct opt bundle_opts[] = {
	{ "output", 'o', OPT_TEXT, "FILE", "the tar to write (default mica-support-TIME.tar here; - for standard output)" },
	{ "state", 0, OPT_TEXT, "DIR", "the daemon's folder (MICA_STATE; default as for up)" },
	{ "config", 0, OPT_TEXT, "FILE", "the daemon's config (default as for up)" },
	{ 0 },
};

struct bundle {
	struct buf tar, notes;
	struct mask mask;
	char state[PATH_MAX - 300], stamp[32];
	int state_fd;
	int err;
};

static void note(struct bundle *b, const char *what, const char *why)
{
	buf_printf(&b->notes, "missing: %s: %s\n", what, why);
}

/* One member, masked. */
static void put(struct bundle *b, const char *name, const char *text, size_t n)
{
	static const char zeros[TAR_BLOCK_BYTES];
	struct tar_entry e = { .type = TAR_FILE, .mode = 0600, .mtime_s = (int64_t)(now_real_ns() / 1000000000u) };
	struct buf clean;
	buf_init(&clean, 2 * MEMBER_MAX + 8 * TAIL_BYTES + REPLY_MAX);
	int err = mask_put(&b->mask, &clean, text, n);
	snprintf(e.name, sizeof(e.name), "mica-support-%s/%s", b->stamp, name);
	e.size = buf_len(&clean);
	if (!err)
		err = tar_header(&b->tar, &e);
	if (!err)
		err = buf_add(&b->tar, buf_data(&clean), buf_len(&clean));
	if (!err)
		err = buf_add(&b->tar, zeros, tar_padding(e.size));
	buf_done(&clean);
	if (err && !b->err)
		b->err = err;
}

static void put_command(struct bundle *b, const char *name, const char *program, char *const *argv)
{
	static char out[MEMBER_MAX];
	struct fault f = { "" };
	AUTO_FD fd = open(program, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		note(b, name, strerror(errno));
		return;
	}
	int err = spawn_capture(fd, argv, out, sizeof(out), COMMAND_MS, &f);
	if (err)
		note(b, name, f.text[0] ? f.text : strerror(-err));
	if (out[0])
		put(b, name, out, strlen(out));
	out[0] = 0;
}

static void put_ours(struct bundle *b, const char *name, const char *w1, const char *w2, const char *w3)
{
	char mem[4][PATH_MAX], *argv[5] = { mem[0], w1 ? mem[1] : NULL, w2 ? mem[2] : NULL, w3 ? mem[3] : NULL, NULL };
	const char *words[4] = { "mica", w1, w2, w3 };
	for (int i = 0; i < 4; i++)
		snprintf(mem[i], sizeof(mem[i]), "%s", words[i] ? words[i] : "");
	put_command(b, name, "/proc/self/exe", argv);
}

/* The last bytes of a file. */
static void put_tail(struct bundle *b, int dir_fd, const char *file, const char *name)
{
	static char text[TAIL_BYTES];
	struct stat st;
	AUTO_FD fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0 || errno != ENOENT)
			note(b, name, fd < 0 ? strerror(errno) : "no plain file");
		return;
	}
	uint64_t from = st.st_size > (off_t)sizeof(text) ? (uint64_t)st.st_size - sizeof(text) : 0;
	ssize_t n = pread_full(fd, text, sizeof(text), from);
	if (n > 0)
		put(b, name, text, (size_t)n);
}

/* ---- what must not be in it ---- */

/* Files whose lines are secret: all of a folder of the state folder. */
static void learn_folder(struct bundle *b, const char *folder, const char *only)
{
	AUTO_FD fd = openat(b->state_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(dup(fd));
	struct dirent *e;
	unsigned n = 0;
	if (!d) {
		if (errno != ENOENT)
			note(b, folder, "it cannot be read, so what looks like a secret is masked, and nothing by its value; run it as root");
		return;
	}
	while ((e = readdir(d)) && n++ < SECRETS_MOST)
		if (e->d_name[0] != '.' && (!only || strstr(e->d_name, only)) && !mask_add_file(&b->mask, fd, e->d_name))
			note(b, e->d_name, "a secret that cannot be read here: run it as root");
	closedir(d);
}

static void learn(struct bundle *b)
{
	static const char *const names[] = { "MICA_TOKEN", "SLICER_TOKEN" };
	if (b->state_fd >= 0) {
		learn_folder(b, "secrets", NULL);
		learn_folder(b, "auth", NULL);
		learn_folder(b, "tls", "key");
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (getenv(names[i]))
			mask_add(&b->mask, getenv(names[i]), strlen(getenv(names[i])));
}

/* ---- what is in it ---- */

static void each_vm(struct bundle *b, void (*fn)(struct bundle *b, int dir_fd, const char *name))
{
	AUTO_FD vms = b->state_fd < 0 ? -1 : openat(b->state_fd, "vm", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = vms < 0 ? NULL : fdopendir(dup(vms));
	struct dirent *e;
	unsigned n = 0;
	if (!d) {
		note(b, "vm", strerror(errno));
		return;
	}
	while ((e = readdir(d)) && n < VMS_MOST) {
		if (!name_is_valid(e->d_name, VM_NAME_MAX))
			continue;
		AUTO_FD one = openat(vms, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		n++;
		if (one >= 0)
			fn(b, one, e->d_name);
	}
	closedir(d);
}

static void learn_vm(struct bundle *b, int dir_fd, const char *name)
{
	if (!mask_add_file(&b->mask, dir_fd, "userdata"))
		note(b, name, "its userdata cannot be read, and is not masked by its value");
}

static void put_vm(struct bundle *b, int dir_fd, const char *name)
{
	static const char *const files[] = { "record", "report", "console.log", "net.jsonl" };
	char path[VM_NAME_MAX + 40];
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "vm/%s/%s", name, files[i]);
		put_tail(b, dir_fd, files[i], path);
	}
}

static void put_checks(struct bundle *b)
{
	struct check c[CHECKS_MAX];
	struct buf text;
	unsigned n = checks_run(c, b->state);
	buf_init(&text, MEMBER_MAX);
	for (unsigned i = 0; i < n; i++)
		buf_printf(&text, "%-5s %-10s %s%s%s%s\n", check_word(c[i].state), c[i].name, c[i].found, c[i].code ? " [" : "",
			   c[i].code ? c[i].code : "", c[i].code ? "]" : "");
	put(b, "checks.txt", (const char *)buf_data(&text), buf_len(&text));
	buf_done(&text);
}

static void put_kvm(struct bundle *b)
{
	struct parts parts;
	struct host_kvm k;
	struct fault f = { "" };
	char text[2048];
	if (parts_open(&parts, &f)) {
		note(b, "kvm.json", f.text);
		return;
	}
	host_kvm_probe(&parts, "/dev/kvm", &k);
	snprintf(text, sizeof(text), "%s\n%s%s%s\n", k.json, k.code ? k.code : "", k.code ? ": " : "", k.code ? k.reason : "");
	put(b, "kvm.json", text, strlen(text));
	parts_done(&parts);
}

static void put_kernel(struct bundle *b)
{
	static const char *const files[] = { "version", "cmdline", "cpuinfo", "meminfo", "mounts", "modules", "loadavg", "filesystems", "self/limits", "self/cgroup",
		"sys/user/max_user_namespaces", "sys/net/ipv4/ip_forward", "sys/kernel/seccomp/actions_avail", "net/dev", "pressure/memory", "pressure/cpu", "pressure/io" };
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char path[80], name[80], *text;
		size_t n;
		snprintf(path, sizeof(path), "/proc/%s", files[i]);
		snprintf(name, sizeof(name), "kernel/%s.txt", files[i]);
		for (char *p = name + 7; *p; p++)
			if (*p == '/')
				*p = '.';
		int err = read_file_at(AT_FDCWD, path, MEMBER_MAX, &text, &n);
		if (err) {
			note(b, name, strerror(-err));
			continue;
		}
		put(b, name, text, n);
		free(text);
	}
}

static bool answers(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(a.sun_path))
		return false;
	strcpy(a.sun_path, path);
	return fd >= 0 && !connect(fd, (const struct sockaddr *)&a, sizeof(a));
}

static void put_api(struct bundle *b)
{
	static const struct {
		const char *target, *name;
	} rows[] = { { "/info", "api/info.json" }, { "/nodes", "api/nodes.json" }, { "/hostgroup", "api/hostgroups.json" }, { "/nodes/stats", "api/stats.json" },
		     { "/metrics", "api/metrics.txt" } };
	struct remote r;
	char sock[PATH_MAX];
	snprintf(sock, sizeof(sock), "%s/api.sock", b->state);
	if (!answers(sock) || remote_init_socket(&r, sock)) {
		note(b, "api", "no daemon answers there");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct answer an;
		if (remote_ask(&r, "GET", rows[i].target, NULL, &an)) {
			note(b, rows[i].name, "the daemon did not answer");
			continue;
		}
		if (an.status == 200)
			put(b, rows[i].name, (const char *)buf_data(&an.text), buf_len(&an.text));
		else
			note(b, rows[i].name, "refused");
		answer_done(&an);
	}
}

static void put_config(struct bundle *b, const char *file)
{
	for (const char *const *c = compat_configs; !file && *c; c++)
		if (!access(*c, R_OK))
			file = *c;
	if (file)
		put_ours(b, "config.yaml", "config", "show", file);
	else
		note(b, "config.yaml", "no config here: name it with --config");
}

static void put_logs(struct bundle *b)
{
	static char w[6][20] = { "journalctl", "-u", "mica", "-n", "2000", "--no-pager" };
	char *argv[] = { w[0], w[1], w[2], w[3], w[4], w[5], NULL };
	if (access("/usr/bin/journalctl", X_OK))
		note(b, "journal.txt", "no journalctl here; add the daemon's output by hand");
	else
		put_command(b, "journal.txt", "/usr/bin/journalctl", argv);
}

static int gather(struct bundle *b, const struct args *a)
{
	learn(b);
	each_vm(b, learn_vm);
	put_ours(b, "version.json", "version", "--json", NULL);
	put_checks(b);
	put_kvm(b);
	put_kernel(b);
	put_config(b, arg_text(a, "config"));
	put_ours(b, "ps.json", "ps", "--json", NULL);
	put_api(b);
	each_vm(b, put_vm);
	put_logs(b);
	buf_adds(&b->notes, "Secrets are masked: tokens, secrets' values, TLS keys, userdata, and what looks like a password or key.\n"
			    "Consoles are what guests printed: look through vm/*/console.log before you give this away.\n");
	put(b, "README.txt", (const char *)buf_data(&b->notes), buf_len(&b->notes));
	return b->err ? b->err : tar_finish(&b->tar);
}

static int write_out(const struct bundle *b, const char *file)
{
	bool to_stdout = !strcmp(file, "-");
	AUTO_FD fd = to_stdout ? dup(1) : open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = fd < 0 ? -errno : write_full(fd, buf_data(&b->tar), buf_len(&b->tar));
	if (err && fd >= 0 && !to_stdout)
		unlink(file);
	if (err)
		return out_error(EXIT_FAIL, strerror(-err), err == -EEXIST ? "name another with -o" : "name another place with -o", "cannot write %s", file);
	if (!to_stdout)
		printf("%s written, %zu KiB; secrets are masked, see README.txt in it\n", file, buf_len(&b->tar) >> 10);
	return EXIT_OK;
}

static int run(struct args *a)
{
	static struct bundle b;
	char file[80];
	time_t now = time(NULL);
	struct tm tm;
	b = (struct bundle){ .state_fd = -1 };
	buf_init(&b.tar, BUNDLE_MAX);
	buf_init(&b.notes, MEMBER_MAX);
	strftime(b.stamp, sizeof(b.stamp), "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
	if (arg_text(a, "state"))
		snprintf(b.state, sizeof(b.state), "%s", arg_text(a, "state"));
	else if (state_folder(b.state, sizeof(b.state)))
		b.state[0] = 0;
	b.state_fd = b.state[0] ? open(b.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (b.state_fd < 0)
		note(&b, "state folder", strerror(errno));
	snprintf(file, sizeof(file), "mica-support-%s.tar", b.stamp);
	int err = gather(&b, a);
	int code = err ? out_error(EXIT_FAIL, strerror(-err), "free some memory", "cannot make the bundle")
		       : write_out(&b, arg_text(a, "output") ? arg_text(a, "output") : file);
	mask_done(&b.mask);
	buf_done(&b.tar);
	buf_done(&b.notes);
	fd_close(&b.state_fd);
	return code;
}

const struct cmd cmd_support_bundle = { .name = "support-bundle", .summary = "Pack what is needed to find a fault into one tar, without secrets",
	.opts = bundle_opts,
	.examples = "sudo mica support-bundle\nsudo mica support-bundle -o fault.tar --config /etc/mica/mica.yaml\ntar tf fault.tar", .command_at = -1, .run = run };
