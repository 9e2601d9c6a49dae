/* Makes a foreign root file system a guest of ours. Files of the image are replaced only where a guest cannot do without. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT "usr/local/bin/slicer-agent"
#define INIT "usr/lib/mica/init"
#define NEXT "usr/lib/mica/next" /* a link: what our init becomes when network and name are set; init/init.h */
#define PROGRAM_MAX (16u << 20)
#define TEXT_MAX (1u << 20)
#define UID 1000

static const char unit[] =
	"[Unit]\n"
	"Description=mica guest agent\n"
	"\n"
	"[Service]\n"
	"ExecStart=/" AGENT "\n"
	"Restart=always\n"
	"RestartSec=1\n"
	/* what it started lives on when it starts again, and is not counted as its own */
	"KillMode=process\n"
	"TasksMax=infinity\n"
	"OOMScoreAdjust=-900\n" /* its own: commands get 0 */
	"OOMPolicy=continue\n"  /* a command that is killed for memory does not end the agent */
	"\n"
	"[Install]\n"
	"WantedBy=multi-user.target\n";

/* For a disk whose first program is systemd itself (a group's `image: FILE`, a kernel with other words): name and network come with the environment that the
 * kernel hands to it. After our init there are no such words, and nothing is left to do. */
static const char network_unit[] =
	"[Unit]\n"
	"Description=name and network of a mica guest\n"
	"DefaultDependencies=no\n"
	"After=systemd-remount-fs.service systemd-sysctl.service\n"
	"Before=network-pre.target sysinit.target\n"
	"Wants=network-pre.target\n"
	"\n"
	"[Service]\n"
	"Type=oneshot\n"
	"RemainAfterExit=yes\n"
	"PassEnvironment=MICA_HOST MICA_IP MICA_GW MICA_IP6 MICA_GW6 MICA_DNS\n"
	"ExecStart=/" INIT " --network\n"
	"\n"
	"[Install]\n"
	"WantedBy=sysinit.target\n";

/* Names of network devices stay the kernel's: eth0 is what init sets up. */
static const char link_file[] =
	"[Match]\n"
	"Driver=virtio_net\n"
	"\n"
	"[Link]\n"
	"NamePolicy=keep\n"
	"MACAddressPolicy=none\n";

static int make_folders(int root_fd, const char *path)
{
	char part[256];

	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		int fd;

		memcpy(part, path, (size_t)(p - path));
		part[p - path] = '\0';
		fd = open_in_root(root_fd, part, O_PATH | O_DIRECTORY, 0);
		if (fd == -ENOENT)
			fd = make_in_root(root_fd, part, 0755);
		else if (fd >= 0)
			close(fd);
		if (fd < 0)
			return fd;
	}
	return 0;
}

static int write_at(int root_fd, const char *path, int flags, const void *p, size_t n, mode_t mode)
{
	int err = make_folders(root_fd, path);
	AUTO_FD fd = err ? err : open_in_root(root_fd, path, O_WRONLY | O_CREAT | flags, mode);

	if (fd < 0)
		return fd;
	err = write_full(fd, p, n);
	return err ? err : fchmod(fd, mode) < 0 ? -errno : 0;
}

static int put_file(int root_fd, const char *path, const void *p, size_t n, mode_t mode, struct fault *f)
{
	int err = write_at(root_fd, path, O_TRUNC, p, n, mode);

	return err ? fault_errno(f, err, path) : 0;
}

static int copy_program(int root_fd, const char *from, const char *path, struct fault *f)
{
	char *p;
	size_t n;
	int err = read_file_at(AT_FDCWD, from, PROGRAM_MAX, &p, &n);

	if (err)
		return fault_errno(f, err, from);
	err = put_file(root_fd, path, p, n, 0755, f);
	free(p);
	return err;
}

/* What a path is, links followed inside the root. */
static bool there(int root_fd, const char *path, struct stat *st)
{
	AUTO_FD fd = open_in_root(root_fd, path, O_PATH, 0);

	return fd >= 0 && fstat(fd, st) == 0;
}

/* A link in a folder that may itself be reached by links. Replaces what stands there. */
static int put_link(int root_fd, const char *target, const char *path, struct fault *f)
{
	const char *slash = strrchr(path, '/');
	char dir[256] = ".";
	int err = make_folders(root_fd, path);

	if (slash) {
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
	}
	AUTO_FD fd = err ? err : open_in_root(root_fd, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fault_errno(f, fd, path);
	err = remove_tree(fd, slash ? slash + 1 : path);
	if (!err && symlinkat(target, fd, slash ? slash + 1 : path) < 0)
		err = -errno;
	return err ? fault_errno(f, err, path) : 0;
}

/* ---- init and agent ---- */

#define SYSTEMD "etc/systemd/system/"

static int add_unit(int root_fd, const char *name, const char *text, const char *target, struct fault *f)
{
	char path[128], link[160];
	int err;

	snprintf(path, sizeof(path), SYSTEMD "%s", name);
	snprintf(link, sizeof(link), SYSTEMD "%s.wants/%s", target, name);
	err = put_file(root_fd, path, text, strlen(text), 0644, f);
	snprintf(path, sizeof(path), "/" SYSTEMD "%s", name);
	return err ? err : put_link(root_fd, path, link, f);
}

static int add_units(int root_fd, struct fault *f)
{
	int err = add_unit(root_fd, "slicer-agent.service", unit, "multi-user.target", f);

	if (!err)
		err = add_unit(root_fd, "mica-network.service", network_unit, "sysinit.target", f);
	return err ? err : put_file(root_fd, "etc/systemd/network/10-mica.link", link_file, sizeof(link_file) - 1, 0644, f);
}

/* Other inits are not known to start an agent for us: then ours stays the first program, and the image's is not run. */
static int add_init(int root_fd, struct json_out *o, struct fault *f)
{
	static const char *const systemds[] = { "lib/systemd/systemd", "usr/lib/systemd/systemd" };
	const char *systemd = NULL;
	char target[64] = "/";
	struct stat st;
	int err = copy_program(root_fd, "/sbin/init", INIT, f);

	for (size_t i = 0; i < ARRAY_LEN(systemds) && !systemd; i++)
		if (there(root_fd, systemds[i], &st) && S_ISREG(st.st_mode) && st.st_mode & 0111)
			systemd = systemds[i];
	json_put_str(o, "init", "/" INIT);
	json_put_bool(o, "systemd", systemd);
	if (err || !systemd)
		return err;
	memcpy(target + 1, systemd, strlen(systemd) + 1);
	err = put_link(root_fd, target, NEXT, f);
	return err ? err : add_units(root_fd, f);
}

/* ---- network files: written by init into /run at each boot ---- */

static int add_links(int root_fd, struct fault *f)
{
	struct stat st;
	int err = put_link(root_fd, "/run/resolv.conf", "etc/resolv.conf", f);

	if (!err && (!there(root_fd, "etc/hosts", &st) || st.st_size == 0))
		err = put_link(root_fd, "/run/hosts", "etc/hosts", f);
	if (!err) { /* the name comes from the host; the build machine's would win over it */
		AUTO_FD etc = open_in_root(root_fd, "etc", O_RDONLY | O_DIRECTORY, 0);
		if (etc < 0 || (unlinkat(etc, "hostname", 0) < 0 && errno != ENOENT))
			err = fault_errno(f, etc < 0 ? etc : -errno, "etc/hostname");
	}
	/* empty: a new one at each first boot, so that no two VMs share it (machine-id(5)) */
	return err ? err : put_file(root_fd, "etc/machine-id", "", 0, 0444, f);
}

/* ---- the default user ---- */

/* Is there a line whose field (from 0) is that word? */
static bool has_field(const char *text, unsigned field, const char *word)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *p = line;

		for (unsigned i = 0; i < field && p; i++) {
			p = memchr(p, ':', strcspn(p, "\n"));
			p = p ? p + 1 : NULL;
		}
		if (p && strncmp(p, word, strlen(word)) == 0 && strchr(":\n", p[strlen(word)]))
			return true;
	}
	return false;
}

static int text_of(int root_fd, const char *path, char **out)
{
	struct stat st;
	AUTO_FD fd = open_in_root(root_fd, path, O_RDONLY, 0);

	*out = NULL;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > TEXT_MAX)
		return fd < 0 ? fd : -EFBIG;
	*out = calloc(1, (size_t)st.st_size + 1);
	return *out && read_full(fd, *out, (size_t)st.st_size) == st.st_size ? 0 : -EIO;
}

static int append(int root_fd, const char *path, const char *line, mode_t mode, struct fault *f)
{
	char *text;
	int err = text_of(root_fd, path, &text);
	bool torn = !err && *text && text[strlen(text) - 1] != '\n';

	free(text);
	if (err == -ENOENT && mode == 0) /* an image without shadow passwords needs no line there */
		return 0;
	AUTO_FD fd = open_in_root(root_fd, path, O_WRONLY | O_CREAT | O_APPEND, mode);
	err = fd < 0 ? fd : torn ? write_full(fd, "\n", 1) : 0;
	if (!err)
		err = write_full(fd, line, strlen(line));
	return err ? fault_errno(f, err, path) : 0;
}

static int add_home(int root_fd, struct fault *f)
{
	int err = make_folders(root_fd, "home/ubuntu/x");
	AUTO_FD fd = err ? err : open_in_root(root_fd, "home/ubuntu", O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fault_errno(f, fd, "home/ubuntu");
	return fchown(fd, UID, UID) < 0 || fchmod(fd, 0750) < 0 ? fault_errno(f, -errno, "home/ubuntu") : 0;
}

static int add_user(int root_fd, struct json_out *o, struct fault *f)
{
	char *passwd, *group = NULL, line[160];
	struct stat st;
	bool bash = there(root_fd, "bin/bash", &st), taken, grouped;
	int err = text_of(root_fd, "etc/passwd", &passwd);

	if (err && err != -ENOENT)
		return fault_errno(f, err, "etc/passwd");
	taken = passwd && (has_field(passwd, 2, "1000") || has_field(passwd, 0, "ubuntu"));
	err = text_of(root_fd, "etc/group", &group);
	grouped = group && (has_field(group, 2, "1000") || has_field(group, 0, "ubuntu"));
	free(passwd);
	free(group);
	json_put_bool(o, "user_added", !taken);
	if (err && err != -ENOENT)
		return fault_errno(f, err, "etc/group");
	if (taken)
		return 0;
	snprintf(line, sizeof(line), "ubuntu:x:%d:%d::/home/ubuntu:%s\n", UID, UID, bash ? "/bin/bash" : "/bin/sh");
	err = append(root_fd, "etc/passwd", line, 0644, f);
	if (!err && !grouped)
		err = append(root_fd, "etc/group", "ubuntu:x:1000:\n", 0644, f);
	if (!err)
		err = append(root_fd, "etc/shadow", "ubuntu:!:20000::::::\n", 0, f); /* no password is right */
	if (!err)
		err = add_home(root_fd, f);
	if (!err && there(root_fd, "etc/sudoers.d", &st))
		err = put_file(root_fd, "etc/sudoers.d/mica", "ubuntu ALL=(ALL) NOPASSWD:ALL\n", 30, 0440, f);
	return err;
}

int adopt(int root_fd, struct json_out *o, struct fault *f)
{
	static const char *const mount_points[] = { "proc/x", "sys/x", "dev/x", "run/x", "tmp/x", "etc/x" };
	int err = 0;

	for (size_t i = 0; i < ARRAY_LEN(mount_points) && !err; i++)
		err = make_folders(root_fd, mount_points[i]);
	if (err)
		return fault_errno(f, err, "folders of the root file system");
	err = copy_program(root_fd, "/" AGENT, AGENT, f);
	if (!err)
		err = add_init(root_fd, o, f);
	if (!err)
		err = add_links(root_fd, f);
	if (!err)
		err = add_user(root_fd, o, f);
	return err ? fault_wrap(f, err, "adopting the image") : 0;
}
