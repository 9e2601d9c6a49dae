/* virtio-blk: requests out of the rings, to whoever does them, and back. blk.h says which thread does what. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>
#include <time.h>

#define TURN_MAX 64 /* requests before the loop looks at other events */
#define TELL_EVERY 8 /* completions of the loop's own, for one interrupt */

void blk_jobs_init(struct blk *b)
{
	for (unsigned i = 0; i < BLK_JOBS; i++) {
		b->job[i].b = b;
		b->job[i].next = b->free;
		b->free = &b->job[i];
	}
	b->ready_end = &b->ready;
}

/* ---- out of the ring ---- */

/* May a request go on now? Else it stays in the ring, and the timer goes on; only the loop sets timers. */
static bool may_go(struct blk *b, bool loop)
{
	uint64_t wait_ns = b->limited && b->v.loop ? shape_wait_ns(&b->shape, SHAPE_OUT, now_mono_ns()) : 0;

	if (!wait_ns)
		return true;
	if (loop) {
		b->asked_loop = false;
		return ev_timer_set(b->v.loop, &b->timer, wait_ns / 1000000 + 1); /* no memory for a timer: no limit */
	}
	if (!b->asked_loop)
		vdev_kick_again(&b->v, 0);
	b->asked_loop = true;
	return false;
}

/* The chain in j, from head to status byte. false: the device is not active any more. */
static bool begin(struct blk *b, struct blk_job *j, struct vq *q)
{
	struct virtio_blk_outhdr head;

	if (j->chain.write_bytes < 1 || vq_chain_read(q, &j->chain, 0, &head, sizeof(head)) != (ssize_t)sizeof(head)) {
		vdev_break(&b->v, "blk: a request without head or without room for its status");
		return false;
	}
	j->q = q;
	j->epoch = b->epoch;
	j->write_through = !vdev_has(&b->v, VIRTIO_BLK_F_FLUSH);
	j->sectors = b->sectors;
	j->sector = head.sector;
	j->type = head.type;
	j->data_bytes = blk_data_bytes(j);
	j->done = j->written = 0;
	j->host_error = 0;
	if (b->limited)
		shape_charge(&b->shape, SHAPE_OUT, j->data_bytes, 1, now_mono_ns());
	b->free = j->next;
	b->n_out++;
	return true;
}

/* The next request of any queue; NULL: there is none that may be taken, and either the driver will kick or a job's end looks again. */
static struct blk_job *take(struct blk *b, bool loop)
{
	struct vdev *v = &b->v;
	unsigned n = vdev_has(v, VIRTIO_BLK_F_MQ) ? v->ops->queues : 1;
	struct blk_job *j = b->free;

	if (!j || b->held || !v->active || !may_go(b, loop))
		return NULL;
	for (unsigned i = 0; i < n && v->active; i++) {
		unsigned at = (b->turn + i) % n;

		if (!v->q[at].ready || !vdev_pop(v, &v->q[at], &j->chain))
			continue;
		b->turn = (at + 1) % n;
		return begin(b, j, &v->q[at]) ? j : NULL;
	}
	return NULL;
}

/* ---- back into it ---- */

static void count(struct vdev *v, const struct blk_job *j, uint8_t status)
{
	v->stats.requests++;
	if (status != VIRTIO_BLK_S_OK)
		v->stats.errors++;
	else if (j->type == VIRTIO_BLK_T_IN)
		v->stats.in_bytes += j->data_bytes;
	else if (j->type == VIRTIO_BLK_T_OUT)
		v->stats.out_bytes += j->data_bytes;
	if (j->host_error)
		v->stats.host_errors++;
}

/* Reads that work say nothing about room for writes. */
static void note_trouble(struct blk *b, const struct blk_job *j, uint8_t status)
{
	int was = b->trouble;

	if (j->host_error) {
		b->trouble = j->host_error;
		b->trouble_ms = now_mono_ms();
	} else if (was && status == VIRTIO_BLK_S_OK && j->type == VIRTIO_BLK_T_OUT && now_mono_ms() - b->trouble_ms >= BLK_CALM_MS) {
		b->trouble = 0;
	}
	if (!b->trouble != !was && b->on_trouble)
		b->on_trouble(b->on_trouble_arg);
}

static void give_back(struct blk *b, struct blk_job *j)
{
	j->next = b->free;
	b->free = j;
	if (b->writing == j)
		b->writing = NULL;
	if (--b->n_out == 0)
		pthread_cond_broadcast(&b->idle);
}

static void complete(struct blk *b, struct blk_job *j, uint8_t status)
{
	struct vdev *v = &b->v;

	note_trouble(b, j, status);
	if (b->epoch == j->epoch && v->active) {
		count(v, j, status);
		vq_chain_write(j->q, &j->chain, j->chain.write_bytes - 1, &status, 1);
		/* `written` promises that many bytes from the start of the buffers: the status byte only counts when all before it does. */
		vq_push(j->q, j->chain.head, j->written == j->chain.write_bytes - 1 ? j->chain.write_bytes : j->written);
		b->untold |= 1u << (j->q - v->q);
	}
	give_back(b, j);
}

/* Interrupts, for whoever wants one. Each thread does it before it waits for anything. */
static void tell(struct blk *b)
{
	for (unsigned i = 0; b->untold; i++, b->untold >>= 1)
		if (b->untold & 1)
			vdev_used(&b->v, &b->v.q[i]);
}

/* Drops the lock meanwhile. false: it must be done by somebody who may wait. */
static bool perform(struct blk *b, struct blk_job *j, bool may_wait)
{
	uint8_t status;

	j->may_wait = may_wait;
	pthread_mutex_unlock(&b->v.lock);
	status = blk_perform(j);
	pthread_mutex_lock(&b->v.lock);
	if (status == STATUS_LATER && b->epoch == j->epoch)
		return false;
	complete(b, j, status);
	return true;
}

/* ---- who does it ---- */

static void hand_over(struct blk *b, struct blk_job *j)
{
	j->next = NULL;
	*b->ready_end = j;
	b->ready_end = &j->next;
	if (b->n_waiting && !(b->writing && j->type == VIRTIO_BLK_T_OUT))
		pthread_cond_signal(&b->work);
}

/* The first that may begin; with a write under way, no other. */
static struct blk_job *first_ready(struct blk *b)
{
	struct blk_job **at = &b->ready, *j;

	while ((j = *at) && b->writing && j->type == VIRTIO_BLK_T_OUT)
		at = &j->next;
	if (j && !(*at = j->next))
		b->ready_end = at;
	if (j && j->type == VIRTIO_BLK_T_OUT)
		b->writing = j;
	return j;
}

/* The loop: empties the rings as far as there are jobs. When it leaves requests in them for want of one, kicks stay off, and each worker takes one
 * of them for each that it has done; when it does not, the driver's next request kicks. */
void blk_kick(struct vdev *v, unsigned queue)
{
	struct blk *b = (struct blk *)v;
	struct blk_job *j = NULL;

	for (int i = 0; i < TURN_MAX && (j = take(b, true)); i++) {
		if (!perform(b, j, b->n_workers == 0))
			hand_over(b, j);
		if (i % TELL_EVERY == TELL_EVERY - 1)
			tell(b);
	}
	tell(b);
	if (j)
		vdev_kick_again(v, queue);
}

void blk_on_timer(struct ev_timer *t)
{
	struct blk *b = t->arg;

	vdev_enter(&b->v);
	blk_kick(&b->v, 0);
	vdev_leave(&b->v);
}

void blk_work(struct blk *b)
{
	pthread_mutex_lock(&b->v.lock);
	while (!b->quit) {
		struct blk_job *j = first_ready(b), *more = take(b, false); /* the latter in place of what this thread did before */

		if (more)
			hand_over(b, more);
		if (j) {
			perform(b, j, true);
			tell(b);
		} else if (!more) {
			b->n_waiting++;
			pthread_cond_wait(&b->work, &b->v.lock);
			b->n_waiting--;
		}
	}
	pthread_mutex_unlock(&b->v.lock);
}

void blk_quit(struct blk *b)
{
	pthread_mutex_lock(&b->v.lock);
	b->quit = true;
	pthread_cond_broadcast(&b->work);
	pthread_mutex_unlock(&b->v.lock);
}

/* ---- standing still ---- */

void blk_reset(struct vdev *v)
{
	struct blk *b = (struct blk *)v;
	struct blk_job *j;

	b->epoch++;
	b->held++;
	while ((j = b->ready)) {
		b->ready = j->next;
		give_back(b, j);
	}
	b->ready_end = &b->ready;
	while (b->n_out)
		pthread_cond_wait(&b->idle, &b->v.lock);
	b->held--;
}

int blk_hold(struct blk *b, unsigned timeout_ms)
{
	uint64_t until_ns = now_mono_ns() + timeout_ms * 1000000ull;
	struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000) };
	int err = 0;

	pthread_mutex_lock(&b->v.lock);
	b->held++;
	while (b->n_out && !err)
		err = -pthread_cond_timedwait(&b->idle, &b->v.lock, &until);
	pthread_mutex_unlock(&b->v.lock);
	return err;
}

void blk_release(struct blk *b)
{
	pthread_mutex_lock(&b->v.lock);
	if (--b->held == 0 && b->v.active)
		vdev_kick_again(&b->v, 0);
	pthread_mutex_unlock(&b->v.lock);
}
