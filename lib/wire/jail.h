/*
 * Frames between core and jail (chan, SEQPACKET). jail holds /dev/kvm and the vmm program; it builds the cage, starts
 * vmm in it, and is the only one that can end a vmm by force. It parses nothing else.
 */
#ifndef LIB_WIRE_JAIL_H
#define LIB_WIRE_JAIL_H

#include "lib/wire/wire.h"

enum jail_type {
	J_SPAWN = 16,  /* c→j: NAME SLOT RAM_BYTES VCPUS + fd: listening control socket → OK PID + pidfd, or ERR */
	J_KILL = 17,   /* c→j: NAME → OK when the signal is sent (also when it is gone), ERR 404 unknown to jail */
	J_ADOPT = 18,  /* c→j: NAME SLOT PID → OK + pidfd when that process has the uid (cgroup) of a vmm in that slot, ERR otherwise */
	J_EXITED = 19, /* j→c, unasked: NAME STATUS (wait status as of waitid: si_code*256+si_status) */
	J_DESCRIBE = 20, /* c→j → OK TEXT: what the cage holds here (uid, namespaces, cgroup, seccomp), and what could not be had and why */
};
enum jail_tag {
	J_T_NAME = 16, /* str */ J_T_SLOT, /* 0–65535: uid = base + slot */ J_T_RAM_BYTES, J_T_VCPUS, J_T_PID, J_T_STATUS, J_T_TEXT, /* str */
};

#endif
