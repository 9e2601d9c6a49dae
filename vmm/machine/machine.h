/*
 * vmm/machine: one VM put together: guest memory, KVM, the buses, the devices of devices.c, a thread per vCPU, and the control
 * socket (control.h). Sits on every other room of vmm/; nothing but main.c sits on it.
 * Threads: the main thread runs one ev loop (control socket, vsock, rng); each disk and network card has a loop and thread of
 * its own, each disk two to four workers besides (sixteen in all at most: a cgroup lets a VM have vCPUs + 32 tasks), so that its
 * loop never waits for I/O; each vCPU has a thread, which carries out its exits and never touches a loop. Ends once, with a reason: any thread
 * may say so (machine_end), the main thread tells core, and the process exits; that is also the teardown.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "lib/ev/ev.h"
#include "vmm/bus/bus.h"
#include "vmm/dev/blk.h"
#include "vmm/dev/net.h"
#include "vmm/dev/vsock.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine/console.h"
#include "vmm/machine/request.h"
#include "vmm/machine/stats.h"
#include "vmm/x86/ioapic.h"
#include "vmm/x86/uart.h"

#define MACHINE_STACK_BYTES 65536u
#define MACHINE_END_TEXT_BYTES 2048u
#define MACHINE_DISK_WORKERS 16u /* of all disks */

struct machine;

struct machine_vcpu {
	struct machine *m;   /* borrowed */
	struct kvm_vcpu kvm;
	pthread_t thread;
	struct vcpu_stats stats;
};

struct machine_disk {        /* what its workers get */
	struct machine *m;   /* borrowed */
	struct blk *blk;     /* borrowed from its device, which lives as long as the process */
};

struct machine_irq {         /* an interrupt line that KVM delivers by itself */
	int fd;              /* owned irqfd; -1 when not made */
};

typedef void machine_sandbox_fn(struct machine *m);
struct machine_virtio {
	struct vdev *vdev;   /* borrowed from its device, which lives as long as the process */
	struct machine *m;   /* borrowed */
	struct machine_irq irq;
	struct ev_loop *loop; /* owned when own_thread, else the machine's */
	machine_sandbox_fn *own_thread; /* what its own thread may do; NULL: it has none */
	pthread_t thread;
};

enum machine_state {
	MACHINE_NEW,     /* → running (machine_build and machine_start), or the process ends */
	MACHINE_RUNNING, /* → paused (machine_pause), → ended */
	MACHINE_PAUSED,  /* → running (machine_resume), → ended */
	MACHINE_ENDED,   /* machine_end was called; the process is about to exit */
};

enum machine_reason { /* the words of V_T_REASON, in this order */
	REASON_NONE, REASON_POWEROFF, REASON_REBOOT, REASON_KILLED, REASON_PANIC, REASON_TRIPLE_FAULT, REASON_KVM_ERROR, REASON_DEVICE, REASON_VMM,
};

struct machine {
	struct ev_loop *loop;           /* borrowed: the main thread's */
	_Atomic enum machine_state state; /* written by the main thread, but for MACHINE_ENDED */
	struct boot_request *req;       /* borrowed; descriptors move into the devices */

	struct gm gm;
	struct kvm_vm kvm;
	struct bus pio, mmio;           /* fixed once built */
	int ack_fd;                     /* owned eventfd that nobody reads (virtio.c); -1 until there is a device */
	uint8_t *windows;               /* owned: a page for each virtio device; NULL when KVM has no read-only memory */
	pthread_mutex_t coalesced_lock; /* taking queued writes out, in order, each applied before the next */
	struct ioapic ioapic;
	struct uart uart;
	struct machine_irq uart_irq;
	struct console console;
	struct machine_virtio virtio[X86_VIRTIO_MAX];
	unsigned n_virtio;
	struct vsock *vsock;            /* borrowed from its device; NULL without one */
	struct net *net[REQUEST_NETS_MAX]; /* borrowed likewise */
	unsigned n_nets;
	struct machine_disk disk[VMM_DISKS_MAX];
	unsigned n_disks;

	struct machine_vcpu vcpu[VMM_VCPUS_MAX];
	unsigned n_vcpus;
	_Atomic bool pause;             /* vCPUs shall stand */
	pthread_mutex_t stand_lock;     /* covers n_standing, n_begun */
	pthread_cond_t stand_changed;
	unsigned n_standing;
	unsigned n_begun;               /* vCPUs that are about to run for the first time */

	int note_fd;                    /* owned eventfd: an end, a panic, pending console output or news of a disk for the main thread */
	_Atomic bool console_pending;
	_Atomic bool disk_news;         /* a disk's blk_trouble() is another than it was */
	_Atomic bool panicked;          /* the guest wrote to its pvpanic port */

	pthread_mutex_t end_lock;       /* covers the three below */
	enum machine_reason reason;
	char end_text[MACHINE_END_TEXT_BYTES];
	char panic_registers[1024];
};

/* Makes everything up to the first instruction. On error the machine is good for nothing but machine_done(). */
int machine_build(struct machine *m, int kvm_fd, struct ev_loop *loop, struct boot_request *req, struct fault *f);
/* Gives up what is not needed any more and starts the threads. */
int machine_start(struct machine *m, struct fault *f);

/* Main thread. 0 once every vCPU stands (runs), and no disk takes a request; -ETIMEDOUT; -EALREADY when it is so already;
 * -ECANCELED when the VM ends meanwhile. */
int machine_pause(struct machine *m);
int machine_resume(struct machine *m);

/* Any thread; the first call counts. Text: printf, one sentence or several lines. v: whose registers go with it, NULL for none; only
 * from that vCPU's own thread. A guest that said it panicked ends with REASON_PANIC, whatever it did then. */
void machine_end(struct machine *m, enum machine_reason why, struct machine_vcpu *v, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
const char *machine_reason_word(enum machine_reason why);
/* The vCPU whose thread this is; NULL on any other thread. */
struct machine_vcpu *machine_this_vcpu(struct machine *m);
/* For blk_on_trouble(); arg: the machine. */
void machine_disk_news(void *arg);
/* The guest said that it panicked: it gets a moment to say why. */
void machine_panicked(struct machine *m);

/* ---- between the files of this room ---- */

void machine_irq_raise(struct machine_irq *irq);
int machine_irq_init(struct machine *m, struct machine_irq *irq, unsigned pin, struct fault *f);
/* Puts a device on the buses, its queues on ioeventfds, its interrupt on an irqfd. own_thread: a loop and thread of its own, behind that filter. */
int machine_add_virtio(struct machine *m, struct vdev *v, machine_sandbox_fn *own_thread, struct fault *f);
/* devices.c: every virtio device that the request asks for, in the order of the table. */
int machine_add_devices(struct machine *m, struct fault *f);
unsigned machine_count_devices(const struct boot_request *req);
/* power.c: the ports by which a guest ends. */
int machine_add_power(struct machine *m, struct fault *f);
/* sandbox.c: what each kind of thread may still ask of the kernel. */
int machine_sandbox_process(struct fault *f); /* before any thread: no paths */
void machine_sandbox_vcpu(struct machine *m);
machine_sandbox_fn machine_sandbox_disk, machine_sandbox_disk_io, machine_sandbox_net;
int machine_sandbox_main(struct fault *f);

#endif
