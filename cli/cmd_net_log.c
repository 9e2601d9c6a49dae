/* vm net log: a VM's network record: what it reached, what it was denied, by which rule. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>

#define LINE_VALUES_MAX 256u

static const struct opt log_opts[] = {
	{ "follow", 'f', OPT_FLAG, NULL, "go on with what comes" },
	{ "lines", 'n', OPT_NUMBER, "N", "only the last N lines to begin with (default: all of the record)" },
	{ "json", 0, OPT_FLAG, NULL, "print the lines as they are kept: JSON" },
	{ 0 },
};

/* "169.254.100.2:40000", "[fd00::2]:53", "8.8.8.8" */
static void endpoint(const struct json_val *v, const char *addr_key, const char *port_key, char *dst, size_t cap)
{
	char addr[64];
	out_clean(addr, sizeof(addr), json_text(v, addr_key, "?"));
	int64_t port = json_int(v, port_key);
	if (port)
		snprintf(dst, cap, strchr(addr, ':') ? "[%s]:%lld" : "%s:%lld", addr, (long long)port);
	else
		snprintf(dst, cap, "%s", addr);
}

static void print_flow(const struct json_val *v, const char *when, const char *what)
{
	char to[100], proto[16], name[300], rule[40], out[WORDS_MAX], in[WORDS_MAX];
	endpoint(v, "dst", "dport", to, sizeof(to));
	out_clean(proto, sizeof(proto), json_text(v, "proto", "-"));
	out_clean(name, sizeof(name), json_text(v, "name", ""));
	out_clean(rule, sizeof(rule), json_text(v, "rule", "?"));
	printf("%s  %-7s  %-5s  %s%s%s%s  %s", when, what, proto, to, name[0] ? " (" : "", name, name[0] ? ")" : "", rule);
	if (!strcmp(what, "end"))
		printf("  %s out, %s in, %lld ms", words_bytes((uint64_t)json_int(v, "bytes_out"), out), words_bytes((uint64_t)json_int(v, "bytes_in"), in),
			(long long)json_int(v, "duration_ms"));
	puts("");
}

static void print_dns(const struct json_val *v, const char *when)
{
	char name[300], type[16], rule[40], note[60];
	out_clean(name, sizeof(name), json_text(v, "name", "?"));
	out_clean(type, sizeof(type), json_text(v, "qtype", ""));
	out_clean(rule, sizeof(rule), json_text(v, "rule", "?"));
	out_clean(note, sizeof(note), json_text(v, "note", ""));
	printf("%s  %-7s  dns    %s%s%s  %s%s%s\n", when, !strcmp(json_text(v, "verdict", ""), "denied") ? "denied" : "asked", name, type[0] ? " " : "", type, rule,
		note[0] ? "  " : "", note);
}

static void print_event(const struct json_val *v)
{
	const char *event = json_text(v, "event", "?");
	char when[RFC3339_MAX + 1];
	out_clean(when, sizeof(when), json_text(v, "time", "-"));
	if (strlen(when) > 23) /* to the millisecond */
		snprintf(when + 23, sizeof(when) - 23, "Z");
	if (!strcmp(event, "dns")) {
		print_dns(v, when);
	} else if (!strcmp(event, "gap")) {
		char why[100];
		out_clean(why, sizeof(why), json_text(v, "why", "?"));
		printf("%s  GAP      %lld missing: %s\n", when, (long long)json_int(v, "lost"), why);
	} else {
		char what[16];
		out_clean(what, sizeof(what), event);
		print_flow(v, when, what);
	}
}

struct showing {
	bool json;
	struct json mem; /* used again for every line */
};

static int on_line(struct lines *l, const char *p, size_t n)
{
	struct showing *s = l->arg;
	bool good = !s->json && n && !json_parse_next(&s->mem, p, n, LINE_VALUES_MAX, NULL) && json_root(&s->mem)->kind == JSON_OBJECT;
	if (good) {
		print_event(json_root(&s->mem));
	} else {
		fwrite(p, 1, n, stdout);
		putchar('\n');
	}
	return fflush(stdout) ? EXIT_FAIL : 0;
}

static int run_log(struct args *a)
{
	struct remote r;
	char vm[VM_NAME_MAX], doing[VM_NAME_MAX + 64], tail[80];
	struct showing s = { .json = arg_flag(a, "json", false) };
	struct lines l = { .line = on_line, .arg = &s, .fail = EXIT_FAIL, .doing = doing };
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	snprintf(doing, sizeof(doing), "cannot read the network record of %s", vm);
	snprintf(tail, sizeof(tail), "/net/log?lines=%llu%s", (unsigned long long)arg_u64(a, "lines", 0), arg_flag(a, "follow", false) ? "&follow=true" : "");
	code = lines_read(&r, vm, tail, &l);
	json_done(&s.mem);
	return code == LINES_END ? EXIT_OK : code;
}

const struct cmd cmd_net_log = { .group = "vm net", .name = "log", .synopsis = "VM",
	.summary = "Show what an isolated VM reached and what it was denied, with the deciding rule",
	.opts = log_opts, .examples = "mica vm net log sbox-1\nmica vm net log sbox-1 -f\n"
	"mica vm net log sbox-1 --json | jq 'select(.verdict==\"denied\")'", .min_pos = 1, .max_pos = 1,
	.command_at = -1, .flags = CMD_REMOTE, .run = run_log };
