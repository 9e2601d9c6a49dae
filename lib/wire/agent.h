/*
 * Frames between the host (front, core, mica run) and the guest agent, over virtio-vsock streams.
 * The prose is in agent/PROTOCOL.md. One vsock stream is one operation: the host connects to
 * AGENT_PORT, sends one request frame, and then both sides send what the request's row says
 * until one closes. vsock credit is the flow control. The agent also keeps one stream open
 * to the host (AGENT_HELLO_PORT, CID 2): its hello, and requests that concern the whole machine.
 * The host treats every byte from here as hostile; the agent trusts its host.
 */
#ifndef LIB_WIRE_AGENT_H
#define LIB_WIRE_AGENT_H

#include "lib/wire/wire.h"

#define AGENT_PORT 1024u       /* guest listens */
#define AGENT_HELLO_PORT 1025u /* host listens (CID 2) */
#define AGENT_PROTO 1u         /* raised when an old peer would misread */
#define AGENT_DATA_MAX 32768u  /* most bytes in one A_T_DATA */
#define AGENT_ARGS_MAX 1024u   /* most A_T_ARG, A_T_ENV, A_T_EXCLUDE, A_T_PATH, A_T_PATTERN fields each */

/* background commands */
#define AGENT_RING_DEFAULT (1u << 20)   /* bytes of output kept per command */
#define AGENT_RING_MIN 4096u            /* less is raised to it */
#define AGENT_RING_BUDGET (256u << 20)  /* of all commands together, until they are reaped */
#define AGENT_WAIT_MAX_MS 600000u
#define AGENT_WAIT_DEFAULT_MS 30000u
#define AGENT_GRACE_DEFAULT_MS 5000u    /* from TERM to KILL */

enum agent_type {
	/* hello stream: guest → host first; then host → guest requests, answered WIRE_OK / WIRE_ERR with the same id */
	A_HELLO = 16,      /* g→h: PROTO VERSION UPTIME_NS (agent's, ns) BOOT_ID */
	A_SHUTDOWN = 17,   /* h→g: ACTION "shutdown"|"reboot"; OK, then the machine stops */
	A_IDENTITY = 18,   /* h→g: any of HOSTNAME, TIME_NS (real time now), ENTROPY; OK. After restore or fork. */
	A_PING = 19,       /* h→g: OK */

	/* request frames: the first on a stream to AGENT_PORT */
	A_EXEC = 32,       /* CMD ARG* ENV* [CWD UID GID SHELL STDIN(1)] */
	A_SHELL = 33,      /* [UID GID SHELL CWD COLS ROWS TERM] */
	A_CP_IN = 34,      /* PATH MODE [UID GID PERM EXCLUDE* SIZE V1(1) SOURCE_NAME SOURCE_TYPE CONTENTS(1)] */
	A_CP_OUT = 35,     /* PATH MODE [EXCLUDE* UID V1(1)] ; MODE also "recursive" */
	A_HEALTH = 36,     /* → A_HEALTH_IS */
	A_STATS = 37,      /* → A_STATS_IS */
	A_FORWARD = 38,    /* UPSTREAM "host:port" | "unix:/path" → WIRE_OK, then raw bytes (no frames) both ways */
	A_FS_READDIR = 39, /* PATH [UID] → A_FS_ENTRY* then WIRE_OK */
	A_FS_STAT = 40,    /* PATH [UID] → A_FS_ENTRY or WIRE_ERR 404 */
	A_FS_MKDIR = 41,   /* PATH [UID GID PERM RECURSIVE(1)] → WIRE_OK */
	A_FS_REMOVE = 42,  /* PATH [UID RECURSIVE(1)] → WIRE_OK */
	A_GROW = 43,       /* grow the root file system to its disk → WIRE_OK SIZE */
	A_SECRET_PUT = 44, /* NAME DATA [PERM UID GID] → WIRE_OK: /run/slicer/secrets/NAME */
	A_USERDATA = 45,   /* DATA: script; run once per disk → WIRE_OK at start */
	A_SECRET_DROP = 46, /* NAME → WIRE_OK, also when it is not there */
	A_SSH_KEYS = 47,   /* DATA: lines [UID] → WIRE_OK: those that are missing are added to the user's ~/.ssh/authorized_keys; ERR 404 no such user */

	A_FIXUP = 58,      /* any of HOSTNAME, MACHINE_ID, SSH_HOST_KEYS(1) → WIRE_OK once the machine is that one: a fork's first boot. HOSTNAME also goes into
	                    * /etc/hostname and /etc/hosts where the old name stands; keys are made anew where there are any. May be asked again. */

	/* background commands: live in the agent, not in a stream; ids "ex_" + 8 hex, lost with the agent. An id never given: 404; reaped: 410 */
	A_BG_START = 48,   /* CMD ARG* ENV* [CWD UID GID SHELL RING_BYTES AS_TEXT] → A_BG_IS; WIRE_ERR 503 when the rings' budget is used up, CODE as A_EXEC */
	A_BG_LIST = 49,    /* → A_BG_IS* (oldest first), WIRE_OK */
	A_BG_INFO = 50,    /* EXEC_ID → A_BG_IS */
	A_BG_LOGS = 51,    /* EXEC_ID [FROM_ID FOLLOW(1)] → (A_STARTED|A_STDOUT|A_STDERR|A_GAP|A_EXIT)*, always WIRE_OK last; all carry FRAME_ID TIME_NS */
	A_BG_KILL = 52,    /* EXEC_ID [SIGNAL_NAME GRACE_MS] → A_BG_IS with SIGNAL_NAME (absent when it had ended: nothing was sent) */
	A_BG_WAIT = 53,    /* EXEC_ID [TIMEOUT_MS, at most 600000] → A_BG_IS with TIMED_OUT(0/1) */
	A_BG_REAP = 54,    /* EXEC_ID → WIRE_OK; WIRE_ERR 409 while it runs */

	A_FS_WATCH = 56,   /* PATH* [PATTERN* EVENT* RECURSIVE(1) ONE_SHOT(1) DEBOUNCE_MS TIMEOUT_MS MAX_EVENTS UID] → WIRE_OK once it watches,
	                    * A_FS_EVENT*, at the end WIRE_OK with TEXT (why it ended). The host closing ends it. */

	/* exec and shell: host → guest after the request */
	A_STDIN = 64,      /* DATA */
	A_STDIN_EOF = 65,  /* nothing more will come; the stream stays open for output */
	A_SIGNAL = 66,     /* SIGNAL number: to the process group */
	A_WINSIZE = 67,    /* COLS ROWS (shell) */
	/* exec and shell: guest → host: A_STARTED (or WIRE_ERR, with CODE 127/126 when the command cannot start),
	 * output, then exactly one A_EXIT after all output. A stream that ends without A_EXIT is a lost agent:
	 * an error, never an exit code. The host closing the stream kills the process group (HUP, then KILL). */
	A_STARTED = 70,    /* PID TIME_NS */
	A_STDOUT = 71,     /* DATA */
	A_STDERR = 72,     /* DATA */
	A_EXIT = 73,       /* CODE (0–255; 128+n by signal) TIME_NS [SIGNAL number] */

	/* copy: in: WIRE_OK or WIRE_ERR to the request, then A_DATA* A_DATA_EOF from the host, then WIRE_OK (SIZE) or WIRE_ERR.
	 * out: A_CP_META or WIRE_ERR, then A_DATA* A_DATA_EOF or WIRE_ERR from the guest. A missing A_DATA_EOF = broken copy. */
	A_DATA = 80,       /* DATA */
	A_DATA_EOF = 81,
	A_CP_META = 82,    /* SOURCE_TYPE "file"|"directory"; PERM (files); SIZE (files, when regular); SOURCE_NAME */

	A_HEALTH_IS = 90,  /* UPTIME_NS (agent) SYS_UPTIME_NS VERSION USERDATA_RAN(0/1) [USERDATA_CODE] */
	A_STATS_IS = 91,   /* fields A_T_STAT_* below, u64 each; loads in 1/100, percentages not sent */
	A_FS_ENTRY = 92,   /* NAME SOURCE_TYPE "file"|"directory"|"symlink" SIZE TIME_NS (mtime) PERM */
	A_BG_IS = 93,      /* EXEC_ID PID CMD ARG* CWD UID TIME_NS (start) RUNNING(0/1) BYTES_WRITTEN BYTES_DROPPED NEXT_ID RING_BYTES;
	                    * ended: CODE END_NS [SIGNAL number] */
	A_GAP = 94,        /* frames that were evicted: FRAME_ID (of what follows) TIME_NS DROPPED_BYTES DROPPED_FRAMES, WIRE_T_TEXT */
	A_FS_EVENT = 95,   /* FRAME_ID (from 1) EVENT "create"|"write"|"remove"|"rename"|"chmod"|"overflow" PATH TIME_NS SIZE IS_DIR(0/1) [WIRE_T_TEXT] */
};

enum agent_tag { /* u64 unless said */
	A_T_PROTO = 16, A_T_VERSION, /* str */ A_T_UPTIME_NS, A_T_SYS_UPTIME_NS, A_T_BOOT_ID, /* str */
	A_T_ACTION, /* str */ A_T_HOSTNAME, /* str */ A_T_TIME_NS, A_T_ENTROPY, /* bytes */
	A_T_CMD, /* str */ A_T_ARG, /* str, repeats */ A_T_ENV, /* str K=V, repeats */
	A_T_CWD, /* str; "~" and "~/x" allowed; no ".." */ A_T_UID, A_T_GID, /* absent: the image's default user (1000) */
	A_T_SHELL, /* str; exec: run `<shell> -lc "<cmd> <args…>"` */ A_T_STDIN,
	A_T_DATA, /* bytes, at most AGENT_DATA_MAX */ A_T_PID, A_T_CODE, A_T_SIGNAL,
	A_T_COLS, A_T_ROWS, A_T_TERM, /* str */
	A_T_PATH, /* str */ A_T_MODE, /* str "binary"|"tar"|"recursive" */ A_T_PERM, /* low 12 mode bits */
	A_T_EXCLUDE, /* str glob, repeats */ A_T_SIZE, A_T_V1, /* 1: cp-v1 destination rules */
	A_T_SOURCE_NAME, /* str */ A_T_SOURCE_TYPE, /* str */ A_T_CONTENTS, A_T_RECURSIVE,
	A_T_USERDATA_RAN, A_T_USERDATA_CODE, A_T_UPSTREAM, /* str */ A_T_NAME, /* str */
	A_T_STAT_CPUS = 80, A_T_STAT_MEM_TOTAL, A_T_STAT_MEM_USED, A_T_STAT_MEM_AVAIL,
	A_T_STAT_LOAD1, A_T_STAT_LOAD5, A_T_STAT_LOAD15, A_T_STAT_DISK_READ, A_T_STAT_DISK_WRITE,
	A_T_STAT_NET_READ, A_T_STAT_NET_WRITE, A_T_STAT_DISK_INFLIGHT, A_T_STAT_OPEN_CONNS, A_T_STAT_OPEN_FILES,
	A_T_STAT_ENTROPY, A_T_STAT_SPACE_TOTAL, A_T_STAT_SPACE_USED, A_T_STAT_SPACE_FREE,
	A_T_EXEC_ID = 112, /* str "ex_" + 8 hex */ A_T_RING_BYTES, A_T_FROM_ID, /* first frame wanted; absent or 0: 1 */ A_T_FOLLOW,
	A_T_FRAME_ID, /* per command or watch, from 1, each one more than the last */ A_T_SIGNAL_NAME, /* str TERM KILL INT HUP QUIT USR1 USR2, also with SIG */
	A_T_GRACE_MS, A_T_TIMEOUT_MS, A_T_TIMED_OUT, A_T_RUNNING, A_T_END_NS, /* real time */
	A_T_BYTES_WRITTEN, A_T_BYTES_DROPPED, A_T_NEXT_ID, A_T_DROPPED_BYTES, A_T_DROPPED_FRAMES,
	A_T_PATTERN, /* str glob, repeats: of the full path or of its last part */ A_T_EVENT, /* str, repeats in a request; also "all" */
	A_T_ONE_SHOT, A_T_DEBOUNCE_MS, A_T_MAX_EVENTS, A_T_IS_DIR,
	A_T_AS_TEXT, /* 1 in A_BG_START, kept for who asked: its A_BG_IS and output frames carry it */
	A_T_MACHINE_ID = 160, /* str, 32 digits */ A_T_SSH_HOST_KEYS,
};

#endif
