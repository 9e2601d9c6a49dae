/* vmm: one program, one VM. `vmm` serves its control socket (lib/wire/vmm.h); the other two say what this host can do, and who we are. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vmm/machine/control.h"
#include "vmm/machine/probe.h"

static const char usage[] = "usage: vmm [NAME]               serve one VM (its name is for people); fd 3: listening control socket, fd 4: /dev/kvm\n"
			    "       vmm --probe [--kvm PATH] say what this KVM can do, as one line of JSON (fd 4, or PATH)\n"
			    "       vmm --version\n";

static int say(int fd, const char *text)
{
	return write_full(fd, text, strlen(text)) ? 1 : 0;
}

/* What an open of /dev/kvm means to the person who reads it. */
static void probe_no_device(struct probe *p, const char *path, int err)
{
	memset(p, 0, sizeof(*p));
	if (err == EACCES || err == EPERM)
		snprintf(p->why, sizeof(p->why), "%.128s cannot be opened: %s; join its group (usermod -aG kvm USER, then log in again) or run as root", path,
			 strerror(err));
	else if (err == ENOENT)
		snprintf(p->why, sizeof(p->why), "%.128s does not exist: load kvm_intel or kvm_amd, or switch virtualisation on in the firmware", path);
	else
		snprintf(p->why, sizeof(p->why), "%.128s cannot be opened: %s", path, strerror(err));
}

static int run_probe(const char *path)
{
	AUTO_FD opened = -1;
	struct probe p;
	char line[1024];

	if (path)
		opened = open(path, O_RDWR | O_CLOEXEC);
	if (path && opened < 0)
		probe_no_device(&p, path, errno);
	else
		probe_kvm(&p, path ? opened : VMM_FD_KVM);
	probe_json(&p, line, sizeof(line) - 1);
	strcat(line, "\n");
	return say(STDOUT_FILENO, line);
}

static int serve(void)
{
	static struct control c; /* large; one a process */
	struct fault f = { "" };

	signal(SIGPIPE, SIG_IGN);
	if (control_init(&c, VMM_FD_LISTEN, VMM_FD_KVM, &f)) {
		say(STDERR_FILENO, "vmm: ");
		say(STDERR_FILENO, f.text);
		say(STDERR_FILENO, "\n");
		return 1;
	}
	_exit(control_run(&c)); /* no teardown: the end of the process is one */
}

int main(int argc, char **argv)
{
	prctl(PR_SET_NAME, "mica-vmm"); /* by this name a later jail knows it again */
	if (argc == 1 || (argc == 2 && argv[1][0] != '-'))
		return serve();
	if (argc == 2 && !strcmp(argv[1], "--version"))
		return say(STDOUT_FILENO, "vmm " MICA_VERSION "\n");
	if (argc == 2 && !strcmp(argv[1], "--probe"))
		return run_probe(NULL);
	if (argc == 4 && !strcmp(argv[1], "--probe") && !strcmp(argv[2], "--kvm"))
		return run_probe(argv[3]);
	say(STDERR_FILENO, usage);
	return 2;
}
