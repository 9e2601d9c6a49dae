/* doctor: what this machine can do, found by doing it. */
#include "cli/checks.h"
#include "cli/cli.h"
#include "cli/codes.h"
#include "cli/exec.h"
#include "cli/out.h"
#include "cli/private.h"
#include "cli/ps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const struct opt doctor_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print JSON" },
	{ "kvm", 0, OPT_TEXT, "PATH", "KVM device (default /dev/kvm)" },
	{ "state", 0, OPT_TEXT, "DIR", "the daemon's folder to look at (MICA_STATE; default as for up)" },
	{ "codes", 0, OPT_FLAG, NULL, "print what the codes in errors mean, with what mends it, and do nothing else" },
	{ 0 },
};

struct finding {
	struct private_vm *p;
	const char *kvm;
	struct check checks[CHECKS_MAX];
	unsigned n_checks;
	int code;             /* of the guest's start and command */
	bool booted;
	bool has_full;        /* this file carries that kernel */
	uint64_t exec_ms, stop_ms;
	uint64_t ram_mb;
	struct utsname un;
	struct ps_proc vmm;   /* as the kernel shows it; pid 0: not seen */
};

/* What stands around the guest's monitor, found by looking at it while it runs. */
static void look_at_cage(struct finding *d)
{
	static struct ps_proc all[PS_MAX];
	int n = ps_scan(all, ARRAY_LEN(all));
	for (int i = 0; i < n; i++)
		if (!strcmp(all[i].process, "vmm") && all[i].parent == d->p->stack.pids[STACK_JAIL])
			d->vmm = all[i];
}

/* Boots the throw-away guest through the same door as `run`. */
static void try_guest(struct finding *d)
{
	char *words[] = { (char[]){ "true" } };
	struct private_ask ask = { .cpus = 1, .ram_mb = 256, .kvm = d->kvm };
	d->code = private_start(d->p, &ask);
	d->booted = !d->code;
	d->has_full = part_has(&d->p->parts, KERNEL_FULL);
	if (d->booted) {
		uint64_t t0 = now_mono_ms();
		d->code = exec_run(&d->p->remote, d->p->vm, &(struct exec_ask){ .words = words, .n_words = 1, .shell = "", .quiet_output = true });
		d->exec_ms = now_mono_ms() - t0;
		look_at_cage(d);
	}
	uint64_t t0 = now_mono_ms();
	private_stop(d->p);
	d->stop_ms = now_mono_ms() - t0;
}

static void print_json(const struct finding *d)
{
	const struct private_vm *p = d->p;
	struct buf b;
	struct json_out o;
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_bool(&o, "ok", !d->code);
	json_put_str(&o, "version", MICA_VERSION);
	json_obj(&o, "host");
	json_put_str(&o, "kernel", d->un.release);
	json_put_str(&o, "arch", d->un.machine);
	json_put_i64(&o, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
	json_put_u64(&o, "ram_mb", d->ram_mb);
	json_put_bool(&o, "root", geteuid() == 0);
	json_end(&o);
	json_obj(&o, "kvm");
	json_put_str(&o, "device", d->kvm);
	json_put_str(&o, "route", route_name(p->host.route));
	json_put_str(&o, "reason", p->host.reason);
	json_put_str(&o, "kernel", p->host.route == ROUTE_NONE ? NULL : route_kernel(p->host.route) + 7);
	json_arr(&o, "kernels"); /* of this file */
	json_put_str(&o, NULL, "min");
	json_put_str(&o, NULL, "emulated");
	if (d->has_full)
		json_put_str(&o, NULL, "full");
	json_end(&o);
	json_put_u64(&o, "open_us", p->host.open_us);
	json_put_u64(&o, "probe_us", p->host.probe_us);
	if (p->host.problem[0]) {
		json_put_str(&o, "code", p->host.code);
		json_put_str(&o, "problem", p->host.problem);
		json_put_str(&o, "fix", p->host.fix);
	}
	json_end(&o);
	json_arr(&o, "checks");
	for (unsigned i = 0; i < d->n_checks; i++) {
		const struct check *c = &d->checks[i];
		json_obj(&o, NULL);
		json_put_str(&o, "name", c->name);
		json_put_str(&o, "state", check_word(c->state));
		json_put_str(&o, "found", c->found);
		if (c->code) {
			json_put_str(&o, "code", c->code);
			json_put_str(&o, "cause", code_find(c->code)->cause);
			json_put_str(&o, "fix", code_find(c->code)->fix);
		}
		json_end(&o);
	}
	json_end(&o);
	json_obj(&o, "guest");
	json_put_bool(&o, "booted", d->booted);
	json_put_u64(&o, "daemon_ms", p->ms.daemon_ms);
	json_put_u64(&o, "ready_ms", p->ms.ready_ms);
	json_put_u64(&o, "exec_ms", d->exec_ms);
	json_put_u64(&o, "stop_ms", d->stop_ms);
	json_end(&o);
	if (d->vmm.pid) {
		char text[400];
		json_obj(&o, "cage");
		json_put_i64(&o, "uid", d->vmm.uid);
		ps_ns_words(&d->vmm, text, sizeof(text));
		json_put_str(&o, "namespaces", text);
		ps_caps_words(&d->vmm, text, sizeof(text));
		json_put_str(&o, "capabilities", text);
		json_put_bool(&o, "filtered", d->vmm.threads && d->vmm.filtered == d->vmm.threads);
		ps_limits_words(&d->vmm, text, sizeof(text));
		json_put_str(&o, "cgroup_limits", text);
		json_put_str(&o, "landlock", ps_landlock(&d->vmm, ps_landlock_abi()));
		json_end(&o);
	}
	json_end(&o);
	printf("%s\n", buf_cstr(&b));
	buf_done(&b);
}

static void print_cage(const struct ps_proc *p)
{
	char ns[80], caps[400], limits[200];
	ps_ns_words(p, ns, sizeof(ns));
	ps_caps_words(p, caps, sizeof(caps));
	ps_limits_words(p, limits, sizeof(limits));
	printf("cage    uid %lld, own namespaces: %s, capabilities: %s, %s, Landlock: %s\n", (long long)p->uid, ns, caps,
	       p->threads && p->filtered == p->threads ? "every thread behind a filter of system calls" : "NOT every thread is filtered", ps_landlock(p, ps_landlock_abi()));
	if (p->memory_max)
		printf("limits  cgroup: %s\n", limits);
	else
		printf("limits  rlimits alone%s%s: memory, CPU and tasks of a VM are bounded by a cgroup only where %s\n", strcmp(limits, "none") ? ", and by cgroup " : "",
		       strcmp(limits, "none") ? limits : "", geteuid() ? "the daemon's unit is delegated (Delegate=yes), or root starts it" :
		       "cgroup v2 has their controllers (not v1 or hybrid)");
}

static void print_words(const struct finding *d)
{
	const struct private_vm *p = d->p;
	printf("host    Linux %s %s, %ld CPUs, %llu MiB RAM, %s\n", d->un.release, d->un.machine, sysconf(_SC_NPROCESSORS_ONLN), (unsigned long long)d->ram_mb,
	       geteuid() ? "not root: no network for VMs, no user ids of their own" : "root");
	printf("kvm     %s opened in %llu µs, probed in %.1f ms\n", d->kvm, (unsigned long long)p->host.open_us, (double)p->host.probe_us / 1000.0);
	printf("route   %s: %s\n", route_name(p->host.route), p->host.reason[0] ? p->host.reason : "stock kernels run on this KVM");
	if (p->host.route != ROUTE_NONE)
		printf("kernel  %s; in this file: min, emulated%s\n", route_kernel(p->host.route) + 7,
		       !d->has_full ? "" : p->host.route == ROUTE_HARDWARE ? ", full (for host groups that name it)" : ", full (which needs VMX or SVM)");
	for (unsigned i = 0; i < d->n_checks; i++) {
		const struct check *c = &d->checks[i];
		printf("%-8s%-10s%s%s%s%s\n", check_word(c->state), c->name, c->found, c->code ? " [" : "", c->code ? c->code : "", c->code ? "]" : "");
		if (c->code)
			printf("                  fix: %s\n", code_find(c->code)->fix);
	}
	if (d->booted)
		printf("guest   daemon up %llu ms, VM created and agent ready %llu ms, first command %llu ms, all removed %llu ms\n", (unsigned long long)p->ms.daemon_ms,
		       (unsigned long long)p->ms.ready_ms, (unsigned long long)d->exec_ms, (unsigned long long)d->stop_ms);
	if (d->vmm.pid)
		print_cage(&d->vmm);
	printf("%s\n", d->code ? "result  this machine cannot run VMs yet: see the error above" : "result  this machine runs VMs");
}

static int print_codes(bool json)
{
	struct buf b;
	struct json_out o;
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_arr(&o, NULL);
	for (const struct code_row *r = codes; r->code; r++) {
		if (!json)
			printf("%s\n  cause: %s\n  fix: %s\n", r->code, r->cause, r->fix);
		json_obj(&o, NULL);
		json_put_str(&o, "code", r->code);
		json_put_str(&o, "cause", r->cause);
		json_put_str(&o, "fix", r->fix);
		json_end(&o);
	}
	json_end(&o);
	if (json)
		printf("%s\n", buf_cstr(&b));
	buf_done(&b);
	return EXIT_OK;
}

static int run(struct args *a)
{
	static struct private_vm p;
	static struct finding d;
	char state[4096] = "";
	if (arg_flag(a, "codes", false))
		return print_codes(arg_flag(a, "json", false));
	d = (struct finding) { .p = &p, .kvm = arg_text(a, "kvm") ? arg_text(a, "kvm") : "/dev/kvm" };
	uname(&d.un);
	d.ram_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
	if (arg_text(a, "state"))
		snprintf(state, sizeof(state), "%s", arg_text(a, "state"));
	else if (state_folder(state, sizeof(state)))
		state[0] = 0;
	d.n_checks = checks_run(d.checks, state);
	try_guest(&d);
	if (arg_flag(a, "json", false))
		print_json(&d);
	else
		print_words(&d);
	return d.code == 130 ? 130 : d.code ? EXIT_FAIL : EXIT_OK;
}

const struct cmd cmd_doctor = { .name = "doctor", .summary = "Find out what this machine can do: open KVM, boot a throw-away VM, time it", .opts = doctor_opts,
	.examples = "mica doctor\nmica doctor --json\nmica doctor --codes", .command_at = -1, .run = run };
