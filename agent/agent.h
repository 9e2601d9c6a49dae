/*
 * agent: what the host does inside a guest, served over vsock streams (lib/wire/agent.h, PROTOCOL.md beside this file).
 * One thread, one event loop: commands and shells are pumped here (exec.c, in the background bg.h); copies, file-system
 * requests and forwards are short-lived children that own their stream and run as the target user (job.c), so that
 * the kernel checks permissions and a closed stream ends them. The agent trusts its host; what
 * guest users can change (passwd, paths, links) is read bounded and never followed by name twice.
 * Stands on lib/base, lib/ev, lib/wire, lib/arc, for uploads lib/json.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <limits.h>
#include <sys/resource.h>

#include "lib/ev/ev.h"
#include "lib/wire/agent.h"

#define DEFAULT_UID 1000u      /* who a request without UID acts as */
#define SESSIONS_MAX 512u      /* streams served at once; more get 503 */
#define BG_MAX 1024u           /* background commands that are not reaped; more get 503 */
#define FRAME_MAX (WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX)

struct hello;
struct bg;
struct agent {
	struct ev_loop *loop;
	struct ev_io listen;
	int listen_fd;          /* owned */
	bool machine;           /* this is a guest of ours: requests about the whole machine are obeyed */
	bool root;              /* running as root: can become other users */
	const char *prefix;     /* borrowed; "" or, in tests, what stands before /run and /etc */
	uint64_t started_ns;    /* monotonic */
	unsigned sessions;
	struct rlimit files;    /* what commands get; the agent itself takes more */
	struct bg *bg;          /* owned; background commands, NULL before the first */
	int stop_signal;        /* what init is to be sent once the answer is out; 0: nothing */
};

/* ---- addresses (stream.c) ---- */

/* "vsock:PORT" (listen on any CID, connect to CID 2) or "unix:/path". Non-blocking fd or -errno; connect may give a
 * socket that still connects (EPOLLOUT tells). */
int stream_listen(const char *address);
int stream_connect(const char *address);

/* ---- first frame and dispatch (conn.c) ---- */

struct conn {
	struct agent *a;
	struct ev_io io;
	struct ev_timer limit;
	int fd;        /* owned until a handler takes it */
	struct buf in; /* bytes from the host not used yet; a handler takes what follows the request */
};
void conn_accept(struct agent *a, int fd_taken);
/* One read, so that a whole frame fits; a stream on which little comes takes little memory. As buf_read_fd(). */
ssize_t conn_read_some(struct buf *b, int fd);
/* Takes the descriptor out of the connection's hands. */
int conn_take_fd(struct conn *c);

/* ---- users (user.c) ---- */

#define GROUPS_MAX 32u
struct who {
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	unsigned n_groups;
	char name[64], home[256], shell[256];
};
/* From /etc/passwd and /etc/group, read at most 1 MiB of each; a uid that stands nowhere has home "/" and no name. */
void who_find(struct who *w, uid_t uid, const char *etc);
/* UID and GID fields; absent UID: fallback_uid. 0 or -EINVAL. When the agent is not root: whoever it is. */
int who_asked(struct who *w, const struct agent *a, const struct wire_msg *m, uid_t fallback_uid, struct fault *f);
/* In a child: groups, gid, uid. Raw system calls, safe after vfork. 0 or -errno. */
int who_become(const struct who *w);

/* ---- paths (path.c) ---- */

/* "~" and "~/x" → home; relative → beneath home; else as it is. 0, -EINVAL (empty, "~user"), -ENAMETOOLONG. */
int path_resolve(const char *path, const struct who *w, char out[PATH_MAX], struct fault *f);
bool path_has_dotdot(const char *path);
/* mkdir -p, mode 0755. 0 or -errno. */
int path_make(const char *dir);
/* Removes all that is in a folder, never through a link (fs.c). 0 or -errno. */
int dir_empty(int dir_fd_taken);
/* Splits at the last slash: dir ("/" or "." when there is none) and the rest. */
void path_split(const char *path, char dir[PATH_MAX], const char **leaf);

/* ---- requests decoded (request.c): pure, no file is touched ---- */

struct command {
	char *memory;  /* owned: everything below points into it */
	char **argv, **envp;
	char *path;    /* program; looked up on `search` when without slash */
	char *search;  /* PATH of the command's environment */
	char cwd[PATH_MAX];
	bool cwd_given;
};
/* A_EXEC or A_SHELL. 0 or -errno with a sentence. */
int command_parse(struct command *c, const struct wire_msg *m, const struct who *w, struct fault *f);
void command_done(struct command *c);
/* Repeated string fields as a malloc'ed array of pointers (the strings behind it in the same allocation). 0, -EINVAL, -ENOMEM, -E2BIG. */
int request_list(const struct wire_msg *m, uint16_t tag, char ***out, size_t *n);

/* ---- starting programs (spawn.c) ---- */

struct spawn {
	const struct command *cmd;
	const struct who *who;
	bool become;     /* change user */
	bool ends_with_us; /* killed when the agent ends */
	const struct rlimit *files; /* borrowed: limit on open files to set */
	bool tty;        /* fds[0] is a terminal: make it the controlling one */
	int fds[3];      /* borrowed: 0, 1, 2 of the child; all > 2 */
	int err;         /* out: why it did not start (negative), 0 */
	bool at_cwd;     /* out: err is about the working directory */
	pid_t pid;       /* out */
};
/* vfork + exec in an own session. 0 with pid set, or s->err. */
int spawn_run(struct spawn *s);

/* ---- serving (exec.c, job.c, machine.c, stats.c, userdata.c) ---- */

void exec_start(struct conn *c, const struct wire_msg *m);  /* A_EXEC, A_SHELL */
void bg_start(struct conn *c, const struct wire_msg *m);    /* A_BG_…: bg.h */
void bg_list(struct conn *c, const struct wire_msg *m);
void bg_info(struct conn *c, const struct wire_msg *m);
void bg_logs(struct conn *c, const struct wire_msg *m);
void bg_kill(struct conn *c, const struct wire_msg *m);
void bg_wait(struct conn *c, const struct wire_msg *m);
void bg_reap(struct conn *c, const struct wire_msg *m);
void health_answer(struct conn *c, const struct wire_msg *m);
void stats_answer(struct conn *c, const struct wire_msg *m);
void secret_put(struct conn *c, const struct wire_msg *m);
void secret_drop(struct conn *c, const struct wire_msg *m);

/* In a child: the stream, blocking. */
struct job {
	const struct agent *a; /* borrowed, a copy in this process */
	int fd;
	struct buf in;         /* starts with what followed the request */
	struct buf out;
	const struct wire_msg *req;
};
typedef void job_fn(struct job *j);
void job_start(struct conn *c, const struct wire_msg *m, job_fn *fn);
/* Next frame: 0, -EPIPE when the stream ended, -EPROTO. m is valid until the next call. */
int job_next(struct job *j, struct wire_msg *m);
int job_send(struct job *j); /* what stands in j->out; cleared */
void job_ok(struct job *j);  /* WIRE_OK without fields */
/* WIRE_ERR with the sentence, then waits a little for the host to read it. err: negative errno, which gives STATUS. */
void job_refuse(struct job *j, int err, const struct fault *f);

job_fn copy_in, copy_out, fs_readdir, fs_stat, fs_mkdir, fs_remove, fs_watch, forward, grow, userdata_run, ssh_keys, fixup;

/* ---- answers (conn.c) ---- */

unsigned err_status(int err); /* HTTP status that fits a negative errno */
/* Answers on the loop; the connection is closed by who dispatched it. */
void conn_refuse(struct conn *c, uint32_t id, int err, const struct fault *f, const char *code);
void err_frame(struct buf *b, uint32_t id, int err, const struct fault *f, const char *code);

/* ---- hello stream (hello.c) and what comes over it (machine.c) ---- */

int hello_new(struct hello **out, struct agent *a, const char *address);
/* Obeys A_IDENTITY, A_PING, and prepares A_SHUTDOWN (a->stop_signal); writes the answer. */
void machine_request(struct agent *a, const struct wire_msg *m, struct buf *answer);
void machine_stop(struct agent *a); /* sends init the signal that was prepared */
void boot_id(char out[48]);
/* true: has run, or runs now. *has_code: how it ended is known. */
bool userdata_state(const struct agent *a, bool *running, bool *has_code, uint64_t *code);

#endif
