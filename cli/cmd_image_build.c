/* image build: a Dockerfile and a folder become an image. First everything is looked at that can be, then builders do what no cached step has. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define SIZE_DEFAULT (10ull << 30)
#define PATH_BYTES_MAX 4096u

static const struct opt build_opts[] = {
	{ "file", 'f', OPT_TEXT, "FILE", "the Dockerfile (default DIR/Dockerfile; - reads standard input)" },
	{ "tag", 't', OPT_LIST, "NAME[:TAG]", "what the image is called" },
	{ "build-arg", 0, OPT_LIST, "NAME[=VALUE]", "value of an ARG (default: of the same variable here)" },
	{ "target", 0, OPT_TEXT, "STAGE", "the stage that becomes the image (default: the last)" },
	{ "network", 0, OPT_TEXT, "GROUP", "RUN has the network and kernel of that host group (default: no network)" },
	{ "no-cache", 0, OPT_FLAG, NULL, "do every step, whatever was kept" },
	{ "size", 0, OPT_SIZE, "SIZE", "of the image's disk (default 10G, sparse); VMs may have larger ones" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory of the builder in MiB (default 1024)" },
	{ "cpu", 0, OPT_NUMBER, "N", "processors of the builder (default 1)" },
	{ "output", 'o', OPT_TEXT, "FORMAT", "text, or jsonl: one JSON object a line" },
	{ "quiet", 'q', OPT_FLAG, NULL, "print the image's id alone" },
	{ 0 },
};

/* ---- what is given ---- */

static int take_output(struct build *b)
{
	const char *o = arg_text(b->a, "output");
	b->say = arg_flag(b->a, "quiet", false) ? SAY_NOTHING : SAY_TEXT;
	if (!o || strcmp(o, "text") == 0)
		return 0;
	b->say = SAY_JSONL;
	return strcmp(o, "jsonl") == 0 ? 0 : out_error(EXIT_USAGE, "it is text or jsonl", "", "--output=%s", o);
}

/* As the daemon would refuse it, but before an hour's build. */
static int check_tags(const struct args *a)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@-";
	const char *t;
	unsigned i = 0, n = 0;
	while ((t = arg_next(a, "tag", &i))) {
		size_t len = strlen(t);
		if (!len || len > 240 || strspn(t, chars) != len || strchr("._/:@-", t[0]) || strchr("._/:@-", t[len - 1]) || strstr(t, "//") || strncmp(t, "img-", 4) == 0)
			return out_error(EXIT_USAGE, "an image's name is letters, digits and '._/:@-', as web:1", "", "--tag=%s", t);
		if (strcmp(t, "min") == 0 || strcmp(t, "scratch") == 0 || strncmp(t, CACHE_PREFIX, sizeof(CACHE_PREFIX) - 1) == 0)
			return out_error(EXIT_USAGE, "min, scratch and build-cache: mean something else", "choose another name", "--tag=%s", t);
		if (++n > BUILD_NAMES_MAX)
			return out_error(EXIT_USAGE, "at most 8 names at once", "'mica image tag' gives more", "--tag");
	}
	return 0;
}

static int take_build_args(const struct args *a, struct df_list *out)
{
	const char *v;
	unsigned i = 0;
	while ((v = arg_next(a, "build-arg", &i))) {
		char name[256];
		size_t n = strcspn(v, "=");
		const char *own;
		if (!df_name_is_valid(v, n) || n >= sizeof(name))
			return out_error(EXIT_USAGE, "it is NAME=VALUE, or NAME for this shell's variable", "", "--build-arg=%s", v);
		memcpy(name, v, n);
		name[n] = '\0';
		own = v[n] ? v + n + 1 : getenv(name);
		if (own && df_list_set(out, name, own))
			return out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "too many build arguments");
	}
	return 0;
}

static int read_text(int dir_fd, const char *path, char **text, size_t *n)
{
	if (strcmp(path, "-") != 0)
		return read_file_at(dir_fd, path, DF_BYTES_MAX, text, n);
	*text = calloc(1, DF_BYTES_MAX + 2);
	ssize_t got = *text ? read_full(STDIN_FILENO, *text, DF_BYTES_MAX + 1) : -ENOMEM;
	*n = got < 0 ? 0 : (size_t)got;
	return got < 0 ? (int)got : 0;
}

static int read_dockerfile(struct build *b, struct fault *f)
{
	const char *given = arg_text(b->a, "file");
	char *text = NULL;
	size_t n = 0;
	int err = read_text(given ? AT_FDCWD : b->context_fd, given ? given : "Dockerfile", &text, &n);
	if (err)
		err = fault_set(f, err, "cannot read %.300s%s: %s", given ? given : b->a->pos[0], given ? "" : "/Dockerfile", strerror(-err));
	else
		err = df_read(&b->file, given && strcmp(given, "-") != 0 ? given : "Dockerfile", text, n, f);
	free(text);
	return err;
}

/* FILE.dockerignore beside the Dockerfile wins over the folder's own. */
static int read_ignore(struct build *b, struct fault *f)
{
	const char *given = arg_text(b->a, "file");
	char path[PATH_BYTES_MAX], *text = NULL;
	size_t n = 0;
	int err = -ENOENT;
	if (given && (size_t)snprintf(path, sizeof(path), "%s.dockerignore", given) < sizeof(path))
		err = read_file_at(AT_FDCWD, path, DF_BYTES_MAX, &text, &n);
	if (err == -ENOENT)
		err = read_file_at(b->context_fd, given ? ".dockerignore" : "Dockerfile.dockerignore", DF_BYTES_MAX, &text, &n);
	if (err == -ENOENT && !given)
		err = read_file_at(b->context_fd, ".dockerignore", DF_BYTES_MAX, &text, &n);
	if (err == -ENOENT)
		return 0;
	err = err ? fault_set(f, err, ".dockerignore: %s", strerror(-err)) : df_ignore_read(&b->ignore, text, n, f);
	free(text);
	return err;
}

/* ---- what is to be done ---- */

static int image_id_of(struct build *b, const struct df_op *op, char id[64], struct fault *f)
{
	struct df_config c = { 0 };
	uint64_t disk = b->disk_bytes;
	int err = cache_base(b, op->from_image, &c, id, f);
	b->disk_bytes = disk; /* only a FROM makes the disk larger */
	df_config_done(&c);
	return err == -ENOENT ? df_refuse(&b->file, op->line, f, "--from=%.200s is neither a stage before this one nor an image of the store", op->from_image) : err;
}

static int key_step(struct build *b, unsigned i, unsigned k, struct fault *f)
{
	struct build_stage *st = &b->stage[i];
	const struct df_op *op = &b->plan.stage[i].op[k];
	const char *content = "";
	char id[64];
	int err = 0;
	if (op->from_stage >= 0) {
		content = b->stage[op->from_stage].key[b->plan.stage[op->from_stage].n];
	} else if (op->from_image) {
		err = image_id_of(b, op, id, f);
		content = id;
	} else if (op->kind == DF_COPY || op->kind == DF_ADD) {
		err = picks_find(&st->picks[k], b, op, f);
		content = st->picks[k].digest;
	}
	memcpy(st->key[k + 1], st->key[k], DF_KEY_MAX);
	if (!err)
		df_key_next(op, content, st->key[k + 1]);
	return err;
}

/* Digests of everything that is copied: what is missing is told before anything runs. */
static int key_stage(struct build *b, unsigned i, struct fault *f)
{
	const struct df_stage *s = &b->plan.stage[i];
	struct build_stage *st = &b->stage[i];
	char how[400];
	int err = 0;
	st->picks = calloc(s->n + 1, sizeof(*st->picks));
	st->key = calloc(s->n + 1, sizeof(*st->key));
	if (!st->picks || !st->key)
		return fault_set(f, -ENOMEM, "out of memory");
	snprintf(how, sizeof(how), "%llu %.300s", (unsigned long long)b->disk_bytes, b->network ? b->network : "");
	df_key_begin(s->base == DF_SCRATCH ? "scratch" : s->base == DF_IMAGE ? s->base_id : b->stage[s->base_stage].key[b->plan.stage[s->base_stage].n], how, st->key[0]);
	for (unsigned k = 0; k < s->n && !err; k++)
		err = key_step(b, i, k, f);
	b->steps += 1 + s->n;
	return err;
}

static int plan(struct build *b)
{
	struct df_list args = { 0 };
	struct df_ask ask = { .args = &args, .target = arg_text(b->a, "target"), .image = cache_base, .arg = b };
	struct fault f = { "" };
	int code = take_build_args(b->a, &args), err = 0;
	if (!code)
		err = read_dockerfile(b, &f);
	if (!code && !err)
		err = read_ignore(b, &f);
	if (!code && !err)
		err = df_plan(&b->plan, &b->file, &ask, &f);
	df_list_done(&args);
	for (unsigned i = 0; !code && !err && i < b->plan.n; i++)
		if (b->plan.stage[i].needed)
			err = key_stage(b, i, &f);
	if (b->remote_code)
		return b->remote_code;
	if (code || err)
		return code ? code : say_refused(b, &f, "");
	df_key_image(&b->plan.stage[b->plan.target].config, b->stage[b->plan.target].key[b->plan.stage[b->plan.target].n], b->image_key);
	for (unsigned i = 0; i < b->plan.unused.n && b->say == SAY_TEXT; i++)
		out_note("note: no ARG wants the build argument %s", b->plan.unused.s[i]);
	return 0;
}

/* ---- the verb ---- */

static int work(struct build *b)
{
	struct fault f = { "" };
	int code = remote_init(&b->r, b->a);
	sigset_t old;
	if (!code)
		code = take_output(b);
	if (!code)
		code = check_tags(b->a);
	if (code)
		return code;
	b->network = arg_text(b->a, "network");
	if (b->network && strcmp(b->network, "none") == 0)
		b->network = NULL;
	b->disk_bytes = arg_u64(b->a, "size", SIZE_DEFAULT) & ~4095ull;
	b->context_fd = open(b->a->pos[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->context_fd < 0) {
		fault_errno(&f, -errno, b->a->pos[0]);
		return say_refused(b, &f, "give the folder whose files are copied, as in: mica image build -t web:1 .");
	}
	b->r.cancel_fd = cancel_signals(&old); /* Ctrl-C takes the builder away */
	code = plan(b);
	if (!code)
		code = cache_load(b);
	if (!code)
		code = build_run(b);
	guest_drop(b);
	say_ended(b, code);
	struct signalfd_siginfo si;
	while (b->r.cancel_fd >= 0 && read(b->r.cancel_fd, &si, sizeof(si)) > 0) /* taken, or it would end us when unblocked */
		;
	fd_close(&b->r.cancel_fd);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return code;
}

static void free_all(struct build *b)
{
	for (unsigned i = 0; i < b->plan.n; i++) {
		for (unsigned k = 0; b->stage[i].picks && k < b->plan.stage[i].n; k++)
			picks_done(&b->stage[i].picks[k]);
		free(b->stage[i].picks);
		free(b->stage[i].key);
	}
	df_plan_done(&b->plan);
	df_file_done(&b->file);
	df_ignore_done(&b->ignore);
	if (b->have_images)
		answer_done(&b->images);
	fd_close(&b->context_fd);
	for (int i = 0; i < 2; i++)
		buf_done(&b->line[i]);
	free(b);
}

static int run_build(struct args *a)
{
	struct build *b = calloc(1, sizeof(*b));
	if (!b)
		return out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot build");
	b->a = a;
	b->context_fd = -1;
	for (int i = 0; i < 2; i++)
		buf_init(&b->line[i], 65536);
	int code = work(b);
	free_all(b);
	return code;
}

const struct cmd cmd_image_build = {
	.group = "image", .name = "build", .synopsis = "DIR", .summary = "make an image by a Dockerfile, its commands in a VM without network", .opts = build_opts,
	.examples = "mica image build -t web:1 .\nmica image build -f web.Dockerfile --build-arg VERSION=3 --network vm -t web:3 ./web\nmica image build -o jsonl -t web:1 . | jq -r 'select(.event==\"image\").id'",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_build,
};
