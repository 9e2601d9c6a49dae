/* virtio-net: what its owner sets and asks from another thread. See net.h. */
#include "vmm/dev/net_priv.h"

void net_set_base(struct net *n, const struct shape_limit base[SHAPE_WAYS])
{
	pthread_mutex_lock(&n->v.lock);
	shape_set_base(&n->shape, base);
	pthread_mutex_unlock(&n->v.lock);
}

int net_set_chaos(struct net *n, const struct shape_policy *p)
{
	bool was_cut;
	int err = 0;

	pthread_mutex_lock(&n->v.lock);
	was_cut = n->shape.chaos.cut;
	if (p->delay_us)
		err = delay_open(&n->delay); /* here, because the loop's thread may not */
	if (!err) {
		shape_set(&n->shape, p);
		if (p->cut)
			delay_clear(&n->delay);
		n->flush = !p->delay_us && n->delay.packets;
		if (was_cut != p->cut) {
			n->announce = was_cut && vdev_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE);
			vdev_config_changed(&n->v);
		}
		vdev_resync(&n->v); /* its loop looks at limits and delays anew */
	}
	pthread_mutex_unlock(&n->v.lock);
	return err;
}

struct shape net_shape(struct net *n)
{
	struct shape s;

	pthread_mutex_lock(&n->v.lock);
	s = n->shape;
	pthread_mutex_unlock(&n->v.lock);
	return s;
}

struct net_counts net_counts_get(struct net *n)
{
	struct net_counts c;

	pthread_mutex_lock(&n->v.lock);
	c = n->counts;
	pthread_mutex_unlock(&n->v.lock);
	return c;
}

bool net_count(const struct net_counts *c, unsigned i, const char **name, uint64_t *value)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "rx_packets", c->rx_packets }, { "rx_bytes", c->rx_bytes }, { "tx_packets", c->tx_packets }, { "tx_bytes", c->tx_bytes },
		{ "rx_bad", c->rx_bad }, { "tx_bad", c->tx_bad }, { "tx_refused", c->tx_refused }, { "rx_cut", c->rx_cut }, { "tx_cut", c->tx_cut },
		{ "rx_lost", c->rx_lost }, { "tx_lost", c->tx_lost }, { "tx_delay_full", c->tx_delay_full }, { "rx_held", c->rx_held },
		{ "tx_held", c->tx_held },
	};

	if (i >= ARRAY_LEN(rows))
		return false;
	*name = rows[i].name;
	*value = rows[i].value;
	return true;
}
