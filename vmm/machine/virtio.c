#include "vmm/machine/machine.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "vmm/virtio/mmio.h"

/* The register window on the bus. Values are little endian, and so are we. */
static void virtio_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	uint64_t v = mmio_read(dev, (uint32_t)off, len);

	memcpy(dst, &v, len);
}

static void virtio_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, src, len);
	mmio_write(dev, (uint32_t)off, len, v);
}

static const struct bus_ops virtio_bus_ops = { .name = "virtio", .read = virtio_read, .write = virtio_write };

static void virtio_irq(void *arg)
{
	machine_irq_raise(arg);
}

/* A driver that acknowledges nothing but used buffers tells us nothing: lines are edges here, so the bit may stay set in the window, and an
 * interrupt handler that sees it looks at its rings, as it should. KVM takes such writes for an eventfd that nobody reads, instead of an exit in
 * every interrupt; whoever acknowledges a change of configuration still comes to us. */
static int virtio_quiet_ack(struct machine *m, uint64_t base, struct fault *f)
{
	if (m->ack_fd < 0)
		m->ack_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->ack_fd < 0)
		return fault_errno(f, -errno, "eventfd");
	return kvm_vm_ioeventfd(&m->kvm, m->ack_fd, base + VIRTIO_MMIO_INTERRUPT_ACK, 4, VDEV_IRQ_USED, f);
}

int machine_add_virtio(struct machine *m, struct vdev *v, machine_sandbox_fn *own_thread, struct fault *f)
{
	unsigned i = m->n_virtio;
	struct machine_virtio *slot = &m->virtio[i];
	uint64_t base = X86_VIRTIO_GPA + (uint64_t)i * MMIO_BYTES;
	int err;

	if (i == X86_VIRTIO_MAX)
		return fault_set(f, -ENOSPC, "%s: more than %u virtio devices", v->ops->name, X86_VIRTIO_MAX);
	slot->m = m;
	slot->vdev = v;
	slot->own_thread = own_thread;
	slot->loop = m->loop;
	if (own_thread) {
		err = ev_new(&slot->loop);
		if (err)
			return fault_errno(f, err, v->ops->name);
	}
	m->n_virtio++;
	err = machine_irq_init(m, &slot->irq, X86_PIN_VIRTIO + i, f);
	if (err)
		return err;
	vdev_set_irq(v, virtio_irq, &slot->irq);
	err = vdev_attach(v, slot->loop);
	if (err)
		return fault_errno(f, err, v->ops->name);
	if (m->windows)
		vdev_set_window(v, m->windows + (size_t)i * MMIO_BYTES);
	if (m->windows)
		err = virtio_quiet_ack(m, base, f);
	for (unsigned q = 0; q < v->ops->queues - v->ops->rare_queues && !err; q++)
		err = kvm_vm_ioeventfd(&m->kvm, vdev_kick_fd(v, q), base + MMIO_QUEUE_NOTIFY, 4, q, f);
	return err ? err : bus_add(&m->mmio, base, MMIO_BYTES, &virtio_bus_ops, v, f);
}
