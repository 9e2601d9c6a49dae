#include "cli/parts.h"
#include "cli/codes.h"
#include "cli/spawn.h"
#include "lib/json/json.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 10000

static const struct {
	const char *name, *path; /* path: from the folder bin/mica is in */
} rows[] = {
	{ "core", "core" }, { "front", "front" }, { "netd", "netd" }, { "gate", "gate" }, { "jail", "jail" }, { "vmm", "vmm" },
	{ "kernel-min", "../kernel/min/vmlinux" }, { "kernel-emulated", "../kernel/emulated/vmlinux" }, { KERNEL_FULL, "../kernel/full/vmlinux" },
	{ "image-min", "../image/min.ext4" },
};

int parts_open(struct parts *p, struct fault *f)
{
	*p = (struct parts){ .self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC) };
	if (p->self < 0)
		return fault_errno(f, -errno, "/proc/self/exe");
	int err = payload_open(&p->payload, p->self, f);
	if (err == -ENOENT) {
		ssize_t n = readlink("/proc/self/exe", p->folder, sizeof(p->folder) - 1);
		char *slash = n > 0 ? strrchr(p->folder, '/') : NULL;
		if (slash)
			*slash = 0;
		err = slash ? 0 : fault_set(f, -ENOENT, "cannot tell where this program is");
	} else if (!err) {
		p->packed = true;
	}
	if (err)
		fd_close(&p->self);
	return err;
}

void parts_done(struct parts *p)
{
	payload_done(&p->payload);
	fd_close(&p->self);
}

bool part_has(const struct parts *p, const char *name)
{
	if (p->packed)
		return payload_find(&p->payload, name);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char path[4200];
		snprintf(path, sizeof(path), "%s/%s", p->folder, rows[i].path);
		if (!strcmp(rows[i].name, name))
			return !access(path, R_OK);
	}
	return false;
}

static const char *part_code(int err)
{
	return err == -EMFILE || err == -ENFILE ? " [E_FD_LIMIT]" : err == -ENOENT ? " [E_PART_MISSING]" : "";
}

int part_fd(const struct parts *p, const char *name, struct fault *f)
{
	if (p->packed) {
		const struct payload_entry *e = payload_find(&p->payload, name);
		if (!e)
			return fault_set(f, -ENOENT, "this build of mica carries no %s [E_PART_MISSING]", name);
		int fd = payload_unpack(&p->payload, e, f);
		return fd < 0 ? fault_wrap(f, fd, "%s", name) : fd;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcmp(rows[i].name, name))
			continue;
		char path[4200];
		snprintf(path, sizeof(path), "%s/%s", p->folder, rows[i].path);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		int err = fd < 0 ? -errno : 0;
		return err ? fault_set(f, err, "%s: %s%s", path, strerror(-err), part_code(err)) : fd;
	}
	return fault_set(f, -ENOENT, "no part is called %s", name);
}

const char *route_name(enum route r)
{
	return r == ROUTE_HARDWARE ? "hardware" : r == ROUTE_EMULATED ? "emulated" : "none";
}

const char *route_kernel(enum route r)
{
	return r == ROUTE_EMULATED ? "kernel-emulated" : "kernel-min";
}

/* In the group by the book (/etc/group), while this process has it not. */
static bool session_is_old(const char *path)
{
	struct passwd *pw = getpwuid(geteuid());
	gid_t mine[256];
	struct stat st;
	if (stat(path, &st) || !pw || !(st.st_mode & S_IWGRP))
		return false;
	int n = getgroups(ARRAY_LEN(mine), mine);
	for (int i = 0; i < n; i++)
		if (mine[i] == st.st_gid)
			return false;
	struct group *g = getgrgid(st.st_gid);
	for (char **m = g ? g->gr_mem : NULL; m && *m; m++)
		if (!strcmp(*m, pw->pw_name))
			return true;
	return false;
}

/* Why /dev/kvm does not open, and what mends it. Never a looser mode for everybody. */
static int no_device(struct host_kvm *k, const char *path, int err)
{
	snprintf(k->problem, sizeof(k->problem), "cannot use %.200s", path);
	if (err == ENOENT || err == ENXIO || err == ENODEV) {
		k->code = "E_KVM_MISSING";
		snprintf(k->reason, sizeof(k->reason), "%.200s: %s: the kernel module kvm is not loaded, or this machine offers no virtualisation", path, strerror(err));
	} else if ((err == EACCES || err == EPERM) && session_is_old(path)) {
		k->code = "E_KVM_GROUP";
		snprintf(k->reason, sizeof(k->reason), "%.200s: %s: you are in its group, but this session began before", path, strerror(err));
	} else if (err == EACCES || err == EPERM) {
		k->code = "E_KVM_DENIED";
		snprintf(k->reason, sizeof(k->reason), "%.200s: %s: it belongs to root and the group kvm", path, strerror(err));
	} else if (err == EMFILE || err == ENFILE) {
		k->code = "E_FD_LIMIT";
		snprintf(k->reason, sizeof(k->reason), "%.200s: %s", path, strerror(err));
	} else {
		k->code = "E_KVM_USELESS";
		snprintf(k->reason, sizeof(k->reason), "%.200s: %s", path, strerror(err));
	}
	snprintf(k->fix, sizeof(k->fix), "%s", code_find(k->code)->fix);
	return err ? -err : -EIO;
}

static int read_probe(struct host_kvm *k)
{
	struct json j;
	const char *route = "", *reason = "";
	if (json_parse(&j, k->json, strlen(k->json), 200, NULL))
		return -EPROTO;
	json_get_str(json_root(&j), "route", &route);
	json_get_str(json_root(&j), "reason", &reason);
	k->route = !strcmp(route, "hardware") ? ROUTE_HARDWARE : !strcmp(route, "emulated") ? ROUTE_EMULATED : ROUTE_NONE;
	snprintf(k->reason, sizeof(k->reason), "%s", reason);
	json_done(&j);
	if (k->route != ROUTE_NONE)
		return 0;
	char name[CODE_MAX];
	k->code = code_take(k->reason, name) && code_find(name) ? code_find(name)->code : "E_KVM_USELESS";
	snprintf(k->problem, sizeof(k->problem), "this machine's KVM cannot run a guest");
	snprintf(k->fix, sizeof(k->fix), "'mica doctor' shows what was found; a virtual machine needs nested virtualisation from its host");
	return -ENODEV;
}

static int run_probe(const struct parts *p, const char *path, struct host_kvm *k, struct fault *f)
{
	AUTO_FD vmm = part_fd(p, "vmm", f);
	if (vmm < 0)
		return vmm;
	char *argv[] = { (char[]){ "vmm" }, (char[]){ "--probe" }, (char[]){ "--kvm" }, NULL, NULL };
	char kvm[4096];
	snprintf(kvm, sizeof(kvm), "%s", path);
	argv[3] = kvm;
	return spawn_capture(vmm, argv, k->json, sizeof(k->json), PROBE_MS, f);
}

int host_kvm_probe(const struct parts *p, const char *path, struct host_kvm *k)
{
	struct fault f = { 0 };
	*k = (struct host_kvm){ .route = ROUTE_NONE };
	uint64_t t0 = now_mono_ns();
	AUTO_FD fd = open(path, O_RDWR | O_CLOEXEC);
	int err = errno;
	k->open_us = (now_mono_ns() - t0) / 1000;
	if (fd < 0)
		return no_device(k, path, err);
	fd_close(&fd);
	t0 = now_mono_ns();
	err = run_probe(p, path, k, &f);
	k->probe_us = (now_mono_ns() - t0) / 1000;
	if (!err)
		err = read_probe(k);
	if (!err)
		return 0;
	if (!k->problem[0]) {
		char name[CODE_MAX];
		k->code = code_take(f.text, name) && code_find(name) ? code_find(name)->code : "E_PART_MISSING";
		snprintf(k->problem, sizeof(k->problem), "cannot find out what %.150s can do", path);
		snprintf(k->reason, sizeof(k->reason), "%.500s", f.text[0] ? f.text : "the probe gave no answer");
		snprintf(k->fix, sizeof(k->fix), "try another copy of this file; 'mica version' shows what is in it");
	}
	return err;
}
