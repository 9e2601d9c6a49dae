/*
 * vmm/x86/uart.h: a 16550A as a guest sees it on COM1 (TI PC16550D datasheet). Output is taken at once, so the transmitter is always empty; the
 * transmit interrupt is there, because Linux' user-space output waits for it. There is no input, but for loop-back. Any vCPU
 * thread: own lock, held while `out` and `irq` are called.
 */
#ifndef VMM_X86_UART_H
#define VMM_X86_UART_H

#include <pthread.h>
#include "vmm/bus/bus.h"

#define UART_PORTS 8u

struct uart {
	pthread_mutex_t lock;
	uint8_t ier, lcr, mcr, scratch, fcr, divisor[2];
	uint8_t rx;        /* loop-back byte */
	bool rx_full;
	bool thre_pending; /* transmitter became empty and nobody has read so */
	bool line;         /* interrupt line, after the last update */
	void (*out)(void *arg, uint8_t byte);
	void (*irq)(void *arg); /* an edge */
	void *arg;         /* borrowed */
};

extern const struct bus_ops uart_bus_ops;

void uart_init(struct uart *u, void (*out)(void *arg, uint8_t byte), void (*irq)(void *arg), void *arg);

#endif
