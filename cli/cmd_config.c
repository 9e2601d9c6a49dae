/* config check, config show: the daemon's own reader looks at a file, so that there is one judge of it. No daemon has to run. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/parts.h"
#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_TOTAL (1u << 20) /* of notes */

#define CONFIG_OPTS { "tls", 0, OPT_FLAG, NULL, "as 'mica up --tls' would see it" }

static const struct opt check_opts[] = { CONFIG_OPTS, { 0 } };
static const struct opt show_opts[] = {
	{ "effective", 0, OPT_FLAG, NULL, "with every default that the file leaves open" },
	CONFIG_OPTS,
	{ 0 },
};

/* "NOTE …" and "FATAL …" lines of core. Returns the exit code they mean. */
static int say_lines(char *text, const char *file)
{
	int code = 0;
	char *save = NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char clean[2048];
		out_clean(clean, sizeof(clean), line);
		if (!strncmp(clean, "NOTE ", 5))
			out_note("note: %s", clean + 5);
		else if (!strncmp(clean, "FATAL ", 6))
			code = out_error(EXIT_FAIL, clean + 6, "correct it there; 'mica new vm' prints a file to compare with", "%s cannot be used", file);
	}
	return code;
}

/* core's status lines to their end. */
static int gather(int fd, struct buf *words)
{
	ssize_t n;
	while ((n = buf_read_fd(words, fd, 4096)) > 0 || n == -EINTR)
		;
	return buf_cstr(words) ? (int)n : -ENOMEM;
}

/* Runs core over the file: its YAML goes to our standard output. */
static int run_core(const struct parts *p, char *const *argv, const char *file)
{
	struct fault f = { "" };
	struct buf words;
	int status = 0, pipe_fds[2], code = 0;
	AUTO_FD core = part_fd(p, "core", &f);
	AUTO_FD image = part_fd(p, "image-min", &f); /* its size is looked at; a build without one does without */
	if (core < 0)
		return out_error(EXIT_FAIL, f.text, "use a complete build of mica", "the daemon's part is missing");
	if (pipe2(pipe_fds, O_CLOEXEC))
		return out_error(EXIT_FAIL, strerror(errno), "close some files", "cannot start core");
	AUTO_FD from = pipe_fds[0];
	int fds[] = { -1, -1, -1, -1, image, pipe_fds[1] }; /* 3 … 8, see api/core/core.h */
	fflush(stdout);
	pid_t pid = spawn(&(struct spawn_ask){ .program = core, .argv = argv, .fds = fds, .n_fds = ARRAY_LEN(fds), .in = STDIN_FILENO,
		.out = STDOUT_FILENO, .err = STDERR_FILENO });
	close(pipe_fds[1]);
	if (pid < 0)
		return out_error(EXIT_FAIL, strerror(-pid), "free some memory", "cannot start core");
	buf_init(&words, WORDS_TOTAL);
	int err = gather(from, &words);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!err)
		code = say_lines((char *)(uintptr_t)buf_cstr(&words), file);
	buf_done(&words);
	if (!code && (err || !WIFEXITED(status) || WEXITSTATUS(status)))
		code = out_error(EXIT_FAIL, err ? strerror(-err) : "core ended early", "run it again", "%s could not be looked at", file);
	return code;
}

static int look(const struct args *a, const char *mode, char file[PATH_MAX])
{
	static char name[] = "core", config[] = "--config", tls[] = "--tls", full[] = "--full";
	char what[16];
	char *argv[7] = { name, config, file, what };
	int n = 4;
	struct fault f = { "" };
	struct parts parts;
	if (a->n_pos && !strcmp(a->pos[0], "-")) {
		strcpy(file, "-");
	} else {
		int code = config_find(a, file, PATH_MAX);
		if (code)
			return code;
	}
	snprintf(what, sizeof(what), "%s", mode);
	if (parts_open(&parts, &f))
		return out_error(EXIT_FAIL, f.text, "install mica again", "this program cannot be read");
	if (arg_flag(a, "tls", false))
		argv[n++] = tls;
	if (part_has(&parts, KERNEL_FULL))
		argv[n] = full;
	int code = run_core(&parts, argv, strcmp(file, "-") ? file : "the config");
	parts_done(&parts);
	return code;
}

static int run_check(struct args *a)
{
	static char file[PATH_MAX];
	int code = look(a, "--check", file);
	if (!code)
		printf("%s is fine\n", strcmp(file, "-") ? file : "the config");
	return code;
}

static int run_show(struct args *a)
{
	static char file[PATH_MAX];
	return look(a, arg_flag(a, "effective", false) ? "--effective" : "--show", file);
}

const struct cmd cmd_config_check = { .group = "config", .name = "check", .aliases = "validate", .synopsis = "[FILE]",
	.summary = "Look at a config file as 'up' would, without starting anything", .opts = check_opts,
	.examples = "mica config check mica.yaml\nmica new vm | mica config check -", .max_pos = 1, .command_at = -1, .run = run_check };

const struct cmd cmd_config_show = { .group = "config", .name = "show", .synopsis = "[FILE]",
	.summary = "Print a config file as it is understood, token masked; groups made by the API are not in it ('mica group list')", .opts = show_opts,
	.examples = "mica config show\nmica config show --effective mica.yaml", .max_pos = 1, .command_at = -1, .run = run_show };
