/*
 * firstrun [-n RUNS] [-c | -s STEPS_MAX] [-m FRAME_FILE] [-f PATH]... -- PROGRAM ARG...: what happens from the exec of a
 * virtual machine monitor to its first KVM_RUN, that is, until its guest's first instruction. Prints one number a run:
 *   without -c and -s: microseconds. A seccomp filter on that one ioctl notifies us; nothing else is touched.
 *   with -c: system calls of all its threads, the exec not among them, that KVM_RUN not either.
 *   with -s: user-mode instructions of all its threads, counted by stepping; ">N" when STEPS_MAX came first.
 * -m: the program is vmm: fd 3 is a listening SEQPACKET socket on which a connection with the frame in FRAME_FILE waits,
 * fd 4 is /dev/kvm; every -f PATH is opened (a leading + makes it) and travels with the frame, in order.
 * The program is killed as soon as the answer is known.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 16
#define FRAME_BYTES_MAX 65536
#define LIMIT_MS 60000

struct job {
	char **argv;
	const char *frame_file;
	const char *files[FILES_MAX];
	int n_files;
	int count_calls;
	long long steps_max; /* 0: no stepping */
};

/* Shared with the child between fork and exec. */
struct meeting {
	volatile int listener_fd; /* in the child; -1 not yet */
	volatile int go;
	volatile long long exec_ns;
};

static void die(const char *what)
{
	fprintf(stderr, "firstrun: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* Hands every ioctl(KVM_RUN) to us with the given action. Returns the listener fd, or 0. */
static int filter_kvm_run(uint32_t action, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof code / sizeof code[0], code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("no_new_privs");
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);

	if (fd < 0)
		die("seccomp");
	return fd;
}

static void send_frame(int fd, const struct job *job)
{
	static uint8_t frame[FRAME_BYTES_MAX];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int) * FILES_MAX)];
	} control;
	struct iovec iov = {.iov_base = frame};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[FILES_MAX];
	FILE *f = fopen(job->frame_file, "rb");

	if (!f)
		die(job->frame_file);
	iov.iov_len = fread(frame, 1, sizeof frame, f);
	fclose(f);
	for (int i = 0; i < job->n_files; i++) {
		const char *path = job->files[i];

		fds[i] = path[0] == '+' ? open(path + 1, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : open(path, O_RDWR | O_CLOEXEC);
		if (fds[i] < 0)
			fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0)
			die(path);
	}
	if (job->n_files) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)job->n_files);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)job->n_files);
		memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * (size_t)job->n_files);
	}
	if (sendmsg(fd, &msg, 0) < 0)
		die("sendmsg");
	for (int i = 0; i < job->n_files; i++)
		close(fds[i]);
}

/* fd 3 listens, with our connection and its frame waiting; fd 4 is /dev/kvm. Returns our end. */
static int prepare_vmm(const struct job *job)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listen_fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int kvm_fd = open("/dev/kvm", O_RDWR);
	socklen_t used = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
		(size_t)snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "firstrun.%d.%lld", (int)getpid(), now_ns()));

	if (listen_fd < 0 || fd < 0 || kvm_fd < 0)
		die("sockets or /dev/kvm");
	if (bind(listen_fd, (struct sockaddr *)&addr, used) < 0 || listen(listen_fd, 4) < 0 || connect(fd, (struct sockaddr *)&addr, used) < 0)
		die("control socket");
	send_frame(fd, job);
	/* Out of the way first: 3 and 4 may be any of them. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 20);
	listen_fd = fcntl(listen_fd, F_DUPFD, 20);
	kvm_fd = fcntl(kvm_fd, F_DUPFD, 20);
	dup2(listen_fd, 3);
	dup2(kvm_fd, 4);
	close(listen_fd);
	close(kvm_fd);
	return fd;
}

static void child(const struct job *job, struct meeting *m)
{
	m->listener_fd = filter_kvm_run(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	while (!m->go)
		nap();
	close(m->listener_fd);
	m->exec_ns = now_ns();
	execv(job->argv[0], job->argv);
	die(job->argv[0]);
}

static double time_once(const struct job *job)
{
	struct meeting *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pollfd wait = {.events = POLLIN};
	int control_fd = -1;

	if (m == MAP_FAILED)
		die("mmap");
	m->listener_fd = -1;
	if (job->frame_file)
		control_fd = prepare_vmm(job);
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		child(job, m);
	while (m->listener_fd < 0) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			exit(1);
		nap();
	}
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	wait.fd = (int)syscall(SYS_pidfd_getfd, pidfd, m->listener_fd, 0);
	if (wait.fd < 0)
		die("pidfd_getfd");
	m->go = 1;
	int ready = poll(&wait, 1, LIMIT_MS);
	long long end_ns = now_ns();

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (ready != 1 || !(wait.revents & POLLIN)) {
		fprintf(stderr, "firstrun: %s never ran a guest\n", job->argv[0]);
		exit(1);
	}
	double us = (double)(end_ns - m->exec_ns) / 1000;

	close(wait.fd);
	close(pidfd);
	close(control_fd);
	if (job->frame_file) {
		close(3);
		close(4);
	}
	munmap(m, sizeof *m);
	return us;
}

/* -- counting under ptrace -- */

static int enters_call(pid_t pid)
{
	uint8_t info[128] = {0}; /* struct ptrace_syscall_info, which musl names otherwise; its first byte is op */

	return ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, info) > 0 && info[0] == PTRACE_SYSCALL_INFO_ENTRY;
}

/* Goes on with every thread until one of them asks for KVM_RUN; the count of instructions or of system calls. Negative: the
 * program ended first. */
static long long count_until_run(const struct job *job)
{
	long long count = 0, max = job->steps_max ? job->steps_max : INT64_MAX;
	int status, started = 0;

	while (count < max) {
		pid_t pid = waitpid(-1, &status, __WALL);

		if (pid < 0)
			return -1;
		if (!WIFSTOPPED(status))
			continue;
		int event = status >> 16, sig = WSTOPSIG(status);

		if (event == PTRACE_EVENT_SECCOMP)
			return job->count_calls ? count - 1 : count; /* the entry into KVM_RUN was counted before its filter ran */
		if (event == PTRACE_EVENT_EXEC)
			started = 1;
		if (job->count_calls)
			count += started && sig == (SIGTRAP | 0x80) && enters_call(pid);
		else
			count += started && !event && sig == SIGTRAP;
		int deliver = event || (sig & ~0x80) == SIGTRAP || sig == SIGSTOP ? 0 : sig;
		int how = !started ? PTRACE_CONT : job->count_calls ? PTRACE_SYSCALL : PTRACE_SINGLESTEP;

		ptrace(how, pid, NULL, (void *)(intptr_t)deliver);
	}
	return count;
}

static void count_once(const struct job *job)
{
	if (job->frame_file)
		prepare_vmm(job);
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGSTOP);
		filter_kvm_run(SECCOMP_RET_TRACE, 0);
		execv(job->argv[0], job->argv);
		die(job->argv[0]);
	}
	waitpid(pid, NULL, WUNTRACED);
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) < 0)
		die("ptrace");
	kill(pid, SIGCONT);
	long long count = count_until_run(job);

	kill(pid, SIGKILL);
	if (count < 0)
		printf("failed\n");
	else
		printf("%s%lld\n", job->steps_max && count >= job->steps_max ? ">" : "", count);
}

int main(int argc, char **argv)
{
	struct job job = {0};
	int runs = 1, opt;

	while ((opt = getopt(argc, argv, "+n:cs:m:f:")) != -1) {
		if (opt == 'n')
			runs = atoi(optarg);
		else if (opt == 'c')
			job.count_calls = 1;
		else if (opt == 's')
			job.steps_max = atoll(optarg);
		else if (opt == 'm')
			job.frame_file = optarg;
		else if (opt == 'f' && job.n_files < FILES_MAX)
			job.files[job.n_files++] = optarg;
		else
			return 2;
	}
	job.argv = argv + optind;
	if (!job.argv[0])
		return 2;
	for (int i = 0; i < runs; i++) {
		if (job.count_calls || job.steps_max)
			count_once(&job);
		else
			printf("%.1f\n", time_once(&job));
		fflush(stdout);
	}
	return 0;
}
