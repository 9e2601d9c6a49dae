#include "init/init.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* In this order: a later folder may stand on an earlier file system. */
static const struct {
	const char *type, *at, *options;
	mode_t mode;
	unsigned long flags;
	bool late;
} table[] = {
	{"proc", "/proc", NULL, 0555, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", NULL, 0555, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=755", 0755, MS_NOSUID},
	{"devpts", "/dev/pts", "mode=620,gid=5,ptmxmode=666", 0755, MS_NOSUID | MS_NOEXEC, true},
	{"tmpfs", "/dev/shm", "mode=1777", 01777, MS_NOSUID | MS_NODEV, true},
	{"tmpfs", "/run", "mode=755", 0755, MS_NOSUID | MS_NODEV},
	{"tmpfs", "/tmp", "mode=1777", 01777, MS_NOSUID | MS_NODEV, true},
	{"cgroup2", "/sys/fs/cgroup", "nsdelegate", 0755, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
};

static const struct {
	const char *target, *at;
} links[] = {
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
};

void mounts_make(bool late)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].late != late)
			continue;
		(void)mkdir(table[i].at, table[i].mode); /* mostly there; a read-only root has it or the mount says so */
		int rc = mount(table[i].type, table[i].at, table[i].type, table[i].flags, table[i].options);
		if (rc < 0 && errno != EBUSY) /* the kernel may have mounted /dev itself */
			say(table[i].at, -errno);
	}
	for (size_t i = 0; i < ARRAY_LEN(links) && !late; i++)
		if (symlink(links[i].target, links[i].at) < 0 && errno != EEXIST)
			say(links[i].at, -errno);
}
