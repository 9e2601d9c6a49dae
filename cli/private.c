#include "cli/private.h"
#include "cli/codes.h"
#include "cli/files.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 30000
#define STOP_MS 10000
#define READY_HARDWARE_MS 60000
#define READY_EMULATED_MS 300000 /* guests run a hundred times slower there */

int private_probe(struct private_vm *p, const struct private_ask *ask)
{
	struct fault f = { 0 };
	sigset_t old;
	*p = (struct private_vm){ .log_fd = -1, .cancel_fd = -1, .folder_fd = -1, .parts.self = -1 };
	stack_init(&p->stack);
	p->cancel_fd = cancel_signals(&old);
	uint64_t t0 = now_mono_ms();
	if (parts_open(&p->parts, &f))
		return out_error(EXIT_OURS, f.text, "copy the file again", "cannot open this program's own parts");
	if (host_kvm_probe(&p->parts, ask->kvm, &p->host) && ask->force == ROUTE_NONE)
		return out_error(EXIT_OURS, p->host.reason, p->host.fix, "%s [%s]", p->host.problem, p->host.code);
	if (ask->force != ROUTE_NONE)
		p->host.route = ask->force;
	p->ms.unpack_probe_ms = now_mono_ms() - t0;
	return 0;
}

/* As root core and front run under other ids: core takes the folder over before it drops rights. */
static int make_folder(struct private_vm *p)
{
	char where[512];
	int err = private_folder(p->folder, &p->folder_fd);
	if (!err)
		return 0;
	snprintf(where, sizeof(where), "%s", p->folder);
	p->folder[0] = 0;
	return out_error(EXIT_OURS, strerror(-err), "point TMPDIR at a folder with room that you may write to", "cannot make the temporary folder %s", where);
}

static void config_text(const struct private_ask *ask, char *dst, size_t cap)
{
	char net[200] = "mode: none";
	char disk[40] = "", kernel[40] = "";
	unsigned n = (unsigned)getpid() & 0xffff; /* names and subnet of its own beside a daemon's */
	if (ask->net)
		snprintf(net, sizeof(net), "mode: bridge, bridge: mr%u, tap_prefix: mr%ut, gateway: 10.%u.%u.1/24", n, n, 128 + (n >> 8) % 100, n & 255);
	if (ask->disk_bytes)
		snprintf(disk, sizeof(disk), "    storage_size: %lluM\n", (unsigned long long)(ask->disk_bytes >> 20));
	if (ask->kernel)
		snprintf(kernel, sizeof(kernel), "    kernel: %s\n", ask->kernel);
	snprintf(dst, cap,
		 "config:\n"
		 "  graceful_shutdown: false\n"
		 "  host_groups:\n"
		 "  - name: run\n"
		 "    count: 0\n"
		 "    vcpu: %llu\n"
		 "    ram_mb: %llu\n"
		 "%s%s"
		 "    network: { %s }\n",
		 (unsigned long long)ask->cpus, (unsigned long long)ask->ram_mb, disk, kernel, net);
}

/* The last lines our processes wrote, for the cause. */
static void log_tail(struct private_vm *p, char *dst, size_t cap)
{
	char raw[4096];
	off_t size = lseek(p->log_fd, 0, SEEK_END);
	uint64_t from = size > (off_t)sizeof(raw) - 1 ? (uint64_t)size - (sizeof(raw) - 1) : 0;
	ssize_t n = size > 0 ? pread_full(p->log_fd, raw, sizeof(raw) - 1, from) : 0;
	dst[0] = 0;
	if (n <= 0)
		return;
	while (n && raw[n - 1] == '\n')
		n--;
	raw[n] = 0;
	char *last = strrchr(raw, '\n');
	out_clean(dst, cap, last ? last + 1 : raw);
}

/* One status line. 1 ready, 0 go on, EXIT_OURS as a negative number after saying why. */
static int on_line(const char *line)
{
	if (!strncmp(line, "READY", 5))
		return 1;
	if (!strncmp(line, "FATAL ", 6))
		return -out_error(EXIT_OURS, line + 6, "'mica doctor' tests this machine step by step", "the private daemon could not start");
	if (!strncmp(line, "NOTE ", 5) && compat_env("VERBOSE"))
		out_note("note: %s", line + 5);
	return 0;
}

static int wait_ready(struct private_vm *p)
{
	char line[2048], cause[2048];
	uint64_t end = now_mono_ms() + READY_MS;
	for (;;) {
		int got;
		while ((got = stack_line(&p->stack, line, sizeof(line))) == 1) {
			int said = on_line(line);
			if (said)
				return said > 0 ? 0 : -said;
		}
		uint64_t now = now_mono_ms();
		if (got < 0 || now >= end)
			break;
		struct pollfd pfd[2] = { { .fd = p->stack.status_fd, .events = POLLIN }, { .fd = p->cancel_fd, .events = POLLIN } };
		if (poll(pfd, 2, (int)(end - now)) > 0 && pfd[1].revents)
			return 130;
	}
	log_tail(p, cause, sizeof(cause));
	return out_error(EXIT_OURS, cause[0] ? cause : "it ended without a word", "'mica doctor' tests this machine step by step",
		"the private daemon could not start");
}

static int create_vm(struct private_vm *p, const struct private_ask *ask)
{
	struct buf body;
	struct json_out o;
	struct answer an;
	const char *hostname = NULL;
	char target[128];
	buf_init(&body, 4096);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_bool(&o, "persistent", false);
	json_end(&o);
	uint64_t timeout_ms = ask->timeout_ms ? ask->timeout_ms : p->host.route == ROUTE_EMULATED ? READY_EMULATED_MS : READY_HARDWARE_MS;
	snprintf(target, sizeof(target), "/hostgroup/run/nodes?wait=agent&timeout=%llums", (unsigned long long)timeout_ms);
	int code = remote_ask(&p->remote, "POST", target, &body, &an);
	buf_done(&body);
	if (code)
		return code == 130 ? 130 : EXIT_OURS;
	if (an.status >= 300)
		code = remote_refused(&p->remote, EXIT_OURS, an.status, &an.text, "the VM did not start");
	else if (json_get_str(json_root(&an.json), "hostname", &hostname) || vm_name_take(p->vm, hostname))
		code = out_error(EXIT_OURS, "its answer names no VM", "copy the file again: its parts may not belong together", "the private daemon makes no sense");
	answer_done(&an);
	return code;
}

/* 0, or EXIT_OURS: core would say the same of a line of a file that nobody wrote. */
static int check_kernel(const struct private_vm *p, const char *kernel)
{
	bool full = kernel && !strcmp(kernel, "full");
	const char *code = !full ? NULL : p->host.route == ROUTE_EMULATED ? "E_KVM_EMULATED" : part_has(&p->parts, KERNEL_FULL) ? NULL : "E_KERNEL_ABSENT";
	if (kernel && !full && strcmp(kernel, "min"))
		return out_error(EXIT_OURS, "there are two", "--kernel min, or --kernel full", "unknown kernel '%s'", kernel);
	return code ? out_error(EXIT_OURS, code_find(code)->cause, code_find(code)->fix, "the kernel 'full' cannot be used [%s]", code) : 0;
}

int private_start(struct private_vm *p, const struct private_ask *ask)
{
	struct fault f = { 0 };
	char text[1024], sock[600];
	private_sweep();
	int code = private_probe(p, ask);
	if (!code)
		code = check_kernel(p, ask->kernel);
	if (!code)
		code = make_folder(p);
	if (code)
		return code;
	p->log_fd = memfd_new("log");
	config_text(ask, text, sizeof(text));
	uint64_t t0 = now_mono_ms();
	struct stack_ask what = { .parts = &p->parts, .route = p->host.route, .state = p->folder, .config_text = text, .kvm = ask->kvm, .ephemeral = true,
				  .with_netd = ask->net, .with_full = ask->kernel && !strcmp(ask->kernel, "full"), .log_fd = p->log_fd };
	if (stack_start(&p->stack, &what, &f))
		return out_error(EXIT_OURS, f.text, "'mica version' shows what this file carries", "cannot start a private daemon");
	code = wait_ready(p);
	p->ms.daemon_ms = now_mono_ms() - t0;
	if (code)
		return code;
	snprintf(sock, sizeof(sock), "%s/api.sock", p->folder);
	if (remote_init_socket(&p->remote, sock))
		return out_error(EXIT_OURS, "the path is too long", "use a shorter TMPDIR", "cannot use the socket %s", sock);
	p->remote.cancel_fd = p->cancel_fd;
	t0 = now_mono_ms();
	code = create_vm(p, ask);
	p->ms.ready_ms = now_mono_ms() - t0;
	return code;
}

/* Waits for core, which ends its VMs and removes its files first. */
static void stop_core(struct private_vm *p)
{
	pid_t core = p->stack.pids[STACK_CORE];
	if (!core)
		return;
	AUTO_FD pidfd = pidfd_of(core);
	kill(core, SIGTERM);
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	uint64_t end = now_mono_ms() + STOP_MS, now;
	while (pidfd >= 0 && (now = now_mono_ms()) < end)
		if (poll(&pfd, 1, (int)(end - now)) > 0)
			break;
}

void private_stop(struct private_vm *p)
{
	stop_core(p);
	stack_finish(&p->stack, 500);
	stack_done(&p->stack);
	if (p->folder[0])
		remove_tree(AT_FDCWD, p->folder);
	p->folder[0] = 0;
	fd_close(&p->folder_fd);
	parts_done(&p->parts);
	fd_close(&p->log_fd);
	fd_close(&p->cancel_fd);
}
