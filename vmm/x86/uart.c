#include "vmm/x86/uart.h"

#include <string.h>

enum { UART_DATA = 0, UART_IER, UART_IIR_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };
enum { IER_RX = 1, IER_THRE = 2 };
enum { IIR_NONE = 1, IIR_THRE = 2, IIR_RX = 4, IIR_FIFO = 0xc0 };
enum { LSR_DATA = 0x01, LSR_EMPTY = 0x60 };
enum { LCR_DLAB = 0x80, MCR_LOOP = 0x10, FCR_ENABLE = 1, FCR_CLEAR_RX = 2 };
#define MSR_READY 0xb0u /* carrier, data set ready, clear to send: somebody is there */

void uart_init(struct uart *u, void (*out)(void *, uint8_t), void (*irq)(void *), void *arg)
{
	memset(u, 0, sizeof(*u));
	pthread_mutex_init(&u->lock, NULL);
	u->out = out;
	u->irq = irq;
	u->arg = arg;
}

static uint8_t uart_pending(const struct uart *u)
{
	if ((u->ier & IER_RX) && u->rx_full)
		return IIR_RX;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	return IIR_NONE;
}

/* Sends an edge when the line rises. */
static void uart_update(struct uart *u)
{
	bool line = uart_pending(u) != IIR_NONE;

	if (line && !u->line)
		u->irq(u->arg);
	u->line = line;
}

/* In loop-back the modem outputs come back as inputs. */
static uint8_t uart_modem_status(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_READY;
	return (uint8_t)((u->mcr & 2) << 3 | (u->mcr & 1) << 5 | (u->mcr & 4) << 4 | (u->mcr & 8) << 4);
}

static uint8_t uart_get(struct uart *u, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case UART_DATA:
		if (u->lcr & LCR_DLAB)
			return u->divisor[0];
		v = u->rx_full ? u->rx : 0;
		u->rx_full = false;
		return v;
	case UART_IER:
		return u->lcr & LCR_DLAB ? u->divisor[1] : u->ier;
	case UART_IIR_FCR:
		v = uart_pending(u);
		if (v == IIR_THRE)
			u->thre_pending = false;
		return v | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case UART_LCR:
		return u->lcr;
	case UART_MCR:
		return u->mcr;
	case UART_LSR:
		return LSR_EMPTY | (u->rx_full ? LSR_DATA : 0);
	case UART_MSR:
		return uart_modem_status(u);
	default:
		return u->scratch;
	}
}

static void uart_set(struct uart *u, unsigned reg, uint8_t v)
{
	switch (reg) {
	case UART_DATA:
		if (u->lcr & LCR_DLAB) {
			u->divisor[0] = v;
			break;
		}
		if (u->mcr & MCR_LOOP) {
			u->rx = v;
			u->rx_full = true;
		} else {
			u->out(u->arg, v);
		}
		u->thre_pending = true;
		break;
	case UART_IER:
		if (u->lcr & LCR_DLAB) {
			u->divisor[1] = v;
			break;
		}
		if ((v & IER_THRE) && !(u->ier & IER_THRE))
			u->thre_pending = true;
		u->ier = v & 0xf;
		break;
	case UART_IIR_FCR:
		u->fcr = v;
		if (v & FCR_CLEAR_RX)
			u->rx_full = false;
		break;
	case UART_LCR:
		u->lcr = v;
		break;
	case UART_MCR:
		u->mcr = v & 0x1f;
		break;
	case UART_SCRATCH:
		u->scratch = v;
		break;
	default:
		break;
	}
}

static void uart_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	struct uart *u = dev;
	uint8_t *p = dst;

	pthread_mutex_lock(&u->lock);
	for (unsigned i = 0; i < len; i++)
		p[i] = uart_get(u, (unsigned)off + i);
	uart_update(u);
	pthread_mutex_unlock(&u->lock);
}

static void uart_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct uart *u = dev;
	const uint8_t *p = src;

	pthread_mutex_lock(&u->lock);
	for (unsigned i = 0; i < len; i++)
		uart_set(u, (unsigned)off + i, p[i]);
	uart_update(u);
	pthread_mutex_unlock(&u->lock);
}

const struct bus_ops uart_bus_ops = { .name = "com1", .read = uart_read, .write = uart_write };
