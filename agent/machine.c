#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/arc/dest.h"
#include "lib/arc/tree.h"

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t) /* linux/fs/ext4/ext4.h: new size in blocks */
#define EXT4_MAGIC 0xEF53
#define SIGRTMIN_OF_KERNEL 34 /* as libc numbers it; systemd(1): +4 power off, +5 reboot */

static int not_a_guest(struct fault *f)
{
	return fault_set(f, -EOPNOTSUPP, "this agent does not run inside a guest: it leaves the machine alone");
}

/* Our init and systemd are asked by different signals; both then end everything and sync. The answer has to be on its way
 * before: init ends the agent too. */
static int shutdown_prepare(struct agent *a, const char *action, struct fault *f)
{
	bool systemd = access("/run/systemd/system", F_OK) == 0, off = strcmp(action, "shutdown") == 0;
	if (!off && strcmp(action, "reboot") != 0)
		return fault_set(f, -EINVAL, "action must be shutdown or reboot");
	a->stop_signal = systemd ? SIGRTMIN_OF_KERNEL + (off ? 4 : 5) : off ? SIGUSR2 : SIGTERM;
	return 0;
}

void machine_stop(struct agent *a)
{
	(void)kill(1, a->stop_signal);
	a->stop_signal = 0;
}

/* Mixes and credits: the host gives as much randomness as it sends bytes. */
static int add_entropy(const uint8_t *p, size_t n)
{
	int info[2 + 128] = {0}; /* struct rand_pool_info: bits of entropy, bytes, the bytes */
	AUTO_FD fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (n > sizeof info - 2 * sizeof info[0])
		n = sizeof info - 2 * sizeof info[0];
	info[0] = (int)n * 8;
	info[1] = (int)n;
	memcpy(info + 2, p, n);
	if (ioctl(fd, RNDADDENTROPY, info) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return -errno;
	return 0;
}

static int identity(const struct wire_msg *m, struct fault *f)
{
	char host[65];
	uint64_t ns;
	struct wire_field e;
	int rc = wire_get_str(m, A_T_HOSTNAME, host, sizeof host);
	if (rc != -ENOENT && (rc < 0 || sethostname(host, strlen(host)) < 0))
		return fault_errno(f, rc < 0 ? rc : -errno, "cannot set the host name");
	if (wire_get(m, A_T_ENTROPY, &e) && (rc = add_entropy(e.p, e.n)) < 0)
		return fault_errno(f, rc, "cannot seed the random numbers");
	if (wire_get_u64(m, A_T_TIME_NS, &ns)) {
		struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
		if (clock_settime(CLOCK_REALTIME, &ts) < 0)
			return fault_errno(f, -errno, "cannot set the clock");
	}
	return 0;
}

void machine_request(struct agent *a, const struct wire_msg *m, struct buf *answer)
{
	struct fault f = {.text = ""};
	char action[16];
	int rc = 0;
	switch (m->type) {
	case A_PING:
		break;
	case A_SHUTDOWN:
		if (!a->machine)
			rc = not_a_guest(&f);
		else if (wire_get_str(m, A_T_ACTION, action, sizeof action) < 0)
			rc = fault_set(&f, -EINVAL, "action must be shutdown or reboot");
		else
			rc = shutdown_prepare(a, action, &f);
		break;
	case A_IDENTITY:
		rc = a->machine ? identity(m, &f) : not_a_guest(&f);
		break;
	default:
		rc = fault_set(&f, -ENOSYS, "this agent does not know that request");
	}
	if (rc < 0)
		err_frame(answer, m->id, rc, &f, NULL);
	else
		wire_end(answer, wire_begin(answer, WIRE_OK, m->id));
}

/* Bytes of the block device that holds "/". */
static int root_device_bytes(uint64_t *out)
{
	struct stat st;
	char path[64], *text;
	size_t n;
	if (stat("/", &st) < 0)
		return -errno;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/size", major(st.st_dev), minor(st.st_dev));
	int rc = read_file_at(AT_FDCWD, path, 64, &text, &n);
	if (rc < 0)
		return rc;
	text[strcspn(text, "\n")] = '\0';
	rc = parse_u64(text, UINT64_MAX / 512, out);
	free(text);
	*out *= 512; /* sysfs counts sectors of 512 whatever the device's own are */
	return rc;
}

static int grow_root(uint64_t *bytes, struct fault *f)
{
	struct statfs sf;
	AUTO_FD fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &sf) < 0)
		return fault_errno(f, -errno, "/");
	if (sf.f_type != EXT4_MAGIC || sf.f_bsize <= 0)
		return fault_set(f, -EOPNOTSUPP, "the root file system is not ext4 and does not grow online");
	int rc = root_device_bytes(bytes);
	if (rc < 0)
		return fault_errno(f, rc, "cannot find the size of the root disk");
	uint64_t blocks = *bytes / (uint64_t)sf.f_bsize;
	if (ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return fault_errno(f, -errno, "cannot grow the root file system");
	/* Zeroing the new inode tables in the background would fill a sparse disk; new ones need no zeroing there. */
	(void)mount(NULL, "/", NULL, MS_REMOUNT, "noinit_itable");
	return 0;
}

void grow(struct job *j)
{
	struct fault f = {.text = ""};
	uint64_t bytes = 0;
	int rc = j->a->machine ? grow_root(&bytes, &f) : not_a_guest(&f);
	if (rc < 0) {
		job_refuse(j, rc, &f);
		return;
	}
	size_t mark = wire_begin(&j->out, WIRE_OK, j->req->id);
	wire_u64(&j->out, A_T_SIZE, bytes);
	wire_end(&j->out, mark);
	(void)job_send(j);
}

/* Written beside its place, owned and sealed before it is seen. */
static int put_secret(const char *dir, const char *name, const struct wire_msg *m, struct fault *f)
{
	struct tree_file t;
	struct wire_field d;
	uint64_t perm = 0600, uid = 0, gid = 0;
	(void)wire_get_u64(m, A_T_PERM, &perm);
	(void)wire_get_u64(m, A_T_UID, &uid);
	(void)wire_get_u64(m, A_T_GID, &gid);
	if (!wire_get(m, A_T_DATA, &d) || perm > 0777 || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return fault_set(f, -EINVAL, "a secret needs data, and permissions of at most 777");
	int rc = path_make(dir);
	AUTO_FD fd = rc < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, rc < 0 ? rc : -errno, dir);
	tree_file_init(&t);
	if ((rc = tree_file_open(&t, fd)) < 0 || (rc = write_full(t.fd, d.p, d.n)) < 0 ||
	    (rc = geteuid() == 0 && fchown(t.fd, (uid_t)uid, (gid_t)gid) < 0 ? -errno : 0) < 0) {
		tree_file_drop(&t);
		return fault_errno(f, rc, name);
	}
	rc = tree_file_commit(&t, name, (mode_t)perm, NULL);
	return rc < 0 ? fault_errno(f, rc, name) : 0;
}

static int drop_secret(const char *dir, const char *name, struct fault *f)
{
	AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || unlinkat(fd, name, 0) < 0 ? -errno : 0;
	return rc == 0 || rc == -ENOENT ? 0 : fault_errno(f, rc, name);
}

static void secret_serve(struct conn *c, const struct wire_msg *m, bool put)
{
	struct fault f = {.text = ""};
	char name[256], dir[PATH_MAX];
	struct buf b;
	int rc = 0;
	snprintf(dir, sizeof dir, "%s/run/slicer/secrets", c->a->prefix);
	if (wire_get_str(m, A_T_NAME, name, sizeof name) < 0 || !dest_name_is_valid(name) || name[0] == '.')
		rc = fault_set(&f, -EINVAL, "a secret's name is one plain file name that does not begin with a dot");
	else
		rc = put ? put_secret(dir, name, m, &f) : drop_secret(dir, name, &f);
	buf_init(&b, 4096);
	if (rc < 0)
		err_frame(&b, m->id, rc, &f, NULL);
	else
		wire_end(&b, wire_begin(&b, WIRE_OK, m->id));
	(void)buf_write_fd(&b, c->fd);
	buf_done(&b);
}

void secret_put(struct conn *c, const struct wire_msg *m)
{
	secret_serve(c, m, true);
}

void secret_drop(struct conn *c, const struct wire_msg *m)
{
	secret_serve(c, m, false);
}

void boot_id(char out[48])
{
	char *text;
	size_t n;
	out[0] = '\0';
	if (read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &n) < 0)
		return;
	snprintf(out, 48, "%.*s", (int)strcspn(text, "\n"), text);
	free(text);
}
