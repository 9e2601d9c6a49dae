#include "agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define ENV_OWN 8u /* variables the agent sets itself, at most */

int request_list(const struct wire_msg *m, uint16_t tag, char ***out, size_t *n_out)
{
	struct wire_iter it;
	struct wire_field fl;
	size_t n = 0, bytes = 0;
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &fl)) {
		if (fl.tag != tag)
			continue;
		if (memchr(fl.p, '\0', fl.n))
			return -EINVAL;
		n++;
		bytes += (size_t)fl.n + 1;
	}
	if (n > AGENT_ARGS_MAX)
		return -E2BIG;
	char **list = malloc((n + 1) * sizeof *list + bytes);
	if (!list)
		return -ENOMEM;
	char *at = (char *)(list + n + 1);
	n = 0;
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &fl)) {
		if (fl.tag != tag)
			continue;
		list[n++] = at;
		memcpy(at, fl.p, fl.n);
		at[fl.n] = '\0';
		at += fl.n + 1;
	}
	list[n] = NULL;
	*out = list;
	*n_out = n;
	return 0;
}

/* What a command is made of, counted before one allocation holds it all. */
struct parts {
	char **args, **env;
	size_t n_args, n_env;
	char cmd[WIRE_PAYLOAD_MAX], shell[PATH_MAX], term[64];
	bool has_shell, tty;
};

static int get_text(const struct wire_msg *m, uint16_t tag, char *dst, size_t cap, const char *what, struct fault *f)
{
	int rc = wire_get_str(m, tag, dst, cap);
	if (rc == -ENOENT) {
		dst[0] = '\0';
		return 0;
	}
	return rc < 0 ? fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "%s %s", what,
				  rc == -EMSGSIZE ? "is too long" : "holds a NUL byte") : 1;
}

static int parts_read(struct parts *p, const struct wire_msg *m, struct fault *f)
{
	int rc;
	p->tty = m->type == A_SHELL;
	if ((rc = get_text(m, A_T_SHELL, p->shell, sizeof p->shell, "shell", f)) < 0)
		return rc;
	p->has_shell = rc > 0;
	if ((rc = get_text(m, A_T_TERM, p->term, sizeof p->term, "TERM", f)) < 0)
		return rc;
	if (!p->tty) {
		if ((rc = get_text(m, A_T_CMD, p->cmd, sizeof p->cmd, "cmd", f)) < 0)
			return rc;
		if (!p->cmd[0])
			return fault_set(f, -EINVAL, "cmd is empty: name a program to run");
	}
	if ((rc = request_list(m, A_T_ARG, &p->args, &p->n_args)) < 0 || (rc = request_list(m, A_T_ENV, &p->env, &p->n_env)) < 0)
		return fault_set(f, rc, "%s", rc == -E2BIG ? "more than 1024 arguments or variables" :
				 rc == -EINVAL ? "an argument or variable holds a NUL byte" : "out of memory");
	for (size_t i = 0; i < p->n_env; i++)
		if (p->env[i][0] == '=' || !strchr(p->env[i], '='))
			return fault_set(f, -EINVAL, "env '%.100s' is not NAME=VALUE", p->env[i]);
	return 0;
}

/* Appends to the one allocation; sizes were counted, so this cannot run over. */
struct pen {
	char *at, *end;
};

static char *put(struct pen *pen, const char *a, const char *b)
{
	size_t n = strlen(a), k = strlen(b);
	char *start = pen->at;
	if (n + k + 1 > (size_t)(pen->end - pen->at))
		abort(); /* our own counting is wrong: better dead than over the edge */
	memcpy(start, a, n);
	memcpy(start + n, b, k + 1);
	pen->at += n + k + 1;
	return start;
}

/* 'it'\''s' : one argument as one word of a shell's line. At most 4 bytes for each of the argument's and 3 more. */
static void put_quoted(struct pen *pen, const char *s)
{
	*pen->at++ = ' ';
	*pen->at++ = '\'';
	for (; *s; s++) {
		if (*s == '\'') {
			memcpy(pen->at, "'\\''", 4);
			pen->at += 4;
		} else {
			*pen->at++ = *s;
		}
	}
	*pen->at++ = '\'';
}

static char *put_script(struct pen *pen, const struct parts *p)
{
	char *start = pen->at;
	size_t need = strlen(p->cmd) + 1;
	for (size_t i = 0; i < p->n_args; i++)
		need += 4 * strlen(p->args[i]) + 3;
	if (need > (size_t)(pen->end - pen->at))
		abort(); /* as above */
	memcpy(pen->at, p->cmd, strlen(p->cmd));
	pen->at += strlen(p->cmd);
	for (size_t i = 0; i < p->n_args; i++)
		put_quoted(pen, p->args[i]);
	*pen->at++ = '\0';
	return start;
}

static bool names_same(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");
	return strncmp(a, b, n) == 0 && b[n] == '=';
}

static void put_env(struct command *c, struct pen *pen, const struct parts *p, const struct who *w)
{
	size_t n = 0;
	c->envp[n++] = put(pen, "PATH=", PATH_DEFAULT);
	c->envp[n++] = put(pen, "HOME=", w->home);
	c->envp[n++] = put(pen, "SHELL=", w->shell);
	c->envp[n++] = put(pen, "LANG=", "C.UTF-8");
	if (w->name[0]) {
		c->envp[n++] = put(pen, "USER=", w->name);
		c->envp[n++] = put(pen, "LOGNAME=", w->name);
	}
	if (p->tty)
		c->envp[n++] = put(pen, "TERM=", p->term[0] ? p->term : "xterm-256color");
	for (size_t i = 0; i < p->n_env; i++) {
		size_t k = 0;
		while (k < n && !names_same(c->envp[k], p->env[i]))
			k++;
		c->envp[k] = put(pen, p->env[i], "");
		n += k == n;
	}
	c->envp[n] = NULL;
	c->search = NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(c->envp[i], "PATH=", 5) == 0)
			c->search = c->envp[i] + 5;
}

static void put_argv(struct command *c, struct pen *pen, const struct parts *p, const struct who *w)
{
	const char *shell = p->shell[0] ? p->shell : w->shell;
	size_t n = 0;
	if (p->tty) { /* a leading '-' is how a shell is told that it is a login shell */
		const char *slash = strrchr(shell, '/');
		c->path = put(pen, shell, "");
		c->argv[n++] = put(pen, "-", slash ? slash + 1 : shell);
	} else if (p->has_shell) {
		c->path = put(pen, shell, "");
		c->argv[n++] = c->path;
		c->argv[n++] = put(pen, "-lc", "");
		c->argv[n++] = put_script(pen, p);
	} else {
		c->path = put(pen, p->cmd, "");
		c->argv[n++] = c->path;
		for (size_t i = 0; i < p->n_args; i++)
			c->argv[n++] = put(pen, p->args[i], "");
	}
	c->argv[n] = NULL;
}

static int set_cwd(struct command *c, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	char asked[PATH_MAX];
	int rc = get_text(m, A_T_CWD, asked, sizeof asked, "cwd", f);
	if (rc < 0)
		return rc;
	c->cwd_given = rc > 0 && asked[0];
	if (c->cwd_given && path_has_dotdot(asked))
		return fault_set(f, -EINVAL, "cwd '%.200s' holds '..': name the folder itself", asked);
	return path_resolve(c->cwd_given ? asked : "~", w, c->cwd, f);
}

static int assemble(struct command *c, const struct parts *p, const struct who *w)
{
	/* All text at most quadrupled by quoting; the rest is the agent's own variables, each with room to spare. */
	size_t text = strlen(p->cmd) + 2 * sizeof p->shell + sizeof p->term + ENV_OWN * 512 + 64;
	for (size_t i = 0; i < p->n_args; i++)
		text += 4 * strlen(p->args[i]) + 4;
	for (size_t i = 0; i < p->n_env; i++)
		text += strlen(p->env[i]) + 1;
	size_t pointers = (p->n_args + 4) + (p->n_env + ENV_OWN + 1);
	c->memory = malloc(pointers * sizeof(char *) + text);
	if (!c->memory)
		return -ENOMEM;
	c->argv = (char **)(void *)c->memory;
	c->envp = c->argv + p->n_args + 4;
	char *start = (char *)(c->argv + pointers);
	struct pen pen = {start, start + text};
	put_env(c, &pen, p, w);
	put_argv(c, &pen, p, w);
	return 0;
}

int command_parse(struct command *c, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	c->memory = NULL;
	struct parts *p = calloc(1, sizeof *p); /* too large for the stack of a small machine */
	if (!p)
		return -ENOMEM;
	int rc = parts_read(p, m, f);
	if (rc == 0)
		rc = set_cwd(c, m, w, f);
	if (rc == 0)
		rc = assemble(c, p, w);
	free(p->args);
	free(p->env);
	free(p);
	return rc;
}

void command_done(struct command *c)
{
	free(c->memory);
	c->memory = NULL;
}
