/* man: the manual page, made from the tables that --help is made of. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* One character of UTF-8 as roff takes it in any encoding. Returns the bytes eaten; our own texts are well formed. */
static int put_wide(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	int n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	unsigned code = p[0] & (0xff >> (n + 1));
	for (int i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return i;
		code = code << 6 | (p[i] & 0x3f);
	}
	printf("\\[u%04X]", code);
	return n;
}

/* Text of one line (up to len bytes): nothing in it is a command to roff. */
static void put(const char *s, size_t len)
{
	const char *end = s + len;
	if (s < end && (*s == '.' || *s == '\''))
		printf("\\&");
	while (s < end) {
		if ((unsigned char)*s >= 0x80) {
			s += put_wide(s);
			continue;
		}
		if (*s == '\\')
			printf("\\e");
		else if (*s == '-')
			printf("\\-");
		else if (*s == '\'')
			printf("\\(aq");
		else if (*s == '~')
			printf("\\(ti");
		else if (*s == '^')
			printf("\\(ha");
		else if (*s == '"')
			printf("\\(dq"); /* also inside arguments of macros */
		else if (*s == '`')
			printf("\\(ga");
		else
			putchar(*s);
		s++;
	}
}

static void puts_text(const char *s)
{
	put(s, strlen(s));
	putchar('\n');
}

static void put_opts(const struct opt *o)
{
	for (; o && o->name; o++) {
		printf(".TP\n");
		if (o->letter)
			printf("\\fB\\-%c\\fR, ", o->letter);
		printf("\\fB\\-\\-");
		put(o->name, strlen(o->name));
		printf("\\fR");
		if (o->value) {
			printf(" \\fI");
			put(o->value, strlen(o->value));
			printf("\\fR");
		}
		printf("\n");
		put(o->help, strlen(o->help));
		printf("%s\n", o->kind == OPT_LIST ? " (repeatable)" : "");
	}
}

static void put_examples(const char *text)
{
	if (!text || !*text)
		return;
	printf(".PP\nExamples:\n.PP\n.nf\n.RS 4\n");
	while (*text) {
		size_t n = strcspn(text, "\n");
		put(text, n);
		putchar('\n');
		text += n + (text[n] == '\n');
	}
	printf(".RE\n.fi\n");
}

static void put_cmd(const struct cmd *c)
{
	printf(".SS \"mica %s%s", c->group ? c->group : "", c->group ? " " : "");
	put(c->name, strlen(c->name));
	printf(" [options]%s", c->synopsis ? " " : "");
	if (c->synopsis)
		put(c->synopsis, strlen(c->synopsis));
	printf("\"\n");
	put(c->summary, strlen(c->summary));
	printf(".\n");
	if (c->aliases || c->shortcut) {
		printf("Also called");
		if (c->aliases) {
			printf(" mica %s%s", c->group ? c->group : "", c->group ? " " : "");
			put(c->aliases, strlen(c->aliases));
			printf("%s", c->shortcut ? ";" : "");
		}
		if (c->shortcut) {
			printf(" mica ");
			put(c->shortcut, strlen(c->shortcut));
		}
		printf(".\n");
	}
	put_opts(c->opts);
	if (c->flags & CMD_REMOTE)
		printf(".PP\nTakes the connection options.\n");
	put_examples(c->examples);
}

static const struct {
	const char *term, *text;
} environment[] = {
	{ "MICA_URL, MICA_SOCKET", "the daemon, as --url and --socket" },
	{ "MICA_CONTEXT", "a daemon kept by 'mica context add', as --context" },
	{ "MICA_TOKEN, MICA_TOKEN_FILE", "the token, as --token and --token-file" },
	{ "MICA_FINGERPRINT, MICA_CA_FILE", "whom https:// trusts, as --fingerprint and --ca-file" },
	{ "MICA_STATE", "the daemon's folder" },
	{ "MICA_USER_AGENT", "what requests call themselves" },
	{ "XDG_CONFIG_HOME", "where contexts are kept, in mica/contexts (default ~/.config)" },
	{ "SLICER_URL, SLICER_SOCKET, SLICER_TOKEN, SLICER_TOKEN_FILE, SLICER_…", "the same, where none of the names above is set that says the same" },
}, codes[] = {
	{ "0", "done" }, { "1", "failed; the reason and what to do are on standard error" }, { "2", "used wrongly" },
	{ "125", "run and vm exec: mica itself failed" }, { "126", "run and vm exec: the command cannot be executed" },
	{ "127", "run and vm exec: the command was not found; every other code is the command's own" }, { "124", "vm bg wait: it still runs" },
	{ "130", "ended by Ctrl-C" },
}, files[] = {
	{ "/var/lib/mica", "the daemon's folder when it runs as root; else ~/.local/state/mica" },
	{ "/var/lib/mica/api.sock", "its socket, which commands try first" },
	{ "/var/lib/mica/auth/token", "its token" },
	{ "~/.config/mica/contexts", "daemons by name, with their tokens" },
	{ "./mica.yaml", "its config, when mica up gets no other" },
};

static void put_term(const char *term, const char *text)
{
	printf(".TP\n\\fB");
	put(term, strlen(term));
	printf("\\fR\n");
	puts_text(text);
}

static int run_man(struct args *a)
{
	(void)a;
	printf(".TH MICA 1 \"\" \"mica " MICA_VERSION "\" \"User Commands\"\n"
	       ".SH NAME\nmica \\- microVMs on one host: a daemon, an API, and a command line, in one file\n"
	       ".SH SYNOPSIS\n.B mica\n[connection options] COMMAND [options]\n.SH DESCRIPTION\n");
	puts_text("mica runs virtual machines that start in a moment. 'mica run' runs one command in a fresh one and needs no daemon; "
		  "'mica up' is the daemon, and most other commands talk to it over its API. Every command tells more with --help.");
	printf(".SH \"CONNECTION OPTIONS\"\n");
	puts_text("Which daemon to talk to; before the command or behind it. These options beat the environment, the environment beats the current context "
		  "('mica context use'), and that beats what this machine has: the socket in the state folder, else http://127.0.0.1:8080. The same holds for "
		  "the token and the fingerprint; a context's own count where the context was named.");
	put_opts(remote_opts);
	printf(".SH COMMANDS\n");
	for (const struct cmd *const *c = cmds; *c; c++)
		if (!((*c)->flags & CMD_HIDDEN))
			put_cmd(*c);
	printf(".SH \"NOT SERVED\"\n");
	puts_text("What slicer has and this version of mica has not:");
	for (const struct absent *none = absents; none->names; none++) {
		char term[160];
		snprintf(term, sizeof(term), "%s%s%s", none->group ? none->group : "", none->group ? " " : "", none->names);
		put_term(term, none->why);
	}
	printf(".SH ENVIRONMENT\n");
	for (size_t i = 0; i < ARRAY_LEN(environment); i++)
		put_term(environment[i].term, environment[i].text);
	printf(".SH \"EXIT STATUS\"\n");
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		put_term(codes[i].term, codes[i].text);
	printf(".SH FILES\n");
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		put_term(files[i].term, files[i].text);
	return 0;
}

const struct cmd cmd_man = { .name = "man", .summary = "Print the manual page", .examples = "mica man | man -l -\nmica man > /usr/local/share/man/man1/mica.1",
	.command_at = -1, .run = run_man };
