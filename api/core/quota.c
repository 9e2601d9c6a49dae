#include "api/core/quota.h"

#include <errno.h>
#include <string.h>

#define MIB(n) ((unsigned long long)((n) >> 20))

const char *const quota_keys[Q_N] = { "max_vms", "max_vcpus", "max_ram", "max_disk" };

bool quota_given(const struct quota *q)
{
	for (int i = 0; i < Q_N; i++)
		if (q->v[i])
			return true;
	return false;
}

int quota_find(const char *key, size_t n)
{
	for (int i = 0; i < Q_N; i++)
		if (strlen(quota_keys[i]) == n && memcmp(quota_keys[i], key, n) == 0)
			return i;
	return -1;
}

int quota_check(const struct quota *most, const struct quota *used, const struct quota *more, const char *whose, const char *how, struct fault *f)
{
	static const char *const units[Q_N] = { "VMs", "vCPUs", "MiB of RAM", "MiB of disks" };

	for (int i = 0; i < Q_N; i++) {
		uint64_t u = used->v[i], m = more->v[i], limit = most->v[i];
		bool bytes = i >= Q_RAM;

		if (!limit || !m || (u <= limit && m <= limit - u))
			continue;
		if (i == Q_VMS)
			return fault_set(f, -EDQUOT, "%s has %llu VMs, and max_vms is %llu: delete one, or %s [E_QUOTA]", whose, (unsigned long long)u,
					 (unsigned long long)limit, how);
		return fault_set(f, -EDQUOT, "the VMs of %s have %llu %s together, this wants %llu more, and %s is %llu: delete a VM, ask for less, or %s [E_QUOTA]", whose,
				 bytes ? MIB(u) : (unsigned long long)u, units[i], bytes ? MIB(m) : (unsigned long long)m, quota_keys[i],
				 bytes ? MIB(limit) : (unsigned long long)limit, how);
	}
	return 0;
}
