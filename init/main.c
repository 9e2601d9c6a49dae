#include "init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 3000u        /* between asking processes to end and killing them */
#define BACKOFF_MIN_MS 100u   /* before the agent is started again … */
#define BACKOFF_MAX_MS 5000u  /* … doubled up to this … */
#define FILES_SOFT 1024u      /* open files of a process: what select(2) can bear … */
#define FILES_HARD 524288u    /* … and how far a server may raise it; the kernel gives 4096 */
#define BACKOFF_RESET_MS 10000u /* … and forgotten once it has lived this long */

struct agent {
	pid_t pid;           /* 0: not running */
	uint64_t started_ms;
	uint64_t again_ms;   /* when to start it, if it does not run */
	unsigned backoff_ms;
};

void say(const char *what, int err)
{
	char line[256];
	size_t n = 0;
	const char *part[] = {"init: ", what, err ? ": " : "", err ? strerror(-err) : "", "\n"};
	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		size_t len = strlen(part[i]);
		if (len > sizeof line - n)
			len = sizeof line - n;
		memcpy(line + n, part[i], len);
		n += len;
	}
	(void)write_full(2, line, n); /* one write: lines of others do not get into it */
}

/* The kernel opened /dev/console for us when it could; when not (devtmpfs came later), open it now. */
static void console_open(void)
{
	if (fcntl(2, F_GETFD) >= 0)
		return;
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0 && (fd = open("/dev/null", O_RDWR)) < 0)
		return;
	for (int i = 0; i < 3; i++)
		if (i != fd)
			(void)dup2(fd, i);
	if (fd > 2)
		close(fd);
}

pid_t start(const char *path, char *const argv[], char *const envp[])
{
	pid_t pid = vfork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		execve(path, argv, envp);
		_exit(127);
	}
	return pid;
}

static void agent_start(struct agent *a)
{
	static char path_word[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", name[] = "slicer-agent";
	static char *const argv[] = {name, NULL}, *const envp[] = {path_word, NULL};
	pid_t pid = start(AGENT_PATH, argv, envp);
	a->started_ms = now_mono_ms();
	if (pid < 0) {
		say("cannot start the agent", -errno);
		a->again_ms = a->started_ms + BACKOFF_MAX_MS;
		return;
	}
	a->pid = pid;
}

static void agent_ended(struct agent *a, int status)
{
	uint64_t now = now_mono_ms();
	a->pid = 0;
	if (now - a->started_ms >= BACKOFF_RESET_MS || !a->backoff_ms)
		a->backoff_ms = BACKOFF_MIN_MS;
	a->again_ms = now + a->backoff_ms;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		say(AGENT_PATH " cannot be executed", 0);
	else
		say(WIFSIGNALED(status) ? "the agent was killed" : "the agent ended", 0);
	a->backoff_ms = a->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : a->backoff_ms * 2;
}

/* Takes every child that has ended. false when none is left at all. */
static bool reap(struct agent *a)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid == 0)
			return true;
		if (pid < 0)
			return errno != ECHILD;
		if (a && pid == a->pid)
			agent_ended(a, status);
	}
}

static int wait_signal(const sigset_t *set, uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
	return sigtimedwait(set, NULL, &ts);
}

/* Asks, then forces; ends early once no child is left. Orphans become our children, so none is missed. */
static void end_everyone(const sigset_t *set)
{
	uint64_t until = now_mono_ms() + GRACE_MS;
	kill(-1, SIGTERM);
	kill(-1, SIGHUP); /* interactive shells do not heed TERM */
	kill(-1, SIGCONT);
	while (reap(NULL) && now_mono_ms() < until)
		(void)wait_signal(set, 50);
	kill(-1, SIGKILL);
	until = now_mono_ms() + GRACE_MS;
	while (reap(NULL) && now_mono_ms() < until)
		(void)wait_signal(set, 20);
}

static void stop_machine(const sigset_t *set, bool power_off)
{
	say(power_off ? "power off" : "reboot", 0);
	end_everyone(set);
	sync();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		say("/ stays writable", -errno);
	sync();
	if (power_off) {
		(void)reboot(RB_POWER_OFF);
		say("power off failed", -errno);
	}
	(void)reboot(RB_AUTOBOOT);
	say("reboot failed", -errno);
}

static void serve(const sigset_t *set)
{
	struct agent a = {0};
	for (;;) {
		uint64_t now = now_mono_ms(), wait_ms = 3600u * 1000;
		if (!a.pid && now >= a.again_ms)
			agent_start(&a);
		if (!a.pid)
			wait_ms = a.again_ms > now ? a.again_ms - now : 0;
		int sig = wait_signal(set, wait_ms);
		switch (sig) {
		case SIGUSR1:
		case SIGUSR2:
			stop_machine(set, true);
			break;
		case SIGTERM:
		case SIGINT:
			stop_machine(set, false);
			break;
		default: /* SIGCHLD, or time */
			(void)reap(&a);
		}
	}
}

/* Comes back when there is nobody to hand over to. */
static void hand_over(void)
{
	static char path_word[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", name[] = "/sbin/init";
	static char *const argv[] = {name, NULL}, *const envp[] = {path_word, NULL};
	sigset_t set;

	if (access(NEXT_PATH, X_OK) < 0)
		return;
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	execve(NEXT_PATH, argv, envp);
	say(NEXT_PATH, -errno);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static void network(void)
{
	net_up(&(struct net_words){.host = getenv("MICA_HOST"), .ip = getenv("MICA_IP"), .gateway = getenv("MICA_GW"), .ip6 = getenv("MICA_IP6"),
				   .gateway6 = getenv("MICA_GW6"), .dns = getenv("MICA_DNS")});
}

int main(int argc, char **argv)
{
	sigset_t set;
	if (argc == 2 && strcmp(argv[1], "--network") == 0) { /* another init was the first program; no words: we were, and have done it */
		if (getenv("MICA_HOST"))
			network();
		return 0;
	}
	if (getpid() != 1) {
		say("only for PID 1 of a guest", 0);
		return 1;
	}
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	(void)reboot(RB_DISABLE_CAD); /* ctrl-alt-del becomes SIGINT */
	(void)chdir("/");
	struct rlimit files = {.rlim_cur = FILES_SOFT, .rlim_max = FILES_HARD};
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		say("limit of open files", -errno);
	mounts_make(false);
	console_open();
	network();
	hand_over();
	mounts_make(true);
	serve(&set);
	return 1; /* not reached */
}
