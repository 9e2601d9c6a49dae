/* info (the daemon's version), version (ours, and what is in this file). */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/parts.h"
#include "cli/remote.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print JSON" },
	{ 0 },
};

static int run_info(struct args *a)
{
	static const char *const keys[] = { "version", "git_commit", "platform", "arch" };
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a);
	if (!code)
		code = remote_ask(&r, "GET", "/info", NULL, &an);
	if (code)
		return code;
	if (an.status != 200) {
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot ask the daemon");
	} else if (arg_flag(a, "json", false)) {
		printf("%s\n", buf_cstr(&an.text));
	} else {
		printf("%-12s %s\n%-12s %s\n", "client", MICA_VERSION, "daemon at", r.where);
		for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
			const char *s = "-";
			char clean[200];
			json_get_str(json_root(&an.json), keys[i], &s);
			out_clean(clean, sizeof(clean), s);
			printf("%-12s %s\n", keys[i], clean);
		}
	}
	answer_done(&an);
	return code;
}

const struct cmd cmd_info = { .name = "info", .summary = "Show the daemon's version", .opts = json_opts,
	.examples = "mica info\nmica info --json --url http://127.0.0.1:8080", .command_at = -1,
	.flags = CMD_REMOTE, .run = run_info };

/* ---- version ---- */

static void version_json(const struct parts *p, uint64_t file_bytes, const char *problem)
{
	struct buf b;
	struct json_out o;
	uint64_t packed = 0;
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "version", MICA_VERSION);
	json_put_str(&o, "platform", "linux");
	json_put_str(&o, "arch", "amd64");
	json_put_u64(&o, "file_bytes", file_bytes);
	json_put_bool(&o, "one_file", p->packed);
	json_arr(&o, "parts");
	for (unsigned i = 0; p->packed && i < p->payload.n_entries; i++) {
		const struct payload_entry *e = &p->payload.entries[i];
		json_obj(&o, NULL);
		json_put_str(&o, "name", e->name);
		json_put_u64(&o, "bytes", e->bytes);
		json_put_u64(&o, "packed_bytes", e->packed_bytes);
		json_end(&o);
		packed += e->packed_bytes;
	}
	json_end(&o);
	json_put_u64(&o, "packed_bytes", packed);
	if (problem)
		json_put_str(&o, "problem", problem);
	json_end(&o);
	printf("%s\n", buf_cstr(&b));
	buf_done(&b);
}

static void version_words(const struct parts *p, uint64_t file_bytes)
{
	static const char *const titles[] = { "PART", "SIZE", "IN THE FILE" };
	char a[WORDS_MAX], b[WORDS_MAX];
	struct table t;
	printf("mica %s linux/amd64, %s\n", MICA_VERSION, words_bytes(file_bytes, a));
	if (!p->packed) {
		printf("a developer's build: the other programs are the files in %s\n", p->folder);
		return;
	}
	table_init(&t, ARRAY_LEN(titles), titles);
	for (unsigned i = 0; i < p->payload.n_entries; i++) {
		const struct payload_entry *e = &p->payload.entries[i];
		table_cell(&t, "%s", e->name);
		table_cell(&t, "%s", words_bytes(e->bytes, a));
		table_cell(&t, "%s", words_bytes(e->packed_bytes, b));
	}
	table_print(&t, stdout);
}

static int run_version(struct args *a)
{
	struct parts p;
	struct fault f = { 0 };
	struct stat st = { 0 };
	int err = parts_open(&p, &f);
	stat("/proc/self/exe", &st);
	if (arg_flag(a, "json", false))
		version_json(&p, (uint64_t)st.st_size, err ? f.text : NULL);
	else if (!err)
		version_words(&p, (uint64_t)st.st_size);
	if (err)
		return out_error(EXIT_FAIL, f.text, "copy the file again from where it came", "mica %s: its payload cannot be used", MICA_VERSION);
	parts_done(&p);
	return 0;
}

const struct cmd cmd_version = { .name = "version", .summary = "Show our version and what this file is made of", .opts = json_opts,
	.examples = "mica version\nmica version --json", .command_at = -1,
	.run = run_version };
