/* vm ready, vm tag. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct opt ready_opts[] = {
	{ "agent", 0, OPT_FLAG, NULL, "until the agent answers (default)" },
	{ "userdata", 0, OPT_FLAG, NULL, "until userdata has run" },
	{ "timeout", 0, OPT_DURATION, "TIME", "give up after that (default 5m)" },
	{ "interval", 0, OPT_DURATION, "TIME", "between questions (default 100ms)" },
	{ 0 },
};

/* 1 ready, 0 not yet, else EXIT_* after saying so (negative of it). */
static int ask_ready(const struct remote *r, char vm[VM_NAME_MAX], bool userdata)
{
	struct buf target;
	struct answer an;
	bool ran = false;
	buf_init(&target, 4096);
	vm_target(&target, vm, "/health");
	int code = remote_ask(r, "GET", buf_cstr(&target), NULL, &an);
	buf_done(&target);
	if (code)
		return -code;
	json_get_bool(json_root(&an.json), "userdata_ran", &ran);
	int got = an.status < 300 && (!userdata || ran);
	if (an.status == 404 && !remote_friendly(r, vm, vm))
		got = -remote_refused(r, EXIT_FAIL, an.status, &an.text, "cannot wait for the VM");
	else if (an.status == 401 || an.status == 403)
		got = -remote_refused(r, EXIT_FAIL, an.status, &an.text, "cannot wait for the VM");
	answer_done(&an);
	return got;
}

static int run_ready(struct args *a)
{
	struct remote r;
	char vm[VM_NAME_MAX], cause[64];
	uint64_t timeout_ms = arg_u64(a, "timeout", 300000), interval_ms = arg_u64(a, "interval", 100), start = now_mono_ms();
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	for (;;) {
		int got = ask_ready(&r, vm, arg_flag(a, "userdata", false));
		if (got)
			return got > 0 ? EXIT_OK : -got;
		if (now_mono_ms() - start >= timeout_ms)
			break;
		struct timespec ts = { (time_t)(interval_ms / 1000), (long)(interval_ms % 1000) * 1000000 };
		nanosleep(&ts, NULL);
	}
	snprintf(cause, sizeof(cause), "no answer within %llu ms", (unsigned long long)timeout_ms);
	return out_error(EXIT_FAIL, cause, "'mica vm logs' shows its console; --timeout waits longer", "%s is not ready", vm);
}

const struct cmd cmd_vm_ready = { .group = "vm", .name = "ready", .synopsis = "VM", .summary = "Wait until the VM can be used", .opts = ready_opts,
	.examples = "mica vm ready vm-1 --timeout 30s\nmica vm ready vm-1 --userdata --interval 100ms", .min_pos = 1, .max_pos = 1,
		.command_at = -1, .flags = CMD_REMOTE, .run = run_ready };

/* ---- tag ---- */

static const struct opt tag_opts[] = {
	{ "tag", 0, OPT_LIST, "TAG", "a tag" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int run_tag(struct args *a)
{
	static const char *const verbs[] = { "list", "add", "remove", "replace" };
	struct remote r;
	struct answer an;
	struct buf body;
	struct json_out o;
	char vm[VM_NAME_MAX];
	const char *v;
	size_t verb = 0;
	unsigned i = 0;
	while (verb < ARRAY_LEN(verbs) && strcmp(a->pos[0], verbs[verb]))
		verb++;
	if (verb == ARRAY_LEN(verbs))
		return out_error(EXIT_USAGE, "it is list, add, remove or replace", "mica vm tag list|add|remove|replace VM [TAG…]", "unknown 'vm tag %s'", a->pos[0]);
	int code = vm_name_take(vm, a->pos[1]);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	buf_init(&body, 1u << 20);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_arr(&o, verbs[verb]);
	while ((v = arg_next(a, "tag", &i)))
		json_put_str(&o, NULL, v);
	for (int p = 2; p < a->n_pos; p++)
		json_put_str(&o, NULL, a->pos[p]);
	json_end(&o);
	json_end(&o);
	code = vm_ask(&r, verb ? "PATCH" : "GET", vm, "/tags", verb ? &body : NULL, &an, "cannot do that with the tags");
	buf_done(&body);
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	const struct json_val *list = json_get(json_root(&an.json), "tags");
	for (const struct json_val *t = json_first(list); t && !arg_flag(a, "json", false); t = json_next(list, t)) {
		char clean[512];
		out_clean(clean, sizeof(clean), json_str(t) ? json_str(t) : "?");
		puts(clean);
	}
	answer_done(&an);
	return 0;
}

const struct cmd cmd_vm_tag = { .group = "vm", .name = "tag", .synopsis = "list|add|remove|replace VM [TAG…]",
	.summary = "Show or change a VM's tags", .opts = tag_opts,
	.examples = "mica vm tag list vm-1\nmica vm tag add vm-1 job=7 owner=alex\nmica vm tag replace vm-1 --tag job=8", .min_pos = 2,
		.max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_tag };
