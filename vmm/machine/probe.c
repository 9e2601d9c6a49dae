#include "vmm/machine/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "vmm/kvm/kvm.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/state.h"

#define PROBE_RAM_BYTES (2u << 20)
#define PROBE_CODE_GPA 0x10000u
#define PROBE_PORT 0xe9u
#define PROBE_TIME_LIMIT_S 5

/* Each row runs at CPL0 in 64-bit mode, then writes to PROBE_PORT. rsp and rdi point to writable memory. */
static const struct {
	const char *name;
	uint8_t code[12], n;
	uint8_t cpuid_ecx_bit; /* of leaf 1: run only when the processor has it; 0 always */
} probe_rows[] = {
	{ "cmpxchg16b", { 0xf0, 0x48, 0x0f, 0xc7, 0x0f }, 5, 13 },
	{ "popcnt", { 0xf3, 0x48, 0x0f, 0xb8, 0xc0 }, 5, 23 },
	{ "fwait", { 0x9b }, 1, 0 },
};

static const uint8_t probe_out[] = { 0xe6, PROBE_PORT };

static int probe_memory(struct kvm_vm *vm, uint8_t **ram, struct fault *f)
{
	void *p = mmap(NULL, PROBE_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return fault_errno(f, -errno, "memory for a trial");
	*ram = p;
	return kvm_vm_memory(vm, 0, PROBE_RAM_BYTES, p, false, f);
}

/* Tables that map the first 2 MiB, a segment table, and nothing else: any exception is a triple fault. */
static void probe_tables(uint8_t *ram)
{
	const uint64_t gdt[4] = { 0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull };
	const uint64_t entries[3] = { (X86_PAGE_TABLES_GPA + 0x1000) | 3, (X86_PAGE_TABLES_GPA + 0x2000) | 3, 0x83 };

	memcpy(ram + X86_GDT_GPA, gdt, sizeof(gdt));
	for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
		memcpy(ram + X86_PAGE_TABLES_GPA + i * 0x1000, &entries[i], sizeof(entries[i]));
}

static int probe_vcpu(struct kvm_vm *vm, struct kvm_vcpu *v, struct fault *f)
{
	struct kvm_cpuid_table t;
	int err = kvm_vcpu_init(v, vm, 0, f);

	if (!err)
		err = kvm_cpuid_supported(vm->kvm_fd, &t, f);
	if (err)
		return err;
	cpuid_filter(&t, 1, false, cpuid_host_is_software());
	return kvm_vcpu_cpuid(v, &t, f);
}

/* Runs one row from fresh registers. 0 when it got to the port; -ENOEXEC when it did not. */
static int probe_row(struct kvm_vcpu *v, uint8_t *ram, unsigned row, struct fault *f)
{
	struct boot_entry at = { .mode = BOOT_LONG, .entry_gpa = PROBE_CODE_GPA };
	struct kvm_regs r;
	int err = state_entry(v, &at, f);

	memcpy(ram + PROBE_CODE_GPA, probe_rows[row].code, probe_rows[row].n);
	memcpy(ram + PROBE_CODE_GPA + probe_rows[row].n, probe_out, sizeof(probe_out));
	if (!err)
		err = kvm_vcpu_get_regs(v, &r, f);
	r.rdi = r.rsp = 0x20000;
	if (!err)
		err = kvm_vcpu_set_regs(v, &r, f);
	if (err)
		return err;
	err = kvm_vcpu_run(v);
	if (err == -EINTR)
		return fault_set(f, -ETIMEDOUT, "a trial of '%s' does not end", probe_rows[row].name);
	if (err)
		return fault_errno(f, err, "KVM_RUN");
	return v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == PROBE_PORT ? 0 : -ENOEXEC;
}

static int probe_run(struct probe *p, struct kvm_vcpu *v, uint8_t *ram, struct fault *f)
{
	uint32_t a, b, c = 0, d;
	uint64_t start_ns = now_mono_ns();

	__get_cpuid(1, &a, &b, &c, &d);
	for (unsigned i = 0; i < ARRAY_LEN(probe_rows); i++) {
		int err;

		if (probe_rows[i].cpuid_ecx_bit && !(c >> probe_rows[i].cpuid_ecx_bit & 1))
			continue;
		err = probe_row(v, ram, i, f);
		if (err == -ENOEXEC) {
			size_t n = strlen(p->missing);

			snprintf(p->missing + n, sizeof(p->missing) - n, "%s%s", n ? " " : "", probe_rows[i].name);
		} else if (err) {
			return err;
		}
	}
	p->run_us = (now_mono_ns() - start_ns) / 1000;
	return 0;
}

static void alarm_arrived(int sig)
{
	(void)sig; /* ends KVM_RUN */
}

static void probe_alarm(unsigned seconds)
{
	struct sigaction sa = { .sa_handler = alarm_arrived };
	struct itimerval t = { .it_value = { seconds, 0 } };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

void probe_kvm(struct probe *p, int kvm_fd)
{
	struct kvm_vm vm;
	struct kvm_vcpu v = { .fd = -1 };
	struct fault f = { "" };
	uint64_t start_ns = now_mono_ns();
	uint8_t *ram = NULL;
	uint32_t a, b, c, d;
	int err;

	memset(p, 0, sizeof(*p));
	p->vmx = __get_cpuid(1, &a, &b, &c, &d) && (c >> 5 & 1);
	p->svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 2 & 1);
	err = kvm_vm_init(&vm, kvm_fd, &f);
	if (!err)
		err = probe_memory(&vm, &ram, &f);
	if (!err)
		err = kvm_vm_split_irqchip(&vm, 1, &f);
	if (!err)
		err = probe_vcpu(&vm, &v, &f);
	p->create_us = (now_mono_ns() - start_ns) / 1000;
	if (!err) {
		p->vcpus_max = (unsigned)kvm_vm_cap(&vm, KVM_CAP_NR_VCPUS);
		probe_tables(ram);
		probe_alarm(PROBE_TIME_LIMIT_S);
		err = probe_run(p, &v, ram, &f);
		probe_alarm(0);
	}
	p->route = err ? PROBE_NONE : p->missing[0] ? PROBE_EMULATED : PROBE_HARDWARE;
	if (err)
		snprintf(p->why, sizeof(p->why), "%.400s", f.text);
	else if (p->missing[0])
		snprintf(p->why, sizeof(p->why), "this KVM has no %s beneath it: it emulates kernel code in software, and its emulator lacks %s, so stock kernels do not boot",
			 p->vmx || p->svm ? "usable virtualisation" : "VMX or SVM", p->missing);
	else
		snprintf(p->why, sizeof(p->why), "this KVM runs what stock kernels need");
	kvm_vcpu_done(&v, &vm);
	kvm_vm_done(&vm);
	if (ram)
		munmap(ram, PROBE_RAM_BYTES);
}

/* For the inside of a JSON string: our own sentences hold nothing else that needs it. */
static void escape(const char *s, char *out, size_t cap)
{
	size_t n = 0;

	for (; *s && n + 3 < cap; s++) {
		if (*s == '"' || *s == '\\')
			out[n++] = '\\';
		out[n++] = (uint8_t)*s < ' ' ? ' ' : *s;
	}
	out[n] = 0;
}

void probe_json(const struct probe *p, char *text, size_t cap)
{
	static const char *const routes[] = { "none", "emulated", "hardware" };
	char why[sizeof(p->why) + 64];

	escape(p->why, why, sizeof(why));
	snprintf(text, cap,
		 "{\"kvm\":%s,\"route\":\"%s\",\"reason\":\"%s\",\"vmx\":%s,\"svm\":%s,\"vcpus_max\":%u,\"missing\":\"%s\",\"create_us\":%llu,\"run_us\":%llu}",
		 p->route == PROBE_NONE ? "false" : "true", routes[p->route], why, p->vmx ? "true" : "false", p->svm ? "true" : "false",
		 p->vcpus_max, p->missing, (unsigned long long)p->create_us, (unsigned long long)p->run_us);
}
