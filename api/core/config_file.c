/* The files a group's VMs start from. Opened here, before core gives up its rights. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/config_int.h"
#include "api/core/images.h"

/* The file's groups hold it open; core opens no path of a client's choice, and after its start none at all. */
static int borrow(struct checking *x, const struct yaml_str *s, const char *what, size_t at, struct conf_file *out)
{
	for (size_t i = 0; i + 1 < x->c->n_groups; i++) {
		const struct conf_file *file = (const void *)((const char *)&x->c->groups[i] + at);

		if (file->fd < 0 || strcmp(file->path, s->v) != 0)
			continue;
		*out = (struct conf_file){ s->v, fcntl(file->fd, F_DUPFD_CLOEXEC, 3), file->bytes };
		return out->fd < 0 ? REFUSE(x, s->line, "%s '%.200s': %s", what, s->v, strerror(errno)) : 0;
	}
	return REFUSE(x, s->line, "%s '%.200s' is not open in the daemon, which opens files at its start only: leave it out for the built-in one, or name "
		      "one that a host group of the daemon's file uses", what, s->v);
}

static int open_regular(struct checking *x, const struct yaml_str *s, const char *what, struct conf_file *out)
{
	struct stat st;

	out->path = s->v;
	out->fd = open(s->v, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (out->fd < 0)
		return REFUSE(x, s->line, "%s '%.200s': %s", what, s->v, strerror(errno));
	if (fstat(out->fd, &st) || !S_ISREG(st.st_mode))
		return REFUSE(x, s->line, "%s '%.200s' is not a regular file", what, s->v);
	out->bytes = (uint64_t)st.st_size;
	return 0;
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The ext4 superblock (Documentation/filesystems/ext4/super.rst): magic, and blocks × block size must be there. */
static int check_ext4(struct checking *x, const struct yaml_str *s, const struct conf_file *file)
{
	uint8_t sb[2048] = { 0 };
	const uint8_t *e = sb + 1024;
	uint64_t blocks, bytes;

	if (pread_full(file->fd, sb, sizeof(sb), 0) < (ssize_t)sizeof(sb))
		return REFUSE(x, s->line, "image '%.200s' is too short (%llu bytes) to be a raw ext4 image [E_IMAGE_BAD]", s->v,
			      (unsigned long long)file->bytes);
	if (e[0x38] != 0x53 || e[0x39] != 0xef) {
		if (sb[510] == 0x55 && sb[511] == 0xaa)
			return REFUSE(x, s->line, "image '%.200s' is a disk with partitions: copy its root partition into a file of its own [E_IMAGE_BAD]", s->v);
		return REFUSE(x, s->line, "image '%.200s' holds no ext4 file system: a raw ext4 image is needed (mkfs.ext4 -d FOLDER FILE SIZE) [E_IMAGE_BAD]",
			      s->v);
	}
	blocks = le32(e + 4) | ((le32(e + 0x60) & 0x80) ? (uint64_t)le32(e + 0x150) << 32 : 0); /* INCOMPAT_64BIT */
	if (le32(e + 0x18) > 6 || mul_overflows_u64(blocks, 1024ull << le32(e + 0x18), &bytes) || bytes > file->bytes)
		return REFUSE(x, s->line, "image '%.200s' is too short: its file system does not fit into its %llu bytes; copy it again [E_IMAGE_BAD]", s->v,
			      (unsigned long long)file->bytes);
	return 0;
}

/* "web:1", or an OCI reference with registry, tag or digest: a name of the image store. What begins with a dot or slash or ends as a disk file does
 * is a path, and so is a file that is there. */
static bool is_stored(const struct checking *x, const char *s)
{
	static const char *const files[] = { ".img", ".raw", ".ext4" };
	char whole[IMAGE_NAME_MAX + 1];
	size_t n = strlen(s);

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (n > strlen(files[i]) && strcmp(s + n - strlen(files[i]), files[i]) == 0)
			return false;
	return image_name_complete(s, whole) && (x->by_api || access(s, F_OK) != 0);
}

static int check_image(struct checking *x, const struct yaml_str *s, struct host_group *g)
{
	int r;

	if (!s->line || strcmp(s->v, "min") == 0) {
		g->image = (struct conf_file){ "min", -1, x->host->min_image_bytes };
		return 0;
	}
	if (is_stored(x, s->v)) {
		g->image = (struct conf_file){ s->v, -1, 0, true };
		return 0;
	}
	if (x->by_api)
		return borrow(x, s, "image", offsetof(struct host_group, image), &g->image);
	r = open_regular(x, s, "image", &g->image);
	return r ? r : check_ext4(x, s, &g->image);
}

/* One of the kernels that this file carries. */
static int check_built_in(struct checking *x, const struct yaml_str *s, struct host_group *g)
{
	bool full = s->line && strcmp(s->v, "full") == 0;

	g->kernel = (struct conf_file){ full ? "full" : x->host->emulated ? "emulated" : "min", -1, 0 };
	g->kernel_full = full;
	if (s->line && !full && strcmp(s->v, "min") != 0)
		return REFUSE(x, s->line, "there is no kernel '%.40s': write 'kernel: min' or 'kernel: full'; another one is named by kernel_file", s->v);
	if (full && x->host->emulated)
		return REFUSE(x, s->line, "kernel 'full' needs VMX or SVM, which this machine's KVM has not: leave 'kernel' out, and 'emulated' boots "
			      "[E_KVM_EMULATED]");
	if (full && !x->host->kernel_full)
		return REFUSE(x, s->line, "kernel 'full' is not in this build of mica: make one with 'make full', or leave 'kernel' out [E_KERNEL_ABSENT]");
	return 0;
}

/* vmlinux (ELF) or bzImage ("HdrS"): the loader looks closely, this catches the wrong file early. */
static int check_kernel_file(struct checking *x, const struct yaml_str *s, struct host_group *g)
{
	uint8_t head[0x210] = { 0 };
	int r;

	if (x->by_api)
		return borrow(x, s, "kernel_file", offsetof(struct host_group, kernel), &g->kernel);
	r = open_regular(x, s, "kernel_file", &g->kernel);
	if (r)
		return r;
	if (pread_full(g->kernel.fd, head, sizeof(head), 0) < 0)
		return REFUSE(x, s->line, "kernel_file '%.200s' cannot be read [E_KERNEL_BAD]", s->v);
	if (memcmp(head, "\177ELF", 4) != 0 && memcmp(head + 0x202, "HdrS", 4) != 0)
		return REFUSE(x, s->line, "kernel_file '%.200s' is no kernel: an ELF vmlinux or a bzImage is needed [E_KERNEL_BAD]", s->v);
	return 0;
}

/* The group's word, of either kind, goes before the file's. */
static int check_kernel(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	bool own = k->kernel.line || k->kernel_file.line;
	const struct yaml_str *name = own ? &k->kernel : &x->k->kernel, *file = own ? &k->kernel_file : &x->k->kernel_file;

	g->kernel.fd = -1;
	if (name->line && file->line)
		return REFUSE(x, name->line, "group '%s': give either kernel or kernel_file", g->name);
	return file->line ? check_kernel_file(x, file, g) : check_built_in(x, name, g);
}

int config_check_files(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	const struct yaml_str *initrd = k->initrd_file.line ? &k->initrd_file : &x->k->initrd_file;
	int r = check_image(x, k->image.line ? &k->image : &x->k->image, g);

	if (!r)
		r = check_kernel(x, k, g);
	if (!r && initrd->line)
		r = x->by_api ? borrow(x, initrd, "initrd_file", offsetof(struct host_group, initrd), &g->initrd) :
				open_regular(x, initrd, "initrd_file", &g->initrd);
	return r;
}

int config_check_userdata(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	char *text;
	size_t n;
	int r;

	g->userdata = k->userdata.line ? k->userdata.v : NULL;
	if (k->userdata.line && k->userdata_file.line)
		return REFUSE(x, k->userdata_file.line, "group '%s': give either userdata or userdata_file", g->name);
	if (g->userdata && strlen(g->userdata) > USERDATA_MAX)
		return REFUSE(x, k->userdata.line, "group '%s': userdata is longer than %u bytes", g->name, USERDATA_MAX);
	if (!k->userdata_file.line)
		return 0;
	if (x->by_api)
		return REFUSE(x, k->userdata_file.line, "group '%s': userdata_file cannot be given here, the daemon opens files at its start only: send the "
			      "script as userdata", g->name);
	r = read_file_at(AT_FDCWD, k->userdata_file.v, USERDATA_MAX, &text, &n);
	if (r == -EFBIG)
		return REFUSE(x, k->userdata_file.line, "group '%s': userdata_file is longer than %u bytes", g->name, USERDATA_MAX);
	if (r)
		return REFUSE(x, k->userdata_file.line, "group '%s': userdata_file '%.200s': %s", g->name, k->userdata_file.v, strerror(-r));
	if (strlen(text) != n)
		r = REFUSE(x, k->userdata_file.line, "group '%s': userdata_file '%.200s' holds a NUL byte: it must be a script", g->name,
			   k->userdata_file.v);
	g->userdata = yaml_doc_strdup(&x->c->doc, text);
	free(text);
	return r ? r : g->userdata ? 0 : -ENOMEM;
}
