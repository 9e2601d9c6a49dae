#include "vmm/jail/macvtap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ALIAS "mica"

/* The first line of a file of sysfs. */
static int read_line(const char *path, char *out, size_t cap)
{
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
	if (n < 0)
		return -errno;
	out[n] = 0;
	out[strcspn(out, "\n")] = 0;
	return 0;
}

/* "246:1" */
static int parse_device(char *text, dev_t *out)
{
	char *colon = strchr(text, ':');
	uint64_t major_n, minor_n;
	if (!colon)
		return -EINVAL;
	*colon = 0;
	if (parse_u64(text, UINT32_MAX, &major_n) || parse_u64(colon + 1, UINT32_MAX, &minor_n))
		return -EINVAL;
	*out = makedev((unsigned)major_n, (unsigned)minor_n);
	return 0;
}

static int device_of(unsigned index, dev_t *device, struct fault *f)
{
	char path[80], text[64];
	snprintf(path, sizeof path, "/sys/class/macvtap/tap%u/device/ifalias", index);
	int err = read_line(path, text, sizeof text);
	if (err)
		return fault_set(f, err, "link %u is no macvtap link, or /sys does not show it: %s", index, strerror(-err));
	if (strcmp(text, ALIAS) != 0 && strncmp(text, ALIAS " ", sizeof ALIAS) != 0)
		return fault_set(f, -EPERM, "link %u was not made by mica", index);
	snprintf(path, sizeof path, "/sys/class/macvtap/tap%u/dev", index);
	if ((err = read_line(path, text, sizeof text)) || (err = parse_device(text, device)))
		return fault_errno(f, err, path);
	return 0;
}

/* Looked at before it is opened: opening another device could do something. */
static int open_checked(unsigned index, dev_t device, struct fault *f)
{
	char path[40];
	struct stat st;
	snprintf(path, sizeof path, "/dev/tap%u", index);
	AUTO_FD seen = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (seen < 0)
		return fault_set(f, -errno, "%s: %s%s", path, strerror(errno),
				 errno == ENOENT ? " (mica sees no devtmpfs, as in a container, and makes no device nodes: use mode bridge) [E_TAP_NODE]" : "");
	if (fstat(seen, &st) < 0)
		return fault_errno(f, -errno, path);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != device)
		return fault_set(f, -ENODEV, "%s is not the device of that link: one of another network namespace has its number", path);
	snprintf(path, sizeof path, "/proc/self/fd/%d", seen);
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? fault_set(f, -errno, "/dev/tap%u: %s", index, strerror(errno)) : fd;
}

int macvtap_open(unsigned index, unsigned queues, int fds[JAIL_QUEUES_MAX], struct fault *f)
{
	dev_t device = 0;
	int err = device_of(index, &device, f);
	if (err)
		return err;
	for (unsigned i = 0; i < queues; i++) {
		fds[i] = open_checked(index, device, f);
		if (fds[i] < 0) {
			err = fds[i];
			while (i)
				fd_close(&fds[--i]);
			return err;
		}
	}
	return 0;
}
