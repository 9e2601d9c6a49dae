/* The agent's request decoders: any whole frame gives a command with proper strings, a watch that can be asked, or a refusal with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "agent/watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct who who = {.uid = 1000, .gid = 1000, .name = "ubuntu", .home = "/home/ubuntu", .shell = "/bin/sh"};
	struct wire_msg m;
	struct command c;
	struct fault f = {.text = ""};
	size_t used;
	if (wire_parse(p, n, &m, &used) < 0)
		return 0;
	int rc = command_parse(&c, &m, &who, &f);
	if (rc == 0) {
		if (!c.argv[0] || !c.path[0] || path_has_dotdot(c.cwd_given ? c.cwd : ""))
			abort();
		for (char **e = c.envp; *e; e++)
			if (!strchr(*e, '=') || **e == '=')
				abort();
		size_t args = 0;
		while (c.argv[args])
			(void)strlen(c.argv[args++]);
	}
	command_done(&c);
	char **list;
	size_t count;
	if (request_list(&m, A_T_EXCLUDE, &list, &count) == 0)
		free(list);
	struct watch_ask ask;
	f.text[0] = '\0';
	rc = watch_ask_read(&ask, &m, &f);
	if (rc < 0 ? !f.text[0] : !ask.n_paths || !ask.kinds)
		abort();
	for (size_t i = 0; rc == 0 && i < ask.n_paths; i++)
		(void)watch_wants(&ask, WATCH_WRITE, ask.paths[i]);
	watch_ask_done(&ask);
	char text[PATH_MAX], out[PATH_MAX];
	if (wire_get_str(&m, A_T_PATH, text, sizeof text) == 0)
		(void)path_resolve(text, &who, out, &f);
	return 0;
}
