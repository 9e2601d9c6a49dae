#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fs.h>

struct job {
	struct range archive;
	int root_fd;
	bool adopt, disk; /* disk: the target is an image already, there is no archive */
};

static int spread(const char *from, const char *disk, struct fault *f)
{
	struct range r = { .fd = open(from, O_RDONLY | O_CLOEXEC) };
	AUTO_FD fd = r.fd, to = open(disk, O_WRONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || to < 0 || fstat(fd, &st))
		return fault_errno(f, -errno, fd < 0 ? from : disk);
	r.bytes = (uint64_t)st.st_size;
	return target_spread(&r, to, f);
}

static int size_of(int fd, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*bytes = (uint64_t)st.st_size;
	return S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, bytes) < 0 ? -errno : 0;
}

static int parse(struct job *j, int argc, char **argv, struct fault *f)
{
	uint64_t there = 0, bytes = UINT64_MAX;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--adopt") == 0)
			j->adopt = true;
		else if (strcmp(argv[i], "--disk") == 0)
			j->disk = true;
		else if (strcmp(argv[i], "--bytes") != 0 || ++i == argc || parse_u64(argv[i], INT64_MAX, &bytes))
			return fault_set(f, -EINVAL, "usage: unpack [--bytes N] [--adopt] ARCHIVE TARGET");
	}
	if (j->disk && argc - i == 1) {
		j->root_fd = open(argv[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return j->root_fd < 0 ? fault_errno(f, -errno, argv[i]) : 0;
	}
	if (argc - i != 2 || j->disk)
		return fault_set(f, -EINVAL, "usage: unpack [--bytes N] [--adopt] ARCHIVE TARGET, or unpack --disk --adopt TARGET");
	j->archive.fd = open(argv[i], O_RDONLY | O_CLOEXEC);
	if (j->archive.fd < 0 || size_of(j->archive.fd, &there))
		return fault_errno(f, -errno, argv[i]);
	if (bytes != UINT64_MAX && bytes > there)
		return fault_set(f, -EINVAL, "%s has only %llu bytes", argv[i], (unsigned long long)there);
	j->archive.bytes = bytes == UINT64_MAX ? there : bytes;
	j->root_fd = open(argv[i + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return j->root_fd < 0 ? fault_errno(f, -errno, argv[i + 1]) : 0;
}

/* A root file system that is there already. */
static int work_disk(const struct job *j, struct json_out *o, struct fault *f)
{
	struct stat st;
	int err = j->adopt ? target_grow(j->root_fd, f) : 0;

	if (!err && fstatat(j->root_fd, "etc", &st, AT_SYMLINK_NOFOLLOW) && fstatat(j->root_fd, "usr", &st, AT_SYMLINK_NOFOLLOW))
		err = fault_set(f, -ENOENT, "there is neither /etc nor /usr: this is no root file system");
	json_obj(o, NULL);
	json_put_str(o, "format", "disk");
	if (!err && j->adopt)
		err = adopt(j->root_fd, o, f);
	json_end(o);
	return err;
}

static int work(const struct job *j, struct image *im, struct json_out *o, struct fault *f)
{
	struct applied count = { 0 };
	struct outer outer = { .spare_fd = -1 };
	char digest[DIGEST_TEXT_MAX] = "";
	int err = j->adopt ? target_grow(j->root_fd, f) : 0;

	if (!err)
		err = outer_read(&outer, &j->archive, j->root_fd, f);
	if (!err)
		err = image_read(im, &outer, f);
	if (!err && im->n_layers == 0)
		err = fault_set(f, -EPROTO, "the image has no layers");
	for (unsigned i = 0; i < im->n_layers && !err; i++) {
		err = layer_apply(&im->layer[i], i == 0, j->root_fd, &count, digest, f);
		if (err && !outer.rootfs)
			fault_wrap(f, err, "layer %u of %u", i + 1, im->n_layers);
	}
	if (!err && !im->digest[0])
		memcpy(im->digest, digest, sizeof(digest));
	outer_done(&outer);
	json_obj(o, NULL);
	if (!err) {
		image_report(im, o);
		json_put_u64(o, "entries", count.entries);
		json_put_u64(o, "bytes", count.bytes);
		json_put_u64(o, "whiteouts", count.whiteouts);
		if (j->adopt)
			err = adopt(j->root_fd, o, f);
	}
	json_end(o);
	return err;
}

int main(int argc, char **argv)
{
	static struct image im;
	struct job j = { .root_fd = -1 };
	struct fault f = { "" };
	struct json_out o;
	struct buf out;
	int err;

	umask(0);
	if (argc == 4 && strcmp(argv[1], "--spread") == 0) {
		err = spread(argv[2], argv[3], &f);
		if (err)
			fprintf(stderr, "error: %s\n", f.text);
		return err ? 1 : 0;
	}
	buf_init(&out, 16u << 20);
	json_out_init(&o, &out);
	err = parse(&j, argc, argv, &f);
	if (!err)
		err = j.disk ? work_disk(&j, &o, &f) : work(&j, &im, &o, &f);
	if (!err && syncfs(j.root_fd) < 0)
		err = fault_errno(&f, -errno, "writing the disk");
	if (!err && j.adopt)
		target_trim(j.root_fd);
	if (!err && (out.failed || write_full(1, buf_data(&out), buf_len(&out)) || write_full(1, "\n", 1)))
		err = fault_set(&f, -EIO, "the report cannot be written");
	if (err)
		fprintf(stderr, "error: %s\n", f.text[0] ? f.text : strerror(-err));
	image_done(&im);
	buf_done(&out);
	return err ? 1 : 0;
}
