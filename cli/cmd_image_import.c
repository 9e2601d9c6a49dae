/* image import: an archive, a root file system or a raw disk becomes an image, inside a builder: a VM without network. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/cli.h"
#include "cli/copy.h"
#include "cli/image.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_DEFAULT (10ull << 30)
#define RAM_DEFAULT_MB 512u
#define ARCHIVE "/root/archive" /* in the builder */
#define NAME_MAX_BYTES 256u

static const struct opt import_opts[] = {
	{ "name", 'n', OPT_LIST, "NAME[:TAG]", "what it is called (default: what the archive says, else the file's name)" },
	{ "size", 0, OPT_SIZE, "SIZE", "of its disk (default 10G, sparse); VMs may have larger ones" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory of the builder in MiB (default 512)" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no progress" },
	{ "json", 0, OPT_FLAG, NULL, "print the new image as JSON" },
	{ 0 },
};

static int start_builder(const struct args *a, const struct remote *r, uint64_t archive_bytes, uint64_t size, char vm[VM_NAME_MAX])
{
	struct json_out o;
	struct answer an;
	struct buf body;
	buf_init(&body, 1024);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_u64(&o, "size", arg_u64(a, "size", size) & ~4095ull);
	json_put_u64(&o, "scratch_bytes", ((archive_bytes + archive_bytes / 16) & ~4095ull) + (512ull << 20));
	json_put_u64(&o, "ram_bytes", arg_u64(a, "ram-mb", RAM_DEFAULT_MB) << 20);
	json_end(&o);
	int code = remote_ask(r, "POST", "/images/builders", &body, &an);
	buf_done(&body);
	if (code)
		return code;
	if (an.status >= 300)
		code = remote_refused(r, EXIT_FAIL, an.status, &an.text, "cannot start a builder");
	else
		code = vm_name_take(vm, json_text(json_root(&an.json), "hostname", ""));
	answer_done(&an);
	return code;
}

/* Without a word: what went wrong before was said. */
static void drop_builder(const struct remote *r, const char *vm)
{
	struct answer an;
	struct buf target;
	buf_init(&target, 1024);
	buf_printf(&target, "/hostgroup/mica-builder/nodes/%s", vm);
	if (remote_ask(r, "DELETE", buf_cstr(&target), NULL, &an) == 0)
		answer_done(&an);
	buf_done(&target);
}

/* ---- the archive into the builder ---- */

/* A folder becomes a tar, by the system's own program: it knows links, devices and attributes. 0, or EXIT_FAIL after saying why. */
static int pack_folder(const char *folder, int to_fd)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		if (dup2(to_fd, STDOUT_FILENO) >= 0)
			execlp("tar", "tar", "--numeric-owner", "--xattrs", "--one-file-system", "-C", folder, "-cf", "-", ".", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return out_error(EXIT_FAIL, WIFEXITED(status) && WEXITSTATUS(status) == 127 ? "this machine has no program tar" : "tar failed",
		"give an archive: tar --numeric-owner -C FOLDER -cf root.tar . (as root, for the owners)", "cannot pack %s", folder);
}

/* Standard input goes through a file: its size must be known in the builder. */
static int keep_stdin(int to_fd)
{
	static char chunk[1 << 16];
	ssize_t n;
	while ((n = read_full(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		if ((n = write_full(to_fd, chunk, (size_t)n)) < 0)
			break;
	return n < 0 ? out_error(EXIT_FAIL, strerror((int)-n), "make room there (TMPDIR), or give a file", "cannot keep standard input") : 0;
}

/* path is what to read: `given`, or a file without name in $TMPDIR, which goes with *temp_fd (the caller's) however this program ends. */
static int take_source(const char *given, char path[PATH_MAX], int *temp_fd, uint64_t *bytes)
{
	struct stat st;
	bool piped = !strcmp(given, "-");
	int code = 0;
	if (strlen(given) >= PATH_MAX)
		return out_error(EXIT_FAIL, strerror(ENAMETOOLONG), "check the path", "cannot read %.100s…", given);
	strcpy(path, given);
	if (piped || (stat(given, &st) == 0 && S_ISDIR(st.st_mode))) {
		*temp_fd = build_temp();
		if (*temp_fd < 0)
			return out_error(EXIT_FAIL, strerror(-*temp_fd), "make room there (TMPDIR)", "cannot keep %s", piped ? "standard input" : given);
		snprintf(path, PATH_MAX, "/proc/self/fd/%d", *temp_fd);
		code = piped ? keep_stdin(*temp_fd) : pack_folder(given, *temp_fd);
	}
	if (code)
		return code;
	if (stat(path, &st))
		return out_error(EXIT_FAIL, strerror(errno), "check the path", "cannot read %s", given);
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* ---- in the builder ---- */

int image_exec(const struct remote *r, const char *vm, const char *const *argv, struct answer *an, const char **out, const char *doing, const char *fix)
{
	bool first = true;
	struct buf target;
	char said[512];
	buf_init(&target, 16384);
	vm_target(&target, vm, "/exec");
	http_add_param(&target, &first, "cmd", argv[0]);
	for (size_t i = 1; argv[i]; i++)
		http_add_param(&target, &first, "args", argv[i]);
	http_add_param(&target, &first, "uid", "0");
	http_add_param(&target, &first, "cwd", "/");
	http_add_param(&target, &first, "buffered", "true");
	int code = remote_ask(r, "POST", buf_cstr(&target), NULL, an);
	buf_done(&target);
	if (code)
		return code;
	const struct json_val *v = an->json.v ? json_root(&an->json) : NULL;
	if (an->status >= 300) {
		code = remote_refused(r, EXIT_FAIL, an->status, &an->text, doing);
	} else if (json_int(v, "exit_code") || *json_text(v, "error", "")) {
		const char *text = json_text(v, "stderr", "");
		const char *last = strstr(text, "error: ");
		out_clean(said, sizeof(said), last ? last + 7 : *text ? text : json_text(v, "error", "no reason is given"));
		said[strcspn(said, "\n")] = '\0';
		code = out_error(EXIT_FAIL, said, fix, "%s", doing);
	}
	*out = json_text(v, "stdout", "");
	if (code)
		answer_done(an);
	return code;
}

/* A script; its one line of output in *out. */
static int build(const struct remote *r, const char *vm, const char *script, bool raw_disk, struct answer *an, const char **out)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	if (raw_disk)
		return image_exec(r, vm, argv, an, out, "cannot take the disk",
			"a raw ext4 file system without partitions can be imported; 'e2fsck -f FILE' mends one that is damaged");
	return image_exec(r, vm, argv, an, out, "cannot unpack the archive",
		"'docker save IMAGE', an OCI layout in a tar, or a tar of a root file system can be imported");
}

/* "web" of "/x/web-1.2.tar.gz", or "image". */
static void name_of_file(const char *file, char out[NAME_MAX_BYTES])
{
	static const char *const ends[] = { ".gz", ".zst", ".tgz", ".tar", ".oci", ".img", ".raw", ".ext4" };
	const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	snprintf(out, NAME_MAX_BYTES, "%.200s", !strcmp(file, "-") || !*base || *base == '.' ? "image" : base);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		size_t n = strlen(out), e = strlen(ends[i]);
		if (n > e && !strcmp(out + n - e, ends[i]))
			out[n - e] = '\0';
	}
}

/* Which names: those given, else the archive's, else the file's. */
static void put_names(struct json_out *o, const struct args *a, const char *report)
{
	char own[NAME_MAX_BYTES];
	struct json j;
	const char *v;
	unsigned i = 0, n = 0;
	json_arr(o, "names");
	for (; (v = arg_next(a, "name", &i)); n++)
		json_put_str(o, NULL, v);
	if (!n && json_parse(&j, report, strlen(report), 100000, NULL) == 0) {
		const struct json_val *names = json_get(json_root(&j), "names");
		for (const struct json_val *s = json_first(names); s; s = json_next(names, s))
			if (json_str(s) && *json_str(s) && !cache_name_is(json_str(s)) && n++ < 16) /* an archive cannot pass itself off as a build's step */
				json_put_str(o, NULL, json_str(s));
		json_done(&j);
	}
	name_of_file(a->pos[0], own);
	if (!n)
		json_put_str(o, NULL, own);
	json_end(o);
}

static int keep(const struct args *a, const struct remote *r, char vm[VM_NAME_MAX], const char *report, struct answer *an)
{
	struct json_out o;
	struct buf body;
	char line[49152];
	snprintf(line, sizeof(line), "%s", report);
	line[strcspn(line, "\n")] = '\0';
	buf_init(&body, 1 << 18);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	put_names(&o, a, line);
	json_put_str(&o, "report", strlen(report) < sizeof(line) ? line : "");
	json_end(&o);
	int code = vm_ask(r, "POST", vm, "/image", &body, an, "cannot keep the image");
	buf_done(&body);
	return code;
}

/* The disk is copied to the new one and mounted there, in the builder: its kernel replays the journal and judges it. */
static const char disk_script[] = "set -e; dd if=" ARCHIVE " of=/dev/vdb bs=1M conv=fsync 2>/dev/null; rm " ARCHIVE "; mkdir -p /new; "
	"mount -t ext4 -o noatime /dev/vdb /new; /usr/lib/mica/unpack --disk --adopt /new; umount /new";

static int fill(const struct args *a, const struct remote *r, char vm[VM_NAME_MAX], const char *source, uint64_t bytes, bool raw_disk)
{
	struct copy_ask how = { .mode = "binary", .uid = "0", .quiet = arg_flag(a, "quiet", false), .code = EXIT_FAIL };
	struct answer done, kept;
	const char *report;
	char script[512];
	int code = copy_in(r, vm, source, ARCHIVE, &how);
	if (code)
		return code;
	snprintf(script, sizeof(script), "set -e; " SPREAD_EMPTY MOUNT_NEW
		"/usr/lib/mica/unpack --adopt --bytes %llu " ARCHIVE " /new; umount /new", (unsigned long long)bytes);
	code = build(r, vm, raw_disk ? disk_script : script, raw_disk, &done, &report);
	if (code)
		return code;
	code = keep(a, r, vm, report, &kept);
	answer_done(&done);
	if (code)
		return code;
	if (!answer_as_json(a, &kept))
		image_print(json_root(&kept.json));
	answer_done(&kept);
	return 0;
}

/* Its first bytes: is that a file system of ext2 to ext4, and no archive? The magic stands at 1080 (Documentation/filesystems/ext4/super.rst). */
static bool is_disk(const char *path)
{
	uint8_t magic[2] = { 0 };
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 && pread_full(fd, magic, 2, 1024 + 56) == 2 && magic[0] == 0x53 && magic[1] == 0xef;
}

/* Ctrl-C and the like end a request, not this program: the builder goes first. Its making is waited for: before that it has no name to go by. */
static int in_builder(const struct args *a, const struct remote *r, const char *source, uint64_t bytes, bool raw_disk)
{
	struct remote may_end = *r;
	struct signalfd_siginfo si;
	char vm[VM_NAME_MAX];
	sigset_t old;
	may_end.cancel_fd = cancel_signals(&old);
	int code = start_builder(a, r, bytes, raw_disk ? (bytes + 4095) & ~4095ull : SIZE_DEFAULT, vm);
	if (!code) {
		code = fill(a, &may_end, vm, source, bytes, raw_disk);
		if (code)
			drop_builder(r, vm);
	}
	while (may_end.cancel_fd >= 0 && read(may_end.cancel_fd, &si, sizeof(si)) > 0) /* taken, or it would end us when unblocked */
		code = code ? 128 + (int)si.ssi_signo : 0;
	fd_close(&may_end.cancel_fd);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return code;
}

int image_import(struct args *a, bool raw_disk)
{
	struct remote r;
	char source[PATH_MAX];
	AUTO_FD temp_fd = -1;
	uint64_t bytes = 0;
	int code = remote_init(&r, a);
	if (!code)
		code = take_source(a->pos[0], source, &temp_fd, &bytes);
	if (code)
		return code;
	if (is_disk(source))
		raw_disk = true;
	else if (raw_disk)
		code = out_error(EXIT_FAIL, "it is no raw ext4 file system",
			"copy the root partition of a disk into a file of its own; 'mica image import' takes archives", "cannot import %s", a->pos[0]);
	if (!code && raw_disk && arg_u64(a, "size", bytes) < bytes)
		code = out_error(EXIT_USAGE, NULL, "leave --size out, or give a larger one", "the disk has more bytes than --size");
	if (!code)
		code = in_builder(a, &r, source, bytes, raw_disk);
	return code;
}

static int run_import(struct args *a)
{
	return image_import(a, false);
}

const struct cmd cmd_image_import = {
	.group = "image", .name = "import", .aliases = "adopt", .synopsis = "FILE|FOLDER|-", .summary = "make an image of a docker-save or OCI archive, a root file system or a raw disk",
	.opts = import_opts, .examples = "docker save web:1 | mica image import -\nmica image import --name debian:12 rootfs.tar.gz\nmica image import ./rootfs --size 4G",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_import,
};
