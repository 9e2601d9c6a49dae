/* service generate: a systemd unit for `mica up`. */
#include "cli/cli.h"
#include "cli/out.h"
#include "lib/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIT_FOLDER "/etc/systemd/system"

static const struct opt service_opts[] = {
	{ "install", 0, OPT_FLAG, NULL, "write the unit's file instead of printing it" },
	{ "name", 0, OPT_TEXT, "NAME", "of the unit (default mica)" },
	{ "user", 0, OPT_TEXT, "USER", "run as (default root; others get VMs without a network)" },
	{ "working-directory", 0, OPT_TEXT, "DIR", "where relative paths in FILE start (default: FILE's folder)" },
	{ "timeout-stop-sec", 0, OPT_NUMBER, "N", "for all VMs to end at a stop (default 120)" },
	{ "unit-dir", 0, OPT_TEXT, "DIR", "where --install writes (default " UNIT_FOLDER ")" },
	{ "force", 0, OPT_FLAG, NULL, "overwrite a unit that is there" },
	{ "suspend-on-shutdown", 0, OPT_FLAG, NULL, "not served: this version cannot keep a VM's memory" },
	{ "license-file", 0, OPT_TEXT, "PATH", "not needed, and not read" },
	{ 0 },
};

struct unit {
	char self[PATH_MAX], config[PATH_MAX], folder[PATH_MAX];
	const char *name, *user;
	unsigned long long stop_sec;
};

/* Text for a unit file: "%" begins a specifier; in command lines also "$", and there quotes hold it together. */
static void put_text(struct buf *b, const char *s, bool command)
{
	if (command)
		buf_adds(b, "\"");
	for (; *s; s++) {
		if (*s == '%' || (command && *s == '$'))
			buf_add(b, s, 1);
		if (command && (*s == '"' || *s == '\\'))
			buf_adds(b, "\\");
		buf_add(b, s, 1);
	}
	if (command)
		buf_adds(b, "\"");
}

static const struct {
	const char *lines, *why;
} hardening[] = {
	{ "NoNewPrivileges=yes", "Nothing it starts gains rights by a set-user-id file." },
	{ "ProtectSystem=full", "It writes its state folder only: /usr, /boot and /etc are not its business." },
	{ "PrivateTmp=yes", "Other users' files in /tmp are not its business, nor its own theirs." },
	{ "ProtectClock=yes", "It reads the clock and never sets it." },
	{ "ProtectHostname=yes", "VMs have names of their own; the host's stays." },
	{ "ProtectKernelLogs=yes", "It needs nothing of the kernel's log." },
	{ "ProtectKernelModules=yes", "Modules (kvm, tun, nf_tables) are loaded by the system, not by it." },
	{ "RestrictRealtime=yes", "No process of it may keep a CPU from all others." },
	{ "RestrictSUIDSGID=yes", "No set-user-id files come from it, whatever a copied archive holds." },
	{ "LockPersonality=yes", "No other ABI, which seccomp filters would have to know." },
	{ "SystemCallArchitectures=native", "No 32-bit system calls, for the same reason." },
	{ "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", "Its channels, the API, and the kernel's network tables; vsock ends in the vmm and needs no socket of the host." },
	{ "DevicePolicy=closed\nDeviceAllow=/dev/kvm rw\nDeviceAllow=/dev/net/tun rw", "The two devices that VMs are made of, beside null, zero and random." },
	{ "UMask=0027", "What it writes is its own and its group's." },
};

static void put_unit(struct buf *b, const struct unit *u)
{
	bool root = !strcmp(u->user, "root");
	buf_adds(b, "# Made by 'mica service generate'.\n"
		    "[Unit]\nDescription=mica: microVMs\nAfter=network-online.target\nWants=network-online.target\n"
		    "StartLimitIntervalSec=60\nStartLimitBurst=5\n\n[Service]\n"
		    "# Started when the API answers (sd_notify); a daemon whose core or front hangs is killed and started again, its VMs live on.\n"
		    "Type=notify\nNotifyAccess=main\nWatchdogSec=60\n");
	if (!root) {
		buf_printf(b, "User=%s\n# Who may use the machine's virtualisation.\nSupplementaryGroups=kvm\n", u->user);
	}
	buf_adds(b, "WorkingDirectory=");
	put_text(b, u->folder, false);
	buf_adds(b, "\nExecStart=");
	put_text(b, u->self, true);
	buf_adds(b, " up ");
	put_text(b, u->config, true);
	buf_adds(b, "\n# Another certificate from the same files.\nExecReload=/bin/kill -HUP $MAINPID");
	buf_printf(b, "\nRestart=always\nRestartSec=1\n\n"
		   "# VMs are processes of their own that outlive the daemon: only the main process gets a signal. After a crash of the daemon, or\n"
		   "# 'systemctl kill --kill-who=main --signal=SIGUSR2 %s' (the way to a new version), Restart= starts it again and it takes the\n"
		   "# running VMs over. With the default, control-group, systemd would kill them together with the daemon.\n"
		   "# 'systemctl stop' and 'systemctl restart' send SIGTERM, and with that the daemon itself ends its VMs as the config says.\n"
		   "KillMode=process\nKillSignal=SIGTERM\n"
		   "# Long enough for guests to shut down; afterwards the daemon is killed, VMs still there are taken over at the next start.\n"
		   "TimeoutStopSec=%llu\n\n"
		   "# A stream is a descriptor or two, a VM a few tasks.\nLimitNOFILE=1048576\nTasksMax=infinity\n\n",
		   u->name, u->stop_sec);
	buf_adds(b, "# Every VM has a cgroup in this unit's, with limits of its own; the daemon's processes are in 'daemon' beside them. systemd starts the next\n"
		    "# daemon in the unit's own cgroup, which works only while nothing is limited beneath it; the daemon then sets the limits once more.\n"
		    "Delegate=cpu memory pids\n"
		    "ExecStopPost=-/bin/sh -c 'f=/sys/fs/cgroup$$(sed -n \"s,^0::\\\\(.*\\\\)/.control$$,\\\\1,p\" /proc/self/cgroup)/cgroup.subtree_control; "
		    "for c in $$(cat $$f); do echo -$$c; done > $$f'\n\n");
	buf_adds(b, "# Every process of the daemon confines itself further: namespaces, system-call filters, user ids of their own. What stands here holds\n"
		    "# for all of them, so it allows what one of them needs: root's rights to make cages, taps and bridges, and /proc/sys (forwarding).\n");
	for (size_t i = 0; i < ARRAY_LEN(hardening); i++)
		buf_printf(b, "# %s\n%s\n", hardening[i].why, hardening[i].lines);
	buf_adds(b, "\n[Install]\nWantedBy=multi-user.target\n");
}

/* A name or path that would break the unit's lines. */
static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

static int bad_path(const char *path)
{
	char clean[256];
	out_clean(clean, sizeof(clean), path);
	return out_error(EXIT_USAGE, strerror(errno), "name a config file that is there: mica new vm > mica.yaml", "cannot use %s", clean);
}

static int fill(struct unit *u, const struct args *a)
{
	const char *folder = arg_text(a, "working-directory");
	ssize_t n = readlink("/proc/self/exe", u->self, sizeof(u->self) - 1);
	if (n <= 0)
		return out_error(EXIT_FAIL, strerror(errno), "is /proc mounted?", "cannot find this program's path");
	u->self[n] = 0;
	u->name = arg_text(a, "name") ? arg_text(a, "name") : "mica";
	u->user = arg_text(a, "user") ? arg_text(a, "user") : "root";
	u->stop_sec = arg_u64(a, "timeout-stop-sec", 120);
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	if (!*u->name || strlen(u->name) > 200 || strspn(u->name, letters) != strlen(u->name) || u->name[0] == '.' || u->name[0] == '-')
		return out_error(EXIT_USAGE, "a unit's name has letters, digits, '_', '.' and '-'", "--name mica", "--name=%s", u->name);
	if (!*u->user || strlen(u->user) > 200 || strspn(u->user, letters) != strlen(u->user) || u->user[0] == '-')
		return out_error(EXIT_USAGE, "a user's name has letters, digits, '_', '.' and '-'", "--user root", "--user=%s", u->user);
	if (!realpath(a->pos[0], u->config) || access(u->config, R_OK))
		return bad_path(a->pos[0]);
	if (folder && !realpath(folder, u->folder))
		return bad_path(folder);
	if (!folder) {
		strcpy(u->folder, u->config);
		char *slash = strrchr(u->folder, '/');
		slash[slash == u->folder] = 0;
	}
	if (has_control(u->self) || has_control(u->config) || has_control(u->folder))
		return out_error(EXIT_USAGE, "a unit cannot hold control characters", "rename it", "a path has a line break or the like");
	return 0;
}

static int install(const struct unit *u, const struct args *a, const struct buf *text)
{
	const char *folder = arg_text(a, "unit-dir") ? arg_text(a, "unit-dir") : UNIT_FOLDER;
	char file[NAME_MAX + 1];
	snprintf(file, sizeof(file), "%s.service", u->name);
	AUTO_FD dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return out_error(EXIT_FAIL, strerror(errno), "is this a machine with systemd? --unit-dir names another folder", "cannot open %s", folder);
	if (!arg_flag(a, "force", false)) {
		/* Reserves the name: two at once cannot both believe that it was free. */
		AUTO_FD fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0 && errno == EEXIST)
			return out_error(EXIT_FAIL, "a unit of that name is there", "give another --name, or --force to overwrite it", "%s/%s is kept as it is", folder, file);
	}
	int err = write_file_atomic(dir, file, buf_data(text), buf_len(text), 0644);
	if (err && !arg_flag(a, "force", false))
		unlinkat(dir, file, 0); /* the reservation */
	if (err)
		return out_error(EXIT_FAIL, strerror(-err), err == -EACCES ? "run it with sudo" : "", "cannot write %s/%s", folder, file);
	printf("%s/%s written\nstart it now and at every boot:\n  systemctl daemon-reload && systemctl enable --now %s\n", folder, file, u->name);
	return 0;
}

static int run_service(struct args *a)
{
	static struct unit u;
	struct buf text;
	if (arg_flag(a, "suspend-on-shutdown", false))
		return out_error(EXIT_USAGE, "this version cannot keep a VM's memory", "leave it out: VMs are shut down when the daemon stops", "--suspend-on-shutdown");
	int code = fill(&u, a);
	if (code)
		return code;
	buf_init(&text, 65536);
	put_unit(&text, &u);
	const char *s = buf_cstr(&text);
	if (!s)
		code = out_error(EXIT_FAIL, strerror(ENOMEM), "use shorter paths", "cannot make the unit");
	else if (arg_flag(a, "install", false))
		code = install(&u, a, &text);
	else
		fputs(s, stdout);
	buf_done(&text);
	return code;
}

const struct cmd cmd_service_generate = { .group = "service", .name = "generate", .synopsis = "FILE",
	.summary = "Print or install a systemd unit that runs the daemon with this config", .opts = service_opts,
	.examples = "mica service generate /etc/mica/mica.yaml\nsudo mica service generate --install /etc/mica/mica.yaml\n"
		    "mica service generate --name ci --user builder --timeout-stop-sec 30 ci.yaml",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .run = run_service };
