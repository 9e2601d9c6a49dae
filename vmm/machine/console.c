#include "vmm/machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char panic_words[] = "Kernel panic - not syncing: ";
static const char restart_words[] = "Restarting system";

int console_init(struct console *c, int fd, void (*pending)(void *), void *arg, struct fault *f)
{
	struct stat st;
	int flags;

	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->fd = -1;
	c->pending = pending;
	c->arg = arg;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st))
		return fault_set(f, -errno, "console log: %s", strerror(errno));
	c->regular = S_ISREG(st.st_mode);
	c->off_bytes = c->regular ? (uint64_t)st.st_size : 0;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return fault_set(f, -errno, "console log: %s", strerror(errno));
	/* in a file we choose the place ourselves, and nothing else may make a vCPU wait */
	if (c->regular ? flags & O_APPEND : !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, c->regular ? flags & ~O_APPEND : flags | O_NONBLOCK);
	c->fd = fd;
	return 0;
}

/* Copies the newer half down. On an error the log starts again from nothing: bounded comes first. */
static void console_rotate(struct console *c)
{
	uint64_t from = c->off_bytes - CONSOLE_MAX_BYTES / 2, to = 0;
	uint8_t chunk[4096];

	while (from < c->off_bytes) {
		ssize_t n = pread_full(c->fd, chunk, sizeof(chunk), from);

		if (n <= 0 || pwrite_full(c->fd, chunk, (size_t)n, to))
			break;
		from += (uint64_t)n;
		to += (uint64_t)n;
	}
	if (from < c->off_bytes)
		to = 0;
	c->off_bytes = to;
	if (ftruncate(c->fd, (off_t)to))
		c->lost_bytes++;
}

static void console_flush_locked(struct console *c)
{
	int err;

	if (!c->n)
		return;
	if (c->fd < 0) {
		err = 0;
	} else if (c->regular) {
		if (c->off_bytes + c->n > CONSOLE_MAX_BYTES)
			console_rotate(c);
		err = pwrite_full(c->fd, c->buf, c->n, c->off_bytes);
		if (!err)
			c->off_bytes += c->n;
	} else {
		err = write(c->fd, c->buf, c->n) == (ssize_t)c->n ? 0 : -EAGAIN;
	}
	if (err)
		c->lost_bytes += c->n;
	c->n = 0;
}

/* Follows one word: returns the new count of matching letters; the words' first letter does not come again in them. */
static unsigned console_match(const char *words, unsigned at, uint8_t byte)
{
	if ((uint8_t)words[at] == byte)
		return at + 1;
	return (uint8_t)words[0] == byte ? 1 : 0;
}

static void console_listen(struct console *c, uint8_t byte)
{
	if (c->panicking) {
		if (byte == '\n' || byte == '\r' || c->panic_n == CONSOLE_PANIC_BYTES - 1)
			c->panicking = false;
		else if (byte >= ' ' && byte < 0x7f)
			c->panic[c->panic_n++] = (char)byte;
		return;
	}
	c->panic_at = console_match(panic_words, c->panic_at, byte);
	if (c->panic_at == sizeof(panic_words) - 1) {
		c->panic_at = 0;
		c->panicking = !c->panic_n; /* the first one is the cause */
	}
	c->restart_at = console_match(restart_words, c->restart_at, byte);
	if (c->restart_at == sizeof(restart_words) - 1) {
		c->restart_at = 0;
		c->restarting = true;
	}
}

void console_byte(struct console *c, uint8_t byte)
{
	bool first;

	pthread_mutex_lock(&c->lock);
	first = !c->n;
	c->buf[c->n++] = byte;
	c->bytes++;
	console_listen(c, byte);
	if (byte == '\n' || c->n == CONSOLE_LINE_BYTES)
		console_flush_locked(c);
	else if (first)
		c->pending(c->arg);
	pthread_mutex_unlock(&c->lock);
}

void console_flush(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	console_flush_locked(c);
	pthread_mutex_unlock(&c->lock);
}

bool console_panic_text(struct console *c, char out[CONSOLE_PANIC_BYTES])
{
	pthread_mutex_lock(&c->lock);
	memcpy(out, c->panic, CONSOLE_PANIC_BYTES);
	pthread_mutex_unlock(&c->lock);
	return out[0];
}

void console_counts(struct console *c, uint64_t *bytes, uint64_t *lost_bytes)
{
	pthread_mutex_lock(&c->lock);
	*bytes = c->bytes;
	*lost_bytes = c->lost_bytes;
	pthread_mutex_unlock(&c->lock);
}

bool console_said_restart(struct console *c)
{
	bool said;

	pthread_mutex_lock(&c->lock);
	said = c->restarting;
	pthread_mutex_unlock(&c->lock);
	return said;
}
