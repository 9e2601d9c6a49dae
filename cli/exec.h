/* cli/exec: one command, or one terminal session, in a VM. Used by vm exec, vm shell, run, doctor. Room card: cli.h. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/remote.h"

struct exec_ask {
	char *const *words;      /* borrowed, n_words ≥ 1 */
	int n_words;
	const char *shell;       /* "": run words[0] directly */
	const char *cwd;         /* NULL: home */
	const char *uid, *gid;   /* decimal; NULL: the image's default user */
	const struct args *env;  /* its --env options; NULL: none */
	bool with_stdin;         /* pass ours */
	bool quiet_output;       /* drop what the command prints */
	bool background;         /* exec_target only: start it and go */
	uint64_t ring_bytes;     /* then: how much of its output is kept; 0: what the agent keeps by itself */
};
/* "/vm/<vm>/exec?…" into target. 0, or EXIT_OURS after saying that it is too long. */
int exec_target(struct buf *target, const char *vm, const struct exec_ask *ask);
/* Runs it and passes streams through. The command's exit code; EXIT_OURS after saying what went wrong; 130 after Ctrl-C. vm: see vm_ask. */
int exec_run(const struct remote *r, char vm[VM_NAME_MAX], const struct exec_ask *ask);

/* write_full for descriptors that somebody made non-blocking: they are shared with whoever started us. -ECANCELED when cancel_fd (or -1)
 * is readable meanwhile. */
int write_wait(int fd, const uint8_t *p, size_t n, int cancel_fd);

struct shell_ask {
	const char *uid, *gid, *cwd, *shell, *bootstrap; /* NULL: not said */
};
int shell_run(const struct remote *r, char vm[VM_NAME_MAX], const struct shell_ask *ask);

/* One line of the stream (contract §1.7), taken apart. */
struct exec_frame {
	enum { FRAME_STARTED, FRAME_STDOUT, FRAME_STDERR, FRAME_EXIT, FRAME_ERROR, FRAME_GAP, FRAME_OTHER } type;
	uint8_t *data; /* owned by the caller's scratch; the payload, decoded */
	size_t n;
	int exit_code;
	uint64_t gap_bytes; /* FRAME_GAP: how much of the output is no more */
	char error[512];
};
/* line without its '\n'; scratch holds the payload; both it and j (zeroed at first) are used again and again. 0 or -EPROTO. */
int exec_frame_read(const char *line, size_t n, struct json *j, struct buf *scratch, struct exec_frame *out);

#endif
