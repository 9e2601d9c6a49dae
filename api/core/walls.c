/* core's last rights. What it may still do is what the list below lets through on descriptors that it has, and paths beneath its state folder. */
#include "api/core/walls.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/sandbox/sandbox.h"

/*
 * Syscalls: of lib/ev and its signals: epoll_ctl epoll_pwait epoll_wait read restart_syscall rt_sigreturn
 * Syscalls: of lib/wire/chan and what is connected or published: recvmsg sendmsg dup fcntl setsockopt poll socket bind listen connect
 * Syscalls: of local users: accept4 getsockopt
 * Syscalls: of records, images, secrets, logs (all beneath the state folder): open openat openat2 access faccessat close fstat newfstatat stat lstat lseek
 *           pread64 pwrite64 preadv pwritev readv write writev fsync fdatasync ftruncate fallocate ioctl mkdirat unlinkat renameat fchmod fchmodat fchdir getdents64
 *           fstatfs
 * Syscalls: of helper.c, whose children have this filter too: fork gettid setpriority prctl rt_sigaction rt_sigprocmask getpid getppid kill wait4 pipe2
 * Syscalls: of processes that jail gave: pidfd_open pidfd_send_signal
 * Syscalls: of everybody: clock_gettime getrandom geteuid uname prlimit64 brk mmap mprotect munmap mremap madvise futex exit exit_group
 */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(epoll_ctl), SANDBOX_ALLOW(epoll_pwait), SANDBOX_ALLOW(epoll_wait), SANDBOX_ALLOW(read), SANDBOX_ALLOW(restart_syscall),
	SANDBOX_ALLOW(rt_sigreturn),
	SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(setsockopt), SANDBOX_ALLOW(poll),
	SANDBOX_ALLOW(bind), SANDBOX_ALLOW(listen), SANDBOX_ALLOW(connect), SANDBOX_ALLOW(accept4),
	SANDBOX_ALLOW_ARG(getsockopt, 2, SO_PEERCRED),
	SANDBOX_ALLOW_ARG(socket, 0, AF_UNIX), SANDBOX_ALLOW_ARG(socket, 0, AF_INET), SANDBOX_ALLOW_ARG(socket, 0, AF_INET6),
	SANDBOX_ALLOW(open), SANDBOX_ALLOW(openat), SANDBOX_ALLOW(openat2), SANDBOX_ALLOW(access), SANDBOX_ALLOW(faccessat), SANDBOX_ALLOW(close),
	SANDBOX_ALLOW(fstat), SANDBOX_ALLOW(newfstatat), SANDBOX_ALLOW(stat), SANDBOX_ALLOW(lstat), SANDBOX_ALLOW(lseek), SANDBOX_ALLOW(pread64),
	SANDBOX_ALLOW(pwrite64), SANDBOX_ALLOW(preadv), SANDBOX_ALLOW(pwritev), SANDBOX_ALLOW(readv), SANDBOX_ALLOW(write), SANDBOX_ALLOW(writev),
	SANDBOX_ALLOW(fsync), SANDBOX_ALLOW(fdatasync), SANDBOX_ALLOW(ftruncate), SANDBOX_ALLOW(fallocate), SANDBOX_ALLOW(mkdirat), SANDBOX_ALLOW(unlinkat),
	SANDBOX_ALLOW(renameat), SANDBOX_ALLOW(fchmod), SANDBOX_ALLOW(fchmodat), SANDBOX_ALLOW(fchdir), SANDBOX_ALLOW(getdents64), SANDBOX_ALLOW(fstatfs),
	/* a disk that shares its image's extents; the size of a block device */
	SANDBOX_ALLOW_ARG(ioctl, 1, FICLONE), SANDBOX_ALLOW_ARG(ioctl, 1, FS_IOC_FIEMAP), SANDBOX_ALLOW_ARG(ioctl, 1, BLKGETSIZE64),
	SANDBOX_ALLOW(fork), SANDBOX_ALLOW(setpriority), SANDBOX_ALLOW(gettid), SANDBOX_ALLOW_ARG(prctl, 0, PR_SET_PDEATHSIG), SANDBOX_ALLOW(rt_sigaction), SANDBOX_ALLOW(rt_sigprocmask),
	SANDBOX_ALLOW(getpid), SANDBOX_ALLOW(getppid), SANDBOX_ALLOW(kill), SANDBOX_ALLOW(wait4), SANDBOX_ALLOW(pipe2),
	SANDBOX_ALLOW(pidfd_open), SANDBOX_ALLOW(pidfd_send_signal),
	SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(getrandom), SANDBOX_ALLOW(geteuid), SANDBOX_ALLOW(uname), SANDBOX_ALLOW(prlimit64), SANDBOX_ALLOW(brk),
	SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(mremap), SANDBOX_ALLOW(madvise), SANDBOX_ALLOW(futex), SANDBOX_ALLOW(exit), SANDBOX_ALLOW(exit_group),
	/* memory, never code */
	SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
	SANDBOX_ALLOW_ARG(mprotect, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
};

int core_drop_rights(uid_t uid, gid_t gid, int state_fd, struct fault *f)
{
	int err = uid == (uid_t)-1 ? sandbox_keep_caps(0, f) : sandbox_become(uid, gid, 0, f);

	if (!err)
		err = sandbox_no_new_privs();
	if (err)
		return err;
	err = sandbox_paths_beneath(state_fd);
	return err == -EOPNOTSUPP ? 0 : err ? fault_errno(f, err, "Landlock") : 0; /* older kernels: file rights alone hold */
}

int core_filter_calls(struct fault *f)
{
	int err = sandbox_seccomp(rules, ARRAY_LEN(rules));

	return err ? fault_set(f, err, "cannot filter system calls: %s [E_SECCOMP]", strerror(-err)) : 0;
}
