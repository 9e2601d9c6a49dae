#include "cli/cli.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct opt remote_opts[] = {
	{ "url", 0, OPT_TEXT, "URL", "daemon: http://HOST:PORT, https://HOST:PORT or a socket path (MICA_URL)" },
	{ "socket", 0, OPT_TEXT, "PATH", "daemon's unix socket (MICA_SOCKET)" },
	{ "context", 0, OPT_TEXT, "NAME", "daemon kept by 'mica context add'; local: this machine's (MICA_CONTEXT)" },
	{ "api", 0, OPT_TEXT, "URL", "older name of --url" },
	{ "token", 0, OPT_TEXT, "TOKEN", "bearer token (MICA_TOKEN)" },
	{ "token-file", 0, OPT_TEXT, "PATH", "file that holds the token (MICA_TOKEN_FILE)" },
	{ "fingerprint", 0, OPT_TEXT, "SHA256", "https: of the daemon's certificate, as it prints it (MICA_FINGERPRINT)" },
	{ "ca-file", 0, OPT_TEXT, "PATH", "https: authorities to trust instead (MICA_CA_FILE)" },
	{ 0 },
};

static const struct opt *find_in(const struct opt *o, const char *name, size_t len, char letter)
{
	for (; o && o->name; o++)
		if (letter ? o->letter == letter : strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

static const struct opt *find(const struct cmd *c, const char *name, size_t len, char letter)
{
	const struct opt *o = find_in(c->opts, name, len, letter);
	return !o && (c->flags & CMD_REMOTE) ? find_in(remote_opts, name, len, letter) : o;
}

static void nearest(const struct opt *o, const char *name, const char **best, unsigned *best_distance)
{
	for (; o && o->name; o++) {
		unsigned d = edit_distance(name, o->name);
		if (d < *best_distance) {
			*best_distance = d;
			*best = o->name;
		}
	}
}

static int unknown(const struct cmd *c, const char *arg, const char *name)
{
	const char *best = NULL;
	unsigned distance = 4;
	char verb[64], fix[160];
	nearest(c->opts, name, &best, &distance);
	if (c->flags & CMD_REMOTE)
		nearest(remote_opts, name, &best, &distance);
	snprintf(verb, sizeof(verb), "%s%s%s", c->group ? c->group : "", c->group ? " " : "", c->name);
	if (best)
		snprintf(fix, sizeof(fix), "did you mean --%s? 'mica %s --help' lists the options", best, verb);
	else
		snprintf(fix, sizeof(fix), "'mica %s --help' lists the options%s", verb, c->command_at >= 0 ? "; put -- before the command to run" : "");
	return out_error(EXIT_USAGE, "the command has no such option", fix, "unknown option %s for 'mica %s'", arg, verb);
}

static int check_value(const struct opt *o, const char *v)
{
	uint64_t n;
	int err = 0;
	const char *fix = NULL;
	if (o->kind == OPT_NUMBER) {
		err = parse_u64(v, INT64_MAX, &n);
		fix = "give a whole number, such as 2";
	} else if (o->kind == OPT_DURATION) {
		err = parse_duration_ms(v, &n);
		fix = "give a duration, such as 500ms, 30s or 2m30s";
	} else if (o->kind == OPT_SIZE) {
		err = parse_size(v, &n);
		fix = "give a size, such as 512M or 25G";
	} else if (o->kind == OPT_FLAG) {
		err = strcmp(v, "true") && strcmp(v, "false") ? -EINVAL : 0;
		fix = "a flag takes nothing, =true or =false";
	}
	return err ? out_error(EXIT_USAGE, err == -ERANGE ? "the value is too large" : "the value does not parse", fix, "--%s=%s", o->name, v) : 0;
}

static int take(struct args *a, const struct opt *o, const char *value)
{
	if (a->n_given == ARGS_MAX)
		return out_error(EXIT_USAGE, "there is room for that many", "use fewer", "more than %d options", ARGS_MAX);
	a->given[a->n_given].opt = o;
	a->given[a->n_given++].value = value;
	return check_value(o, value);
}

static int missing_value(const struct opt *o)
{
	char fix[128];
	snprintf(fix, sizeof(fix), "--%s %s", o->name, o->value ? o->value : "VALUE");
	return out_error(EXIT_USAGE, "it is the last word", fix, "--%s needs a value", o->name);
}

/* One argument that starts with '-'. *used: how many words it took. */
static int parse_option(struct args *a, char **argv, int left, int *used)
{
	char *arg = argv[0];
	*used = 1;
	if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
		a->want_help = true;
		return 0;
	}
	if (arg[1] != '-') {
		const struct opt *o = find(a->cmd, NULL, 0, arg[1]);
		if (!o)
			return unknown(a->cmd, arg, arg + 1);
		if (o->kind == OPT_FLAG)
			return arg[2] ? unknown(a->cmd, arg, arg + 1) : take(a, o, "true");
		if (arg[2])
			return take(a, o, arg + 2 + (arg[2] == '='));
		if (left < 2)
			return missing_value(o);
		*used = 2;
		return take(a, o, argv[1]);
	}
	char *name = arg + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct opt *o = find(a->cmd, name, len, 0);
	if (!o && !eq && !strncmp(name, "no-", 3)) {
		o = find(a->cmd, name + 3, len - 3, 0);
		if (o && o->kind == OPT_FLAG)
			return take(a, o, "false");
		o = NULL;
	}
	if (!o)
		return unknown(a->cmd, arg, name);
	if (eq)
		return take(a, o, eq + 1);
	if (o->kind == OPT_FLAG)
		return take(a, o, "true");
	if (left < 2)
		return missing_value(o);
	*used = 2;
	return take(a, o, argv[1]);
}

static int check_count(const struct args *a)
{
	const struct cmd *c = a->cmd;
	bool few = a->n_pos < c->min_pos, many = c->max_pos >= 0 && a->n_pos > c->max_pos;
	if (!few && !many)
		return 0;
	char fix[256];
	snprintf(fix, sizeof(fix), "mica %s%s%s [options] %s", c->group ? c->group : "", c->group ? " " : "", c->name, c->synopsis ? c->synopsis : "");
	return out_error(EXIT_USAGE, many ? a->pos[c->max_pos] : "fewer arguments than the command needs", fix, many ? "too many arguments" : "something is missing");
}

int args_parse(struct args *a, const struct cmd *cmd, int argc, char **argv)
{
	*a = (struct args){ .cmd = cmd };
	a->pos = calloc((size_t)argc + 1, sizeof(*a->pos));
	if (!a->pos)
		return out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot read the arguments");
	bool only_pos = false;
	for (int i = 0, used = 1; i < argc; i += used) {
		used = 1;
		if (!only_pos && !strcmp(argv[i], "--")) {
			only_pos = true;
			continue;
		}
		if (!only_pos && argv[i][0] == '-' && argv[i][1]) {
			int err = parse_option(a, argv + i, argc - i, &used);
			if (err)
				return err;
			continue;
		}
		a->pos[a->n_pos++] = argv[i];
		if (cmd->command_at >= 0 && a->n_pos > cmd->command_at)
			only_pos = true;
	}
	return a->want_help ? 0 : check_count(a);
}

int args_leading(int argc, char **argv)
{
	int n = 0;
	while (n < argc && !strncmp(argv[n], "--", 2)) {
		const char *name = argv[n] + 2, *eq = strchr(name, '=');
		if (!find_in(remote_opts, name, eq ? (size_t)(eq - name) : strlen(name), 0))
			break;
		n += eq ? 1 : 2;
	}
	return n < argc ? n : argc;
}

void args_done(struct args *a)
{
	free(a->pos);
	a->pos = NULL;
}

const char *arg_text(const struct args *a, const char *name)
{
	const char *v = NULL;
	for (unsigned i = 0; i < a->n_given; i++)
		if (!strcmp(a->given[i].opt->name, name))
			v = a->given[i].value;
	return v;
}

bool arg_flag(const struct args *a, const char *name, bool otherwise)
{
	const char *v = arg_text(a, name);
	return v ? !strcmp(v, "true") : otherwise;
}

uint64_t arg_u64(const struct args *a, const char *name, uint64_t otherwise)
{
	uint64_t n = otherwise;
	for (unsigned i = 0; i < a->n_given; i++) {
		const struct opt *o = a->given[i].opt;
		if (strcmp(o->name, name))
			continue;
		/* Checked when it was taken. */
		if (o->kind == OPT_DURATION)
			parse_duration_ms(a->given[i].value, &n);
		else if (o->kind == OPT_SIZE)
			parse_size(a->given[i].value, &n);
		else
			parse_u64(a->given[i].value, INT64_MAX, &n);
	}
	return n;
}

const char *arg_next(const struct args *a, const char *name, unsigned *i)
{
	while (*i < a->n_given) {
		unsigned at = (*i)++;
		if (!strcmp(a->given[at].opt->name, name))
			return a->given[at].value;
	}
	return NULL;
}
