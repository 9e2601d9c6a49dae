/*
 * vmm/machine/console.h: the console log: what the guest writes to its serial port, in a file of bounded size. At
 * CONSOLE_MAX_BYTES the newer half is copied down over the older one and the file is cut, so that it always reads as plain text in
 * order, holds at least the newest 8 MiB, and never fills the disk. Bytes wait for a line's end or a full buffer; a line that
 * never ends is written by the control loop a moment later (`pending` tells it). A descriptor that is no regular file
 * is written without waiting: what it does not take is lost. A write error loses output, counts, and stops nothing.
 * It also listens for the few words by which kernels say how they ended. Called with the UART's lock held, or from the loop.
 */
#ifndef VMM_MACHINE_CONSOLE_H
#define VMM_MACHINE_CONSOLE_H

#include <pthread.h>
#include "lib/base/base.h"

#define CONSOLE_MAX_BYTES (16u << 20)
#define CONSOLE_LINE_BYTES 512u
#define CONSOLE_PANIC_BYTES 192u

struct console {
	pthread_mutex_t lock;
	int fd;                /* owned; -1: output is dropped */
	bool regular;
	uint64_t off_bytes;    /* where the next byte goes in a regular file */
	uint64_t lost_bytes;   /* the host would not take them */
	uint64_t bytes;        /* seen in all */
	uint8_t buf[CONSOLE_LINE_BYTES];
	unsigned n;
	void (*pending)(void *arg); /* buf was empty and is no longer; any thread */
	void *arg;
	unsigned panic_at, restart_at; /* letters of the words that matched so far */
	bool restarting;       /* "Restarting system" was said */
	bool panicking;        /* in the line that follows the panic's words */
	char panic[CONSOLE_PANIC_BYTES]; /* what a panic said, "" without one */
	unsigned panic_n;
};

/* Takes fd over. fstat fcntl. */
int console_init(struct console *c, int fd, void (*pending)(void *arg), void *arg, struct fault *f);
/* pwrite pread ftruncate write; fcntl once. */
void console_byte(struct console *c, uint8_t byte);
void console_flush(struct console *c);
/* The panic's own words, or "" ; and whether an orderly restart was announced. */
bool console_panic_text(struct console *c, char out[CONSOLE_PANIC_BYTES]);
bool console_said_restart(struct console *c);
/* Bytes seen in all, and those that the host would not take. Any thread, while vCPUs write. */
void console_counts(struct console *c, uint64_t *bytes, uint64_t *lost_bytes);

#endif
