/* up: the supervisor. Starts the daemon's processes, starts them afresh when one dies, and passes our signals to core. VMs are no
 * children of ours: they live on through all of it. */
#include "cli/checks.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/notify.h"
#include "cli/out.h"
#include "cli/remote.h"
#include "cli/stack.h"
#include "lib/wire/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTARTS_MAX 8         /* that many … */
#define RESTARTS_WINDOW_MS 60000 /* … within that time: give up */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define CORE_ALSO_MS 500
#define PEM_MAX 40000u

static const struct opt up_opts[] = {
	{ "state", 0, OPT_TEXT, "DIR", "the daemon's folder (MICA_STATE; default /var/lib/mica, or ~/.local/state/mica)" },
	{ "tls", 0, OPT_FLAG, NULL, "HTTPS on the API's TCP port, with a certificate of its own (config: api.tls)" },
	{ "no-net", 0, OPT_FLAG, NULL, "without the network process (as for users other than root)" },
	{ "kvm", 0, OPT_TEXT, "PATH", "KVM device (default /dev/kvm)" },
	{ "flavour", 0, OPT_TEXT, "NAME", "what this machine boots: auto (default), min or emulated; which of those it boots a host group uses is its key kernel" },
	{ "suspend-on-shutdown", 0, OPT_FLAG, NULL, "not served: this version cannot keep a VM's memory" },
	{ "keep-vms", 0, OPT_FLAG, NULL, "a stop leaves the VMs running (as SIGUSR2 does once): the next 'mica up' takes them over" },
	{ "license-file", 0, OPT_TEXT, "PATH", "not needed, and not read" },
	{ 0 },
};

/* STARTING → SERVING at READY; any → STOPPING by a signal; any → BACKOFF when a process died → STARTING. */
enum up_state { UP_STARTING, UP_SERVING, UP_STOPPING, UP_BACKOFF };
struct up {
	struct parts parts;
	struct host_kvm host;
	struct stack stack;
	struct stack_ask ask;
	enum up_state state;
	int signal_fd;
	struct notify notify;
	pid_t asking;         /* a child that asks front and core for the watchdog; 0: none */
	uint64_t ask_ms;      /* when the next one is due */
	bool keep_vms;        /* at SIGTERM and SIGINT too */
	bool announced, fatal;
	char fingerprint[100]; /* of the API's certificate; "": no TLS */
	char addresses[512];   /* of the API, as core said them */
	char cert_file[PATH_MAX], key_file[PATH_MAX]; /* read again at SIGHUP; "": those of the state folder */
	uint64_t deaths_ms[RESTARTS_MAX], again_ms; /* deaths: when, newest last */
	unsigned n_deaths, backoff_ms;
	int code;
};

int config_find(const struct args *a, char *dst, size_t cap)
{
	if (a->n_pos) {
		snprintf(dst, cap, "%s", a->pos[0]);
		return access(dst, R_OK) ? out_error(EXIT_FAIL, strerror(errno), "check the path; 'mica new vm > mica.yaml' makes a config",
			"cannot read the config %s [E_CONFIG_MISSING]", dst) : 0;
	}
	for (const char *const *c = compat_configs; *c; c++) {
		snprintf(dst, cap, "%s", *c);
		if (!access(dst, R_OK))
			return 0;
	}
	return out_error(EXIT_FAIL, "there is no mica.yaml here",
		"make one with 'mica new vm > mica.yaml', or name one: 'mica up FILE'", "no config [E_CONFIG_MISSING]");
}

static const char *state_code(int err)
{
	return err == -EROFS ? " [E_STATE_READONLY]" : err == -ENOSPC || err == -EDQUOT ? " [E_DISK_FULL]" : err == -ENOTDIR || err == -EEXIST || err == -ENOENT
		? " [E_STATE_PATH]" : " [E_STATE_DENIED]";
}

/* The folder above must be there; core makes the last one with the right owner. */
static int find_state(const struct args *a, char *dst, size_t cap)
{
	char folder[PATH_MAX], name_mem[NAME_MAX + 1];
	const char *given = arg_text(a, "state"), *name;
	int err = 0;
	if (given)
		snprintf(dst, cap, "%s", given);
	else
		err = state_folder(dst, cap);
	if (err)
		return out_error(EXIT_FAIL, "HOME is not set", "give one: --state DIR", "no folder for the daemon's state");
	if (!split_path(dst, folder, sizeof(folder), &name, name_mem) && (err = make_folders(folder, 0755)))
		return out_error(EXIT_FAIL, strerror(-err), "give another one: --state DIR", "cannot make the folder %s%s", folder, state_code(err));
	return 0;
}

/* ---- what is printed ---- */

/* In a child: a daemon that hangs must not hang its supervisor. */
static void print_vms(const struct up *u)
{
	char sock[PATH_MAX];
	struct remote r;
	struct answer an;
	pid_t pid = fork();
	if (pid)
		return;
	snprintf(sock, sizeof(sock), "%s/api.sock", u->ask.state);
	alarm(10);
	if (!remote_init_socket(&r, sock) && !remote_ask(&r, "GET", "/nodes", NULL, &an)) {
		const struct json_val *list = json_root(&an.json);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			const char *name = "?", *ip = "-", *status = "-";
			char n[100], i[100], s[40];
			json_get_str(v, "hostname", &name);
			json_get_str(v, "ip", &ip);
			json_get_str(v, "status", &status);
			out_clean(n, sizeof(n), name);
			out_clean(i, sizeof(i), ip);
			out_clean(s, sizeof(s), status);
			printf("  VM     %s  %s  %s\n", n, i, s);
		}
	}
	fflush(stdout);
	_exit(0);
}

/* A child asks front for the VMs, and front core: "yes" is its status 0. Whatever hangs does not hang us. */
static void ask_for_watchdog(struct up *u)
{
	char sock[PATH_MAX];
	struct remote r;
	struct answer an;
	u->ask_ms = now_mono_ms() + u->notify.watchdog_ms;
	u->asking = fork();
	if (u->asking)
		return;
	AUTO_FD null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0)
		dup2(null, 2);
	snprintf(sock, sizeof(sock), "%s/api.sock", u->ask.state);
	alarm(10);
	_exit(remote_init_socket(&r, sock) || remote_ask(&r, "GET", "/hostgroup", NULL, &an) || an.status != 200);
}

/* For `join`. What cannot be written is missed there, with a reason. */
static void write_listen(const struct up *u)
{
	char text[700];
	int n = snprintf(text, sizeof(text), "API %s\n%s%s%s", u->addresses, u->fingerprint[0] ? "TLS " : "", u->fingerprint, u->fingerprint[0] ? "\n" : "");
	AUTO_FD dir = open(u->ask.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && n > 0 && (size_t)n < sizeof(text))
		write_file_atomic(dir, STACK_LISTEN_FILE, text, (size_t)n, 0644);
}

static void remove_listen(const struct up *u)
{
	AUTO_FD dir = open(u->ask.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		unlinkat(dir, STACK_LISTEN_FILE, 0);
}

static void announce(struct up *u, const char *addresses)
{
	if (u->announced) {
		out_note("mica: the daemon is back; its VMs were kept");
		return;
	}
	u->announced = true;
	printf("mica %s is up\n", MICA_VERSION);
	printf("  API    %s\n", addresses);
	if (u->fingerprint[0]) {
		printf("  TLS    fingerprint %s\n  join   'mica join --host NAME' prints what another machine needs\n", u->fingerprint);
	}
	printf("  token  %s/auth/token\n  state  %s\n", u->ask.state, u->ask.state);
	printf("  guests %s KVM, kernel %s%s%s\n", route_name(u->host.route), route_kernel(u->host.route) + 7, u->stack.kernel_full >= 0 ? " or full" : "",
	       u->ask.with_netd ? "" : ", no network (not root)");
	fflush(stdout);
	checks_note_rootless();
	print_vms(u);
}

static void on_line(struct up *u, const char *line)
{
	if (!strncmp(line, "READY", 5)) {
		if (u->state == UP_STARTING)
			u->state = UP_SERVING;
		notify_say(&u->notify, "READY=1\nSTATUS=serving");
		u->ask_ms = now_mono_ms();
		snprintf(u->addresses, sizeof(u->addresses), "%s", line[5] ? line + 6 : "");
		write_listen(u);
		announce(u, line[5] ? line + 6 : "");
	} else if (!strncmp(line, "FATAL ", 6)) {
		u->fatal = true;
		u->code = out_error(EXIT_FAIL, line + 6, "mend what it names and start again; VMs that run were left alone", "the daemon cannot start");
	} else if (!strncmp(line, "TLS ", 4)) {
		snprintf(u->fingerprint, sizeof(u->fingerprint), "%.99s", line + 4);
		if (u->addresses[0])
			write_listen(u);
		if (u->announced) {
			out_note("mica: the API's certificate has the fingerprint %s", u->fingerprint);
			notify_say(&u->notify, "READY=1");
		}
	} else if (!strncmp(line, "CERTFILE ", 9)) {
		snprintf(u->cert_file, sizeof(u->cert_file), "%s", line + 9);
	} else if (!strncmp(line, "KEYFILE ", 8)) {
		snprintf(u->key_file, sizeof(u->key_file), "%s", line + 8);
	} else if (!strncmp(line, "NOTE ", 5)) {
		out_note("note: %s", line + 5);
		if (!strncmp(line + 5, "the API keeps its certificate", 29)) /* a reload that changed nothing is over, too */
			notify_say(&u->notify, "READY=1");
	} else {
		out_note("%s", line);
	}
}

static void read_lines(struct up *u)
{
	char line[2048];
	while (stack_line(&u->stack, line, sizeof(line)) == 1)
		on_line(u, line);
}

/* ---- deaths ---- */

/* false: too often. */
static bool note_death(struct up *u)
{
	uint64_t now = now_mono_ms();
	if (u->n_deaths == RESTARTS_MAX) {
		if (now - u->deaths_ms[0] < RESTARTS_WINDOW_MS)
			return false;
		memmove(u->deaths_ms, u->deaths_ms + 1, sizeof(u->deaths_ms) - sizeof(u->deaths_ms[0]));
		u->n_deaths--;
	}
	if (u->n_deaths && now - u->deaths_ms[u->n_deaths - 1] > RESTARTS_WINDOW_MS)
		u->backoff_ms = 0;
	u->deaths_ms[u->n_deaths++] = now;
	u->backoff_ms = u->backoff_ms ? u->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (u->backoff_ms > BACKOFF_MAX_MS)
		u->backoff_ms = BACKOFF_MAX_MS;
	u->again_ms = now + u->backoff_ms;
	return true;
}

/* Core is over: with a reason to end the program (1, u->code is set), or not (0). */
static int core_ended(struct up *u, int status)
{
	bool clean = WIFEXITED(status) && !WEXITSTATUS(status);
	if (!u->fatal && u->state != UP_STOPPING && !clean)
		return 0;
	if (!u->fatal)
		u->code = clean ? EXIT_OK : EXIT_FAIL;
	stack_finish(&u->stack, 2000);
	return 1;
}

/* The others end when core does, and may be reaped before it: what core says about its end decides. 1 as core_ended. */
static int core_also(struct up *u)
{
	pid_t core = u->stack.pids[STACK_CORE];
	int status;
	if (!core)
		return 0;
	AUTO_FD pidfd = pidfd_of(core);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (pidfd < 0 || poll(&p, 1, CORE_ALSO_MS) <= 0 || waitpid(core, &status, WNOHANG) != core)
		return 0;
	stack_reaped(&u->stack, core);
	read_lines(u);
	return core_ended(u, status);
}

/* 1: the program ends with u->code. */
static int on_death(struct up *u, int which, int status)
{
	char how[64];
	read_lines(u);
	if (which == STACK_CORE ? core_ended(u, status) : core_also(u))
		return 1;
	if (u->state == UP_STOPPING) /* core decides when it is over; it notices a lost peer itself */
		return 0;
	snprintf(how, sizeof(how), WIFSIGNALED(status) ? "was killed by signal %d" : "ended with status %d", WIFSIGNALED(status)
		? WTERMSIG(status) : WEXITSTATUS(status));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(how, sizeof(how), "was killed for a system call that is not its own");
	stack_kill(&u->stack);
	if (!note_death(u)) {
		u->code = out_error(EXIT_FAIL, how, "look at the messages above; VMs live on and are found again at the next 'mica up'",
			"%s ended too often", stack_name(which));
		return 1;
	}
	out_note("mica: %s %s; starting the daemon's processes again in %u ms (VMs live on)", stack_name(which), how, u->backoff_ms);
	u->state = UP_BACKOFF;
	notify_say(&u->notify, "STATUS=a process of the daemon died; starting them again");
	return 0;
}

static int reap(struct up *u)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == u->asking) {
			u->asking = 0;
			if (WIFEXITED(status) && !WEXITSTATUS(status) && u->state == UP_SERVING)
				notify_say(&u->notify, "WATCHDOG=1");
			continue;
		}
		int which = stack_reaped(&u->stack, pid);
		if (which >= 0 && u->state != UP_BACKOFF && on_death(u, which, status))
			return 1;
	}
	return 0;
}

/* ---- another certificate ---- */

static int add_file(struct buf *b, uint16_t tag, const char *file, const char *state, const char *ours)
{
	char path[PATH_MAX + 16], *text;
	size_t n;
	snprintf(path, sizeof(path), "%s%s", *file ? file : state, *file ? "" : ours);
	int err = read_file_at(AT_FDCWD, path, PEM_MAX, &text, &n);
	if (err) {
		out_note("mica: the API keeps its certificate: %s: %s", path, strerror(-err));
		return err;
	}
	wire_bytes(b, tag, text, n);
	explicit_bzero(text, n);
	free(text);
	return 0;
}

/* core may not open an operator's files any more; we may. What comes of it is said by a line of core's. */
static void reload(struct up *u)
{
	struct buf b;
	notify_reloading(&u->notify);
	buf_init(&b, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	size_t mark = wire_begin(&b, C_TLS, 0);
	int err = add_file(&b, C_T_CERT, u->cert_file, u->ask.state, "/tls/cert.pem");
	if (!err)
		err = add_file(&b, C_T_KEY, u->key_file, u->ask.state, "/tls/key.pem");
	if (!err && (wire_end(&b, mark) || send(u->stack.control_fd, buf_data(&b), buf_len(&b), MSG_NOSIGNAL) < 0)) {
		out_note("mica: the API keeps its certificate: core does not take another one");
		err = -EIO;
	}
	if (err)
		notify_say(&u->notify, "READY=1");
	if (b.mem)
		explicit_bzero(b.mem, b.cap);
	buf_done(&b);
}

/* The daemon ends at once as in a crash, which its records and VMs are made for: nothing that was acknowledged is lost, streams break with an
 * error, and the next `mica up`, of whatever version, takes the VMs over. */
static void leave(struct up *u)
{
	notify_say(&u->notify, "STOPPING=1\nSTATUS=leaving the VMs to the next daemon");
	out_note("mica: ending; the VMs go on, and the next 'mica up' with this state folder takes them over");
	stack_kill(&u->stack);
	u->code = EXIT_OK;
}

static int on_signal(struct up *u)
{
	struct signalfd_siginfo si;
	while (read(u->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD) {
			if (reap(u))
				return 1;
			continue;
		}
		if (si.ssi_signo == SIGHUP && si.ssi_code == SI_USER && u->fingerprint[0] && u->state == UP_SERVING) { /* not the end of our terminal */
			reload(u);
			continue;
		}
		if (u->state == UP_BACKOFF) /* nothing runs */
			return 1;
		if (si.ssi_signo == SIGUSR2 || (u->keep_vms && u->state != UP_STOPPING && si.ssi_signo != SIGHUP)) {
			leave(u);
			return 1;
		}
		if (u->state == UP_STOPPING)
			out_note("mica: ending the VMs at once");
		else
			out_note("mica: stopping; again to end the VMs at once");
		u->state = UP_STOPPING;
		notify_say(&u->notify, "STOPPING=1\nSTATUS=ending the VMs");
		if (u->stack.pids[STACK_CORE])
			kill(u->stack.pids[STACK_CORE], SIGTERM);
	}
	return 0;
}

static int supervise(struct up *u)
{
	struct fault f = { 0 };
	for (;;) {
		uint64_t now = now_mono_ms();
		if (u->state == UP_BACKOFF && now >= u->again_ms) {
			u->state = UP_STARTING;
			if (stack_start(&u->stack, &u->ask, &f))
				return out_error(EXIT_FAIL, f.text, "VMs live on and are found again at the next 'mica up'", "cannot start the daemon's processes again");
		}
		struct pollfd p[2] = { { .fd = u->signal_fd, .events = POLLIN }, { .fd = u->stack.status_fd, .events = POLLIN } };
		int wait_ms = u->state == UP_BACKOFF ? (int)(u->again_ms - now) : -1;
		if (u->notify.watchdog_ms && u->state == UP_SERVING && !u->asking) {
			if (now >= u->ask_ms)
				ask_for_watchdog(u);
			else
				wait_ms = (int)(u->ask_ms - now);
		}
		if (poll(p, 2, wait_ms) < 0 && errno != EINTR)
			return out_error(EXIT_FAIL, strerror(errno), "start it again; VMs live on", "cannot wait for events");
		if (p[1].revents)
			read_lines(u);
		if (p[0].revents && on_signal(u))
			return u->code;
	}
}

static int take_signals(void)
{
	static const int which[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR2 };
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(which); i++)
		sigaddset(&set, which[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int choose_route(struct up *u, const struct args *a)
{
	const char *flavour = arg_text(a, "flavour");
	int err = host_kvm_probe(&u->parts, u->ask.kvm, &u->host);
	if (flavour && !strcmp(flavour, "min"))
		u->host.route = ROUTE_HARDWARE;
	else if (flavour && !strcmp(flavour, "emulated"))
		u->host.route = ROUTE_EMULATED;
	else if (flavour && strcmp(flavour, "auto"))
		return out_error(EXIT_USAGE, "there are two flavours", "--flavour auto, min or emulated", "unknown kernel flavour '%s'", flavour);
	else if (err)
		return out_error(EXIT_FAIL, u->host.reason, u->host.fix, "%s [%s]", u->host.problem, u->host.code);
	u->ask.route = u->host.route;
	return 0;
}

static int run(struct args *a)
{
	static struct up u;
	static char config[PATH_MAX], state[PATH_MAX];
	struct fault f = { 0 };
	u = (struct up){ .parts.self = -1, .keep_vms = arg_flag(a, "keep-vms", false) };
	notify_init(&u.notify);
	stack_init(&u.stack);
	if (arg_flag(a, "suspend-on-shutdown", false))
		return out_error(EXIT_USAGE, "this version cannot keep a VM's memory", "leave it out: VMs are shut down when the daemon stops, and live on when it is killed",
			"--suspend-on-shutdown");
	int code = config_find(a, config, sizeof(config));
	if (!code)
		code = find_state(a, state, sizeof(state));
	if (!code && parts_open(&u.parts, &f))
		code = out_error(EXIT_FAIL, f.text, "copy the file again", "cannot open this program's own parts");
	u.ask = (struct stack_ask){ .parts = &u.parts, .state = state, .config = config, .kvm = arg_text(a, "kvm") ? arg_text(a, "kvm") : "/dev/kvm",
				    .with_netd = geteuid() == 0 && !arg_flag(a, "no-net", false), .with_full = true, .tls = arg_flag(a, "tls", false), .log_fd = -1 };
	if (!code)
		code = choose_route(&u, a);
	if (code)
		return code;
	u.signal_fd = take_signals();
	if (stack_start(&u.stack, &u.ask, &f)) {
		code = out_error(EXIT_FAIL, f.text, "'mica version' shows what this file carries", "cannot start the daemon's processes");
	} else {
		code = supervise(&u);
		stack_kill(&u.stack);
		remove_listen(&u);
	}
	stack_done(&u.stack);
	parts_done(&u.parts);
	notify_done(&u.notify);
	fd_close(&u.signal_fd);
	return code;
}

const struct cmd cmd_up = { .name = "up", .synopsis = "[FILE]",
	.summary = "Run the daemon in the foreground (default FILE: ./mica.yaml, then ./slicer.yaml)", .opts = up_opts,
	.examples = "mica new vm > mica.yaml && sudo mica up\nmica up ./ci.yaml --state ./state\n"
		    "sudo mica up --tls                     (then 'sudo mica join' prints what other machines need)\n"
		    "sudo pkill -USR2 -x mica && sudo ./mica-new up  (another version takes the running VMs over)", .max_pos = 1, .command_at = -1, .run = run };
