#include "lib/sandbox/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (action))

enum { HEAD = 6, PER_RULE = 5 };

/*
 * Straight-line program: check the architecture and refuse the x32 numbers, then one block a row. Every block begins by loading the
 * number again, so rows do not depend on each other and the listing can be read from top to bottom.
 */
int sandbox_seccomp_thread(const struct sandbox_rule *rules, unsigned n)
{
	struct sock_filter code[HEAD + PER_RULE * SANDBOX_RULES_MAX + 1];
	unsigned k = 0;
	if (n > SANDBOX_RULES_MAX)
		return -E2BIG;
	code[k++] = (struct sock_filter)LOAD(arch);
	code[k++] = (struct sock_filter)IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0);
	code[k++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	code[k++] = (struct sock_filter)LOAD(nr);
	code[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1);
	code[k++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	for (unsigned i = 0; i < n; i++) {
		const struct sandbox_rule *r = &rules[i];
		code[k++] = (struct sock_filter)LOAD(nr);
		if (r->arg < 0) {
			code[k++] = (struct sock_filter)IF_EQUAL(r->nr, 0, 1);
		} else {
			/* little endian: the low half of args[] comes first */
			uint32_t at = (uint32_t)(offsetof(struct seccomp_data, args) + 8u * (unsigned)r->arg);
			code[k++] = (struct sock_filter)IF_EQUAL(r->nr, 0, 3);
			code[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at);
			code[k++] = (struct sock_filter)IF_EQUAL((uint32_t)r->value, 0, 1);
		}
		code[k++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	}
	code[k++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	struct sock_fprog prog = {.len = (unsigned short)k, .filter = code};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

int sandbox_seccomp(const struct sandbox_rule *rules, unsigned n)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return sandbox_seccomp_thread(rules, n);
}
