/* auto: a config when there is none, then the daemon. */
#include "cli/cli.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* `new` into fd, in a process of its own: it prints. 0 or EXIT_*. */
static int write_config(int fd)
{
	char group[] = "vm", *words[] = { group, NULL };
	pid_t pid = fork();
	int status;
	if (!pid) {
		static struct args a;
		dup2(fd, STDOUT_FILENO);
		int code = args_parse(&a, &cmd_new, 1, words);
		if (!code)
			code = cmd_new.run(&a);
		_exit(fflush(stdout) ? EXIT_FAIL : code);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return EXIT_FAIL;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAIL;
}

static int run(struct args *a)
{
	struct stat st;
	for (const char *const *c = compat_configs; *c; c++)
		if (!stat(*c, &st))
			return cmd_up.run(a);
	AUTO_FD fd = open(compat_configs[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return out_error(EXIT_FAIL, strerror(errno), "go to a folder you may write to", "cannot make %s", compat_configs[0]);
	int code = write_config(fd);
	if (code) {
		unlink(compat_configs[0]);
		return out_error(code, "'mica new' failed", "see the lines above", "cannot make %s", compat_configs[0]);
	}
	out_note("mica: made %s: a host group 'vm' with one VM", compat_configs[0]);
	return cmd_up.run(a);
}

const struct cmd cmd_auto = { .name = "auto", .summary = "Make a config here if there is none, and run the daemon",
	.examples = "sudo mica auto", .command_at = -1, .run = run };
