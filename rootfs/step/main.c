#include "rootfs/step/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int take_field(struct ask *a, char *field, struct fault *f)
{
	static const char *const texts[] = { "user", "workdir", "dest", "chown" };
	const char **const at[] = { &a->user, &a->workdir, &a->dest, &a->chown };
	char *value = strchr(field, '=');
	uint64_t mode;

	if (!value)
		return fault_set(f, -EPROTO, "a field without '='");
	*value++ = '\0';
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(field, texts[i]) == 0) {
			*at[i] = value;
			return 0;
		}
	if (strcmp(field, "arg") == 0) {
		if (a->n_argv == ASK_WORDS_MAX)
			return fault_set(f, -E2BIG, "more than %u words", ASK_WORDS_MAX);
		a->argv[a->n_argv++] = value;
	} else if (strcmp(field, "env") == 0) {
		if (a->n_env == ASK_WORDS_MAX)
			return fault_set(f, -E2BIG, "more than %u variables", ASK_WORDS_MAX);
		a->env[a->n_env++] = value;
	} else if (strcmp(field, "chmod") == 0) {
		if (parse_u64(value, 07777, &mode))
			return fault_set(f, -EPROTO, "chmod");
		a->chmod = (int)mode;
	} else if (strcmp(field, "single") == 0) {
		a->single = true;
	} else if (strcmp(field, "owners") == 0) {
		a->owners = true;
	} else if (strcmp(field, "no_network") == 0) {
		a->no_network = true;
	} /* others: of a newer command line */
	return 0;
}

int ask_read(struct ask *a, const char *path, struct fault *f)
{
	size_t n = 0;
	int err;

	*a = (struct ask){ .user = "", .workdir = "/", .dest = "", .chown = "", .chmod = -1 };
	err = read_file_at(AT_FDCWD, path, ASK_BYTES_MAX, &a->text, &n);
	if (err)
		return fault_errno(f, err, path);
	a->argv = calloc(ASK_WORDS_MAX + 1, sizeof(*a->argv));
	a->env = calloc(ASK_WORDS_MAX + 2, sizeof(*a->env)); /* HOME may be added */
	if (!a->argv || !a->env)
		return fault_set(f, -ENOMEM, "out of memory");
	for (char *p = a->text; p < a->text + n && !err;) {
		size_t len = strlen(p); /* the text ends with a NUL of its own */

		err = take_field(a, p, f);
		p += len + 1;
	}
	return err;
}

void ask_done(struct ask *a)
{
	free(a->text);
	free(a->argv);
	free(a->env);
}

static int usage(struct fault *f)
{
	return fault_set(f, -EINVAL, "usage: step grow ROOT, run ROOT ASK, folder ROOT ASK, copy ROOT ASK TAR, or pack ROOT PATH OUT");
}

static int work(int argc, char **argv, struct fault *f)
{
	struct ask a = { 0 };
	AUTO_FD root = -1;
	int err;

	if (argc < 3)
		return usage(f);
	root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fault_errno(f, -errno, argv[2]);
	if (argc == 3 && strcmp(argv[1], "grow") == 0)
		return target_grow(root, f);
	if (argc == 5 && strcmp(argv[1], "pack") == 0)
		return step_pack(root, argv[3], argv[4], f);
	if (argc < 4)
		return usage(f);
	err = ask_read(&a, argv[3], f);
	if (!err) {
		if (argc == 4 && strcmp(argv[1], "run") == 0)
			err = step_run(root, argv[2], &a, f);
		else if (argc == 4 && strcmp(argv[1], "folder") == 0)
			err = step_folder(root, &a, f);
		else if (argc == 5 && strcmp(argv[1], "copy") == 0)
			err = step_copy(root, &a, argv[4], f);
		else
			err = usage(f);
	}
	ask_done(&a);
	return err;
}

int main(int argc, char **argv)
{
	struct fault f = { "" };
	int err;

	umask(022);
	err = work(argc, argv, &f);
	if (err >= 0)
		return err;
	fprintf(stderr, "error: %s\n", f.text[0] ? f.text : strerror(-err));
	return STEP_FAILED;
}
