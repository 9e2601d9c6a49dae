#include "vmm/machine/machine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KICK_SIGNAL SIGUSR1
#define STAND_TRIES 50
#define STAND_TRY_MS 100

static void kick_arrived(int sig)
{
	(void)sig; /* its only work is to end KVM_RUN */
}

static void kick_signal_init(void)
{
	struct sigaction sa = { .sa_handler = kick_arrived };

	sigaction(KICK_SIGNAL, &sa, NULL);
}

/* ---- exits ---- */

static void exit_pio(struct machine_vcpu *v)
{
	struct kvm_run *r = v->kvm.run;
	uint8_t *p = (uint8_t *)r + r->io.data_offset;
	unsigned unclaimed = 0;

	/* io.size is 1, 2 or 4; a string instruction comes as several accesses to one port */
	for (uint32_t i = 0; i < r->io.count; i++, p += r->io.size) {
		if (r->io.direction == KVM_EXIT_IO_OUT)
			unclaimed += !bus_write(&v->m->pio, r->io.port, p, r->io.size);
		else
			unclaimed += !bus_read(&v->m->pio, r->io.port, p, r->io.size);
	}
	stats_add(&v->stats.pio, 1);
	if (unclaimed)
		stats_add(&v->stats.unclaimed, unclaimed);
}

/* Carries out the writes that KVM has queued. One by one, each before it is taken off: whoever finds the queue empty may rely on all of
 * them, whichever thread did it. */
static void drain_coalesced(struct machine *m)
{
	const struct kvm_coalesced_mmio *w;

	if (!kvm_coalesced_first(&m->vcpu[0].kvm, &m->kvm))
		return;
	pthread_mutex_lock(&m->coalesced_lock);
	while ((w = kvm_coalesced_first(&m->vcpu[0].kvm, &m->kvm))) {
		bus_write(&m->mmio, w->phys_addr, w->data, w->len <= sizeof(w->data) ? w->len : sizeof(w->data));
		kvm_coalesced_drop(&m->vcpu[0].kvm, &m->kvm);
	}
	pthread_mutex_unlock(&m->coalesced_lock);
}

static void exit_mmio(struct machine_vcpu *v)
{
	struct kvm_run *r = v->kvm.run;
	unsigned len = r->mmio.len <= sizeof(r->mmio.data) ? r->mmio.len : sizeof(r->mmio.data);
	bool claimed;

	drain_coalesced(v->m);
	if (r->mmio.is_write)
		claimed = bus_write(&v->m->mmio, r->mmio.phys_addr, r->mmio.data, len);
	else
		claimed = bus_read(&v->m->mmio, r->mmio.phys_addr, r->mmio.data, len);
	stats_add(&v->stats.mmio, 1);
	if (!claimed)
		stats_add(&v->stats.unclaimed, 1);
}

static void exit_internal_error(struct machine_vcpu *v)
{
	const struct kvm_run *r = v->kvm.run;
	char code[3 * 15 + 1] = "";

	if (r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    r->emulation_failure.ndata >= 3 && (r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		unsigned n = r->emulation_failure.insn_size <= 15 ? r->emulation_failure.insn_size : 15;

		for (unsigned i = 0; i < n; i++)
			snprintf(code + 3 * i, 4, " %02x", r->emulation_failure.insn_bytes[i]);
	}
	machine_end(v->m, REASON_KVM_ERROR, v, "KVM gave up (internal error %u%s%s%s)", r->internal.suberror,
		    r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? ": it cannot emulate an instruction of the guest" : "",
		    code[0] ? ":" : "", code);
}

static void exit_shutdown(struct machine_vcpu *v)
{
	/* Linux without ACPI restarts by a triple fault, and says so before */
	if (console_said_restart(&v->m->console))
		machine_end(v->m, REASON_REBOOT, v, "the guest restarted by a triple fault");
	else
		machine_end(v->m, REASON_TRIPLE_FAULT, v, "the guest's processor shut down (triple fault; on AMD, KVM has reset its registers by then)");
}

static void exit_system_event(struct machine_vcpu *v)
{
	switch (v->kvm.run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_end(v->m, REASON_POWEROFF, NULL, "the guest powered off");
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_end(v->m, REASON_REBOOT, NULL, "the guest asked for a reset");
		break;
	default:
		machine_end(v->m, REASON_KVM_ERROR, v, "KVM reports system event %u", v->kvm.run->system_event.type);
		break;
	}
}

static void exit_one(struct machine_vcpu *v)
{
	const struct kvm_run *r = v->kvm.run;

	if (r->exit_reason == KVM_EXIT_MMIO) {
		exit_mmio(v);
		return;
	}
	if (r->exit_reason == KVM_EXIT_IO) {
		exit_pio(v);
		return;
	}
	stats_add(&v->stats.other, 1);
	switch (r->exit_reason) {
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_IOAPIC_EOI: /* of level-triggered routes, which we never make */
		break;
	case KVM_EXIT_SHUTDOWN:
		exit_shutdown(v);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(v);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(v);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		machine_end(v->m, REASON_KVM_ERROR, v, "the processor refuses to enter the guest (hardware reason 0x%llx)",
			    (unsigned long long)r->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		machine_end(v->m, REASON_KVM_ERROR, v, "KVM stopped for a reason that is not known here (%u)", r->exit_reason);
		break;
	}
}

/* ---- the thread ---- */

static void vcpu_stand(struct machine_vcpu *v)
{
	struct machine *m = v->m;

	pthread_mutex_lock(&m->stand_lock);
	m->n_standing++;
	pthread_cond_broadcast(&m->stand_changed);
	while (atomic_load(&m->pause))
		pthread_cond_wait(&m->stand_changed, &m->stand_lock);
	m->n_standing--;
	v->kvm.run->immediate_exit = 0;
	pthread_cond_broadcast(&m->stand_changed);
	pthread_mutex_unlock(&m->stand_lock);
}

/* Where threads wait for the process to end: leaving would need calls that the filter does not allow. */
static void park(struct machine *m)
{
	pthread_mutex_lock(&m->stand_lock);
	pthread_cond_broadcast(&m->stand_changed); /* a pause that waits for this thread waits in vain */
	for (;;)
		pthread_cond_wait(&m->stand_changed, &m->stand_lock);
}

static void vcpu_interrupted(struct machine_vcpu *v)
{
	stats_add(&v->stats.signals, 1);
	/* left over from a pause that was given up; one that begins just now is seen by the loop's own look at `pause` */
	if (!atomic_load(&v->m->pause))
		v->kvm.run->immediate_exit = 0;
}

/* Syscalls: ioctl(KVM_RUN, KVM_SET_GSI_ROUTING, KVM_GET_REGS, KVM_GET_SREGS) write pwrite64 pread64 ftruncate futex
 * rt_sigreturn exit. */
static void *vcpu_main(void *arg)
{
	struct machine_vcpu *v = arg;
	struct machine *m = v->m;

	machine_sandbox_vcpu(m);
	pthread_mutex_lock(&m->stand_lock);
	m->n_begun++;
	pthread_cond_broadcast(&m->stand_changed);
	pthread_mutex_unlock(&m->stand_lock);
	while (atomic_load(&m->state) != MACHINE_ENDED) {
		int err;

		if (atomic_load(&m->pause))
			vcpu_stand(v);
		err = kvm_vcpu_run(&v->kvm);
		if (!err)
			exit_one(v);
		else if (err == -EINTR || err == -EAGAIN)
			vcpu_interrupted(v);
		else
			machine_end(m, REASON_KVM_ERROR, v, "KVM_RUN: %s", strerror(-err));
	}
	park(m);
	return NULL;
}

/* A thread with a small stack. mmap mprotect clone rt_sigprocmask. */
static int start_thread(pthread_t *t, void *(*fn)(void *), void *arg, const char *what, struct fault *f)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, MACHINE_STACK_BYTES);
	err = pthread_create(t, &attr, fn, arg);
	return err ? fault_set(f, -err, "thread for %s: %s", what, strerror(err)) : 0;
}

static void *device_main(void *arg)
{
	struct machine_virtio *slot = arg;
	int err;

	slot->own_thread(slot->m);
	err = ev_run(slot->loop);
	machine_end(slot->m, REASON_VMM, NULL, "the event loop of a %s device ended: %s", slot->vdev->ops->name, strerror(-err));
	park(slot->m);
	return NULL;
}

static void *disk_worker_main(void *arg)
{
	struct machine_disk *d = arg;

	machine_sandbox_disk_io(d->m);
	blk_work(d->blk);
	park(d->m); /* nobody calls blk_quit() */
	return NULL;
}

static unsigned workers_of_a_disk(const struct machine *m)
{
	unsigned each = m->n_disks ? MACHINE_DISK_WORKERS / m->n_disks : 0;

	return each < BLK_WORKERS_MAX ? each : BLK_WORKERS_MAX;
}

/* The threads of devices, once the vCPUs run, which have no need of them so soon: making threads holds up those that start. A kick that comes
 * before them waits in its eventfd; each sets its filter before it looks at a guest's byte. */
static int start_devices(struct machine *m, struct fault *f)
{
	pthread_t unused;
	int err = 0;

	pthread_mutex_lock(&m->stand_lock);
	while (m->n_begun < m->n_vcpus)
		pthread_cond_wait(&m->stand_changed, &m->stand_lock);
	pthread_mutex_unlock(&m->stand_lock);
	for (unsigned i = 0; i < m->n_virtio && !err; i++)
		if (m->virtio[i].own_thread)
			err = start_thread(&m->virtio[i].thread, device_main, &m->virtio[i], "a device", f);
	for (unsigned i = 0; i < m->n_disks * workers_of_a_disk(m) && !err; i++)
		err = start_thread(&unused, disk_worker_main, &m->disk[i % m->n_disks], "a disk", f);
	return err;
}

int machine_start(struct machine *m, struct fault *f)
{
	int err = machine_sandbox_process(f);

	if (err)
		return err;
	for (unsigned i = 0; i < m->n_disks; i++)
		blk_set_workers(m->disk[i].blk, workers_of_a_disk(m));
	atomic_store(&m->state, MACHINE_RUNNING);
	/* the others first: machine_this_vcpu() looks at their handles */
	for (unsigned i = m->n_vcpus; i-- > 0 && !err;)
		err = start_thread(&m->vcpu[i].thread, vcpu_main, &m->vcpu[i], "a vCPU", f);
	kick_signal_init(); /* nobody kicks before we return; once there are threads musl does it with a call less */
	if (!err)
		err = start_devices(m, f);
	return err ? err : machine_sandbox_main(f);
}

/* ---- pause ---- */

/* Waits until n vCPUs stand; stand_lock is held. */
static int wait_standing(struct machine *m)
{
	uint64_t until_ns = now_real_ns() + STAND_TRY_MS * 1000000ull;
	struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000) };

	while (m->n_standing < m->n_vcpus && atomic_load(&m->state) != MACHINE_ENDED)
		if (pthread_cond_timedwait(&m->stand_changed, &m->stand_lock, &until) == ETIMEDOUT)
			return -ETIMEDOUT;
	return atomic_load(&m->state) == MACHINE_ENDED ? -ECANCELED : 0;
}

/* What stands still takes no more I/O. What hangs in the host is waited for a while; it writes to guest memory when it ends. */
static void hold_disks(struct machine *m)
{
	uint64_t until_ms = now_mono_ms() + STAND_TRIES * STAND_TRY_MS;

	for (unsigned i = 0; i < m->n_disks; i++) {
		uint64_t now = now_mono_ms();

		(void)blk_hold(m->disk[i].blk, now < until_ms ? (unsigned)(until_ms - now) : 0);
	}
}

int machine_pause(struct machine *m)
{
	int err = -ETIMEDOUT;

	if (atomic_load(&m->state) != MACHINE_RUNNING)
		return -EALREADY;
	pthread_mutex_lock(&m->stand_lock);
	atomic_store(&m->pause, true);
	for (int i = 0; i < STAND_TRIES && err == -ETIMEDOUT; i++) {
		for (unsigned j = 0; j < m->n_vcpus; j++) {
			m->vcpu[j].kvm.run->immediate_exit = 1;
			pthread_kill(m->vcpu[j].thread, KICK_SIGNAL);
		}
		err = wait_standing(m);
	}
	if (err) {
		atomic_store(&m->pause, false);
		pthread_cond_broadcast(&m->stand_changed);
	}
	pthread_mutex_unlock(&m->stand_lock);
	if (!err) {
		enum machine_state running = MACHINE_RUNNING;

		hold_disks(m);
		atomic_compare_exchange_strong(&m->state, &running, MACHINE_PAUSED);
	}
	return err;
}

int machine_resume(struct machine *m)
{
	enum machine_state paused = MACHINE_PAUSED;

	if (!atomic_load(&m->pause))
		return -EALREADY;
	for (unsigned i = 0; i < m->n_disks; i++)
		blk_release(m->disk[i].blk);
	pthread_mutex_lock(&m->stand_lock);
	atomic_store(&m->pause, false);
	pthread_cond_broadcast(&m->stand_changed);
	while (m->n_standing)
		pthread_cond_wait(&m->stand_changed, &m->stand_lock);
	pthread_mutex_unlock(&m->stand_lock);
	atomic_compare_exchange_strong(&m->state, &paused, MACHINE_RUNNING);
	return 0;
}
