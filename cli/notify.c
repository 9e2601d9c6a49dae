#include "cli/notify.h"
#include "lib/base/base.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCHDOG_MAX_US (3600ull * 1000000u)

static int open_socket(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof(a.sun_path))
		return -1;
	memcpy(a.sun_path, name, n);
	if (name[0] == '@') /* an abstract name: all bytes count, there is no end mark */
		a.sun_path[0] = 0;
	AUTO_FD fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)))
		return -1;
	int out = fd;
	fd = -1;
	return out;
}

void notify_init(struct notify *n)
{
	const char *name = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us = 0, who = 0;
	*n = (struct notify){ .fd = name ? open_socket(name) : -1 };
	bool ours = !pid || (!parse_u64(pid, INT32_MAX, &who) && who == (uint64_t)getpid());
	if (n->fd >= 0 && usec && ours && !parse_u64(usec, WATCHDOG_MAX_US, &us) && us >= 2000)
		n->watchdog_ms = us / 2000;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_done(struct notify *n)
{
	fd_close(&n->fd);
}

void notify_say(const struct notify *n, const char *lines)
{
	if (n->fd >= 0 && send(n->fd, lines, strlen(lines), MSG_NOSIGNAL) < 0)
		return;
}

void notify_reloading(const struct notify *n)
{
	char text[80];
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(now_mono_ns() / 1000));
	notify_say(n, text);
}
