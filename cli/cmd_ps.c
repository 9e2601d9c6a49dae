/* ps: the daemon's processes and what each may do, as this machine's kernel tells it; api/THREATS.md says what it should be. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/ps.h"
#include "lib/json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct opt ps_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print JSON" },
	{ 0 },
};
static const char *const titles[] = { "PROCESS", "PID", "UID", "OWN NAMESPACES", "CAPABILITIES", "SECCOMP", "NNP", "LANDLOCK", "CALLS", "LIMITS", "CGROUP" };
static const char *const vmm_threads[] = { "vcpu", "disk", "diskio", "net" };

static void seccomp_words(const struct ps_proc *p, char *dst, size_t cap)
{
	if (!p->threads)
		snprintf(dst, cap, "?");
	else if (p->filtered == p->threads || !p->filtered)
		snprintf(dst, cap, "%s", p->filtered ? "filter" : "none");
	else
		snprintf(dst, cap, "%u of %u threads", p->filtered, p->threads);
}

static void calls_words(const struct ps_proc *p, char *dst, size_t cap)
{
	unsigned n = ps_calls_of(p->process, NULL);
	size_t at = (size_t)snprintf(dst, cap, n ? "%u" : "all", n);
	if (!strcmp(p->process, "vmm"))
		for (size_t i = 0; i < ARRAY_LEN(vmm_threads) && at < cap; i++)
			at += (size_t)snprintf(dst + at, cap - at, ", %s %u", vmm_threads[i], ps_calls_of("vmm", vmm_threads[i]));
}

static void row(struct table *t, const struct ps_proc *p, int abi)
{
	char text[400], vm[70];
	out_clean(vm, sizeof(vm), p->vm);
	table_cell(t, "%s%s%s", p->process, vm[0] ? " " : "", vm);
	table_cell(t, "%d", (int)p->pid);
	table_cell(t, "%lld", (long long)p->uid);
	ps_ns_words(p, text, sizeof(text));
	table_cell(t, "%s", text);
	ps_caps_words(p, text, sizeof(text));
	table_cell(t, "%s", text);
	seccomp_words(p, text, sizeof(text));
	table_cell(t, "%s", text);
	table_cell(t, "%s", p->no_new_privs < 0 ? "?" : p->no_new_privs ? "yes" : "no");
	table_cell(t, "%s", ps_landlock(p, abi));
	calls_words(p, text, sizeof(text));
	table_cell(t, "%s", text);
	ps_limits_words(p, text, sizeof(text));
	table_cell(t, "%s", text);
	table_cell(t, "%s", p->cgroup[0] ? p->cgroup : "-");
}

static void put_limit(struct json_out *o, const char *key, uint64_t v)
{
	if (v)
		json_put_u64(o, key, v);
	else
		json_put_null(o, key);
}

static void put_namespaces(struct json_out *o, const struct ps_proc *p)
{
	json_obj(o, "namespaces");
	for (int i = 0; i < PS_NS_N; i++)
		json_put_str(o, ps_ns_names[i], p->ns[i] == PS_NS_OWN ? "own" : p->ns[i] == PS_NS_SHARED ? "shared" : NULL);
	json_end(o);
}

static void put_calls(struct json_out *o, const struct ps_proc *p)
{
	json_obj(o, "syscalls");
	put_limit(o, "process", ps_calls_of(p->process, NULL));
	for (size_t i = 0; !strcmp(p->process, "vmm") && i < ARRAY_LEN(vmm_threads); i++)
		json_put_u64(o, vmm_threads[i], ps_calls_of("vmm", vmm_threads[i]));
	json_end(o);
}

static void put_process(struct json_out *o, const struct ps_proc *p, int abi)
{
	char text[400];
	json_obj(o, NULL);
	json_put_str(o, "process", p->process);
	if (!strcmp(p->process, "vmm"))
		json_put_str(o, "vm", p->vm);
	json_put_i64(o, "pid", p->pid);
	json_put_i64(o, "parent", p->parent);
	json_put_i64(o, "uid", p->uid);
	put_namespaces(o, p);
	ps_caps_words(p, text, sizeof(text));
	json_put_str(o, "capabilities", text);
	json_put_u64(o, "threads", p->threads);
	json_put_u64(o, "threads_filtered", p->filtered);
	if (p->no_new_privs < 0)
		json_put_null(o, "no_new_privs");
	else
		json_put_bool(o, "no_new_privs", p->no_new_privs);
	json_put_str(o, "landlock", ps_landlock(p, abi));
	put_calls(o, p);
	json_put_str(o, "cgroup", p->cgroup[0] ? p->cgroup : NULL);
	json_obj(o, "limits");
	put_limit(o, "memory_bytes", p->memory_max);
	put_limit(o, "cpu_percent", p->cpu_percent);
	put_limit(o, "cpu_weight", p->cpu_weight);
	put_limit(o, "tasks", p->tasks_max);
	put_limit(o, "io_bytes_per_s", p->io_bytes_s);
	put_limit(o, "io_per_s", p->io_ops_s);
	json_end(o);
	json_end(o);
}

static int print_json(const struct ps_proc *all, int n, int abi)
{
	struct buf b;
	struct json_out o;
	buf_init(&b, 16u << 20);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_i64(&o, "landlock_abi", abi);
	json_arr(&o, "processes");
	for (int i = 0; i < n; i++)
		put_process(&o, &all[i], abi);
	json_end(&o);
	json_end(&o);
	const char *text = buf_cstr(&b);
	if (text)
		printf("%s\n", text);
	buf_done(&b);
	return text ? EXIT_OK : EXIT_FAIL;
}

static int run(struct args *a)
{
	static struct ps_proc all[PS_MAX];
	int n = ps_scan(all, ARRAY_LEN(all)), abi = ps_landlock_abi();
	struct table t;
	if (n < 0)
		return out_error(EXIT_FAIL, "is /proc mounted, and not with hidepid?", "mount -t proc proc /proc", "cannot look at processes");
	if (arg_flag(a, "json", false))
		return print_json(all, n, abi);
	if (!n) {
		out_note("no mica process on this machine");
		return EXIT_OK;
	}
	table_init(&t, ARRAY_LEN(titles), titles);
	for (int i = 0; i < n; i++)
		row(&t, &all[i], abi);
	table_print(&t, stdout);
	printf("Landlock and the number of calls are what the program asks for (%s); all else is what /proc says%s.\n",
	       abi ? "this kernel has Landlock" : "this kernel has no Landlock", geteuid() ? ", '?' for what only root may see" : "");
	return EXIT_OK;
}

const struct cmd cmd_ps = { .name = "ps", .summary = "Show mica's processes here and what each of them may do", .opts = ps_opts,
	.examples = "sudo mica ps\nsudo mica ps --json | jq '.processes[] | select(.process == \"vmm\")'", .command_at = -1, .run = run };
