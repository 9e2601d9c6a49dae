/*
 * cli/notify: a word to the service manager: sd_notify(3) by hand, one datagram each to the socket that $NOTIFY_SOCKET names, and how often
 * its watchdog wants to hear of us ($WATCHDOG_USEC). Without a manager every call does nothing. Room card: cli.h.
 */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

#include <stdint.h>

struct notify {
	int fd;               /* owned; -1: nobody wants to know */
	uint64_t watchdog_ms; /* a ping is due this often: half of what the manager waits; 0: no watchdog */
};
/* Reads the variables and removes them: they are not for our children. */
void notify_init(struct notify *n);
void notify_done(struct notify *n);
/* Lines like "READY=1", or "READY=1\nSTATUS=…". What does not go out is not tried again. */
void notify_say(const struct notify *n, const char *lines);
void notify_reloading(const struct notify *n); /* RELOADING=1, with the time that Type=notify-reload wants */

#endif
