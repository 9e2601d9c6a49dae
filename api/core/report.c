#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/core/report.h"

#define TAIL_MAX 2048u
#define TAIL_LINES 20u
#define WORDS_MAX 3000u

/* Guest bytes for a human's terminal: no control characters, no broken UTF-8. */
static void make_printable(char *s)
{
	bool ascii_only = !utf8_is_valid(s, strlen(s));
	char *w = s;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '\r')
			continue;
		*w++ = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c >= 0x80 && ascii_only) ? '?' : (char)c;
	}
	*w = 0;
}

int report_read(int dir_fd, char **reason, char **words)
{
	size_t n, end;
	char *text;
	int err = read_file_at(dir_fd, "report", 16384, &text, &n);

	if (err)
		return err;
	end = strcspn(text, " :\n\t");
	if (!end || end > 31) {
		free(text);
		return -ENOENT;
	}
	*reason = strndup(text, end);
	*words = strdup(text + end + strspn(text + end, " :\n\t"));
	free(text);
	if (*reason && *words)
		return 0;
	free(*reason);
	free(*words);
	*reason = *words = NULL;
	return -ENOMEM;
}

/* Where the last TAIL_LINES lines of s begin. */
static char *last_lines(char *s)
{
	char *p = s + strlen(s);
	unsigned lines = 0;

	while (p > s && p[-1] == '\n')
		*--p = 0;
	while (p > s) {
		if (p[-1] == '\n' && ++lines == TAIL_LINES)
			break;
		p--;
	}
	return p;
}

char *report_console_tail(int dir_fd)
{
	AUTO_FD fd = openat(dir_fd, "console.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[TAIL_MAX + 1];
	struct stat st;
	uint64_t from;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		return strdup("");
	from = (uint64_t)st.st_size > TAIL_MAX ? (uint64_t)st.st_size - TAIL_MAX : 0;
	n = pread_full(fd, text, TAIL_MAX, from);
	if (n < 0)
		n = 0;
	for (ssize_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = '?';
	text[n] = 0;
	make_printable(text);
	return strdup(last_lines(text));
}

/* jail's si_code * 256 + si_status as words. */
static void exit_words(int status, char *out, size_t cap)
{
	int code = status >> 8, value = status & 255;

	if (code == 1)
		snprintf(out, cap, "its process ended with exit status %d and no reason", value);
	else if (value == SIGKILL)
		snprintf(out, cap, "its process was killed (out of memory on the host?)");
	else if (value == SIGSYS)
		snprintf(out, cap, "its process was ended by the system call filter");
	else
		snprintf(out, cap, "its process was ended by signal %d (%s)", value, strsignal(value));
}

char *report_compose(const struct vm *vm)
{
	char *out = malloc(FAULT_MAX + 1), *tail = report_console_tail(vm->dir_fd);
	char how[120] = "its process ended without a word";
	bool start = vm->reason && strcmp(vm->reason, "start") == 0;
	int n;

	if (out && tail) {
		if (vm->exit_status >= 0)
			exit_words(vm->exit_status, how, sizeof(how));
		if (start)
			n = snprintf(out, FAULT_MAX, "the VM could not be started: %.*s", (int)WORDS_MAX, vm->words ? vm->words : "");
		else if (vm->reason)
			n = snprintf(out, FAULT_MAX, "the VM ended by %s: %.*s", vm->reason, (int)WORDS_MAX, vm->words ? vm->words : "");
		else
			n = snprintf(out, FAULT_MAX, "the VM ended: %s", how);
		if (tail[0] && n > 0 && n < (int)FAULT_MAX)
			snprintf(out + n, FAULT_MAX - (size_t)n, "\nlast lines of its console:\n%s", tail);
		make_printable(out);
	} else {
		free(out);
		out = NULL;
	}
	free(tail);
	return out;
}
