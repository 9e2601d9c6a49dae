#include "lib/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_caps(uint64_t keep)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2], had[2];
	if (syscall(SYS_capget, &head, had) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		uint32_t mask = (uint32_t)(keep >> (32 * i)) & had[i].permitted;
		data[i].effective = data[i].permitted = mask;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* The bounding set must shrink while CAP_SETPCAP is still there. Without it (not root) the set is left: it grants nothing. */
static void shrink_bounding_set(uint64_t keep)
{
	for (unsigned cap = 0; cap < 64; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && (errno == EINVAL || errno == EPERM))
			break; /* past the last capability this kernel knows; or CAP_SETPCAP is gone, and with it every other try: half of a cage's system calls were such tries */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

int sandbox_keep_caps(uint64_t keep, struct fault *f)
{
	shrink_bounding_set(keep);
	int err = set_caps(keep);
	return err ? fault_errno(f, err, "cannot drop capabilities") : 0;
}

int sandbox_become(uid_t uid, gid_t gid, uint64_t keep, struct fault *f)
{
	if (geteuid() == 0 && uid != 0) {
		shrink_bounding_set(keep);
		if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
			return fault_errno(f, -errno, "cannot keep capabilities over a change of user");
		/* syscall() rather than musl's wrapper: no other thread exists yet, and the wrapper's signal dance is not needed. */
		if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
			return fault_errno(f, -errno, "cannot change to the process's own user");
		if (syscall(SYS_setresuid, -1, 0, -1) == 0 && uid != 0)
			return fault_set(f, -EPERM, "the change of user did not hold");
	}
	return sandbox_keep_caps(keep, f);
}

int sandbox_no_new_privs(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int sandbox_empty_root(struct fault *f)
{
	const char *at = "/tmp"; /* any folder that exists; only this namespace sees the mount */
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fault_errno(f, -errno, "cannot make the mounts private");
	if (access(at, F_OK) < 0)
		at = "/dev";
	if (mount("mica", at, "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555") < 0)
		return fault_errno(f, -errno, "cannot mount the empty root");
	if (chdir(at) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fault_errno(f, -errno, "cannot change to the empty root");
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | flags, "size=4k,nr_inodes=2") < 0)
		return fault_errno(f, -errno, "cannot make the empty root read-only");
	return 0;
}

/* All rights of Landlock's first version: newer ones would make the ruleset fail on older kernels. */
#define PATH_RIGHTS \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

/* beneath_fd -1: no path at all. */
static int restrict_paths(int beneath_fd)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = PATH_RIGHTS};
	struct landlock_path_beneath_attr folder = {.allowed_access = PATH_RIGHTS & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE, .parent_fd = beneath_fd};
	int err = sandbox_no_new_privs(); /* also where there is no Landlock */
	if (err)
		return err;
	long fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (fd < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? -EOPNOTSUPP : -errno;
	if (beneath_fd >= 0 && syscall(SYS_landlock_add_rule, (int)fd, LANDLOCK_RULE_PATH_BENEATH, &folder, 0) < 0)
		err = -errno;
	if (!err && syscall(SYS_landlock_restrict_self, (int)fd, 0) < 0)
		err = -errno;
	close((int)fd);
	return err;
}

int sandbox_no_paths(void)
{
	return restrict_paths(-1);
}

int sandbox_paths_beneath(int dir_fd)
{
	return restrict_paths(dir_fd);
}
