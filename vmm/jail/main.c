#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/sandbox/sandbox.h"
#include "vmm/jail/jail.h"
#include "vmm/jail/walls.h"

enum { CORE_FD = 3, VMM_PROGRAM_FD = 4 };

static int usage(void)
{
	fprintf(stderr, "usage: jail [--kvm PATH] [--uid-base N]   (started by mica up; descriptor 3: core, 4: the vmm program)\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *kvm = "/dev/kvm";
	uint64_t uid_base = SANDBOX_UID_BASE;
	struct cage_host host;
	struct jail jail;
	struct fault f = {""};
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 < argc && strcmp(argv[i], "--kvm") == 0)
			kvm = argv[i + 1];
		else if (i + 1 >= argc || strcmp(argv[i], "--uid-base") != 0 || parse_u64(argv[i + 1], INT32_MAX, &uid_base))
			return usage();
	}
	prctl(PR_SET_NAME, "mica-jail");
	/* The terminal's and the supervisor's signals are for the supervisor: core's channel tells when to end. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	fd_set_cloexec(VMM_PROGRAM_FD, true);
	cage_host_probe(&host, VMM_PROGRAM_FD, kvm, (uid_t)uid_base);
	if (jail_drop_rights(&f)) {
		fprintf(stderr, "mica-jail: %s\n", f.text);
		return 1;
	}
	int err = jail_init(&jail, CORE_FD, &host);
	if (!err)
		err = jail_run(&jail);
	if (err)
		fprintf(stderr, "mica-jail: %s\n", strerror(-err));
	return err ? 1 : 0;
}
