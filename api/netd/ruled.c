/* Requests about VMs on a bridge that have rules: the rules, and the host's events that gate makes their record of. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/netlink.h>

#include "api/netd/netd.h"
#include "lib/nfnl/nfnl.h"

/* Others on this host have their groups too (0 is what ulogd takes): one of ours alone, unless two daemons' happen to be the same. */
static uint16_t log_group(const struct netd *n)
{
	unsigned h = 0;
	for (const char *s = n->owner; *s; s++)
		h = h * 31 + (unsigned char)*s;
	return (uint16_t)(0x4000 | (h & 0x3fff));
}

int events_open(struct request *r, struct fault *f)
{
	struct fault ignored = {""};
	AUTO_FD fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (fd < 0)
		return fault_errno(f, -errno, "netfilter's events");
	int err = nf_subscribe(fd, log_group(r->n), f);
	if (err)
		return err;
	sysctl_count_flows(&ignored); /* without it the record has no bytes and times */
	r->out_fds[0] = fd;
	r->n_out = 1;
	fd = -1;
	return 0;
}

static int describe(struct request *r, struct iso *i, struct fault *f)
{
	int six = request_addr(r, N_T_GUEST6, 6, 48, &i->guest6);
	if (wire_get_str(r->m, N_T_TAP, i->link, sizeof i->link) || !link_name_is_valid(i->link) || wire_get_str(r->m, N_T_BRIDGE, i->bridge, sizeof i->bridge) ||
	    !link_name_is_valid(i->bridge))
		return fault_set(f, -EINVAL, "rules for a VM on a bridge need its tap and bridge");
	if (request_mac(r, i->mac) || request_addr(r, N_T_GUEST4, 4, 8, &i->guest4) || request_addr(r, N_T_GW4, 4, 255, &i->gw4) || six == -EINVAL ||
	    (!six && request_addr(r, N_T_GW6, 6, 255, &i->gw6)))
		return fault_set(f, -EINVAL, "rules for a VM on a bridge need its MAC, its addresses and its gateway's");
	snprintf(i->table, sizeof i->table, "%s.%s", r->n->table, i->link);
	i->log_group = log_group(r->n);
	return take_rules(r, &i->rules, &i->n_rules, &i->default_allow, f);
}

/* The kernel's state is one transaction: until it holds, what was known of the VM stays. */
int tap_rules(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	struct iso *old = iso_find(n, r->name), fresh = {.nft = n->nft};
	if (old && !old->bridge[0])
		return fault_set(f, -EEXIST, "VM %s is isolated", r->name);
	int err = describe(r, &fresh, f);
	if (!err && (err = nft_bridge_policy(n, &fresh)))
		fault_set(f, err, "the rules cannot be set%s: %s", old ? "; those before hold" : "", strerror(-err));
	n->nft.seq = fresh.nft.seq;
	if (!err && !old && !(old = iso_make(n, r->name))) {
		nft_bridge_none(n, fresh.table);
		err = fault_set(f, -ENOSPC, "too many VMs");
	}
	if (err) {
		free(fresh.rules);
		return err;
	}
	if (old->table[0] && strcmp(old->table, fresh.table) != 0)
		nft_bridge_none(n, old->table);
	free(old->rules);
	struct iso *next = old->next;
	fresh.nft.fd = old->nft.fd;
	fresh.nft.seq = old->nft.seq;
	memcpy(fresh.vm, old->vm, sizeof fresh.vm);
	*old = fresh;
	old->next = next;
	if (old->nft.fd < 0 && (err = nft_init(&old->nft)))
		return fault_errno(f, err, "netfilter");
	err = ct_flush_from(&old->nft, &old->guest4);
	if (!err && old->guest6.family)
		err = ct_flush_from(&old->nft, &old->guest6);
	return err ? fault_set(f, err, "the rules hold for new flows; those that run cannot be judged again: %s%s", strerror(-err),
			       err == -EOPNOTSUPP || err == -EINVAL ? " (the host's kernel needs CONFIG_NF_CT_NETLINK)" : "") : 0;
}
