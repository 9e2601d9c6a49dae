/*
 * A cgroup (v2) for each vmm: what it may use of memory, CPUs, tasks, and of the disk that the state folder lies on. They are made in a folder of ours: the delegated group of our systemd unit, else
 * `mica` at the top of the unified hierarchy. A group goes with its VM; what an earlier jail left behind goes when the next one starts. Where there
 * is none to be had (cgroup v1, no right to), VMs have rlimits alone, and cgroups.why says so. See cage.h for the room.
 */
#ifndef VMM_JAIL_CGROUP_H
#define VMM_JAIL_CGROUP_H

#include "lib/base/base.h"

#define CGROUP_LEAF_MAX 96u      /* "vm-", a VM's name, "." and the pid of the jail that made it */
#define CGROUP_WEIGHT_MAX 10000u /* of cpu.weight; 100 is the kernel's default */
#define CGROUP_TASKS_MORE 32u    /* pids.max: vCPUs and this; threads of the devices, and KVM's own */
#define CGROUP_CPUS_MORE 1u      /* cpu.max: vCPUs and this, so that its devices do not eat its vCPUs' time */

struct cgroups {
	int dir_fd;              /* owned: our folder; -1: no groups */
	bool memory, cpu, pids, io; /* what can be limited in it */
	char path[256];          /* our folder as /proc/PID/cgroup writes it */
	char why[256];           /* what could not be had; "": all is there */
};
struct cgroup_limits {
	uint64_t ram_bytes;      /* of the guest */
	uint64_t more_bytes;     /* that count as its memory, too: disks in a file system in memory */
	unsigned vcpus, cpu_weight; /* weight 0: 100 */
	uint64_t io_bytes_s, io_ops_s; /* most that it reads, and most that it writes, a second; 0: as it likes */
	uint32_t io_major, io_minor; /* of the file system that holds its disks, as stat says; 0: none given */
};

/* memory.max of a VM: its RAM; 1/32 of that for page tables (KVM's shadow ones, where the CPU has no nested ones, are 1/50); 256 MiB for the vmm itself, the
 * page cache of its disk, and buffers of its sockets (768 streams whose readers sleep hold 160 MiB). */
uint64_t cgroup_memory_max(const struct cgroup_limits *l);
/* io.max takes whole disks: the one that this file system's device is, or is a partition of. false: it is on none (tmpfs, btrfs, overlayfs, NFS), so io.max cannot
 * bound it. Reads sysfs. */
bool cgroup_disk_of(uint32_t *major_n, uint32_t *minor_n);
/* Finds or makes the folder, and removes groups of VMs that are gone. Never fails: see why. System calls: open read write mkdir rmdir getdents64 getxattr. */
void cgroups_init(struct cgroups *c);
/* Removes groups of VMs that are gone once more: at an earlier jail's end some of them were still ending. */
void cgroups_sweep(const struct cgroups *c);
/* A new group with its limits (there must be a folder; io.max is left out where it cannot be had, `mica ps` shows what holds); leaf is its name. fd of it (the caller's, for CLONE_INTO_CGROUP), or -errno with f: then the VM
 * must not start. -ENODEV: somebody removed it at once, try again. */
int cgroup_make(const struct cgroups *c, const char *vm, const struct cgroup_limits *l, char leaf[CGROUP_LEAF_MAX], struct fault *f);
/* The group of a process that an earlier jail started, its limits set once more (systemd may have taken them away meanwhile). leaf is "" when it has none. */
void cgroup_adopt(const struct cgroups *c, pid_t pid, const struct cgroup_limits *l, char leaf[CGROUP_LEAF_MAX]);
/* After its last process; "" is allowed. */
void cgroup_remove(const struct cgroups *c, const char *leaf);

#endif
