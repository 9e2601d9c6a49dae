/*
 * Frames between core and one vmm, over SOCK_SEQPACKET (lib/wire/chan.h). jail starts vmm with
 *   fd 3  a listening unix SEQPACKET socket (bound by core in the VM's state folder)
 *   fd 4  /dev/kvm
 * and no paths. core connects; vmm serves one connection at a time (a newer one replaces the older, so that a restarted
 * core can adopt), sends V_HELLO at once (core reads its pid from SCM_CREDENTIALS), and goes on without core when the connection ends.
 * Descriptors are passed on the frame that names them: a "FD" field is an index into them.
 */
#ifndef LIB_WIRE_VMM_H
#define LIB_WIRE_VMM_H

#include "lib/wire/wire.h"

#define VMM_FD_LISTEN 3
#define VMM_FD_KVM 4
#define VMM_DISKS_MAX 8u
#define VMM_VCPUS_MAX 8u
#define VMM_CMDLINE_MAX 2048u

enum vmm_type {
	V_HELLO = 16,    /* v→c: VERSION STATE */
	V_BOOT = 17,     /* c→v, once, in state "new": VCPUS RAM_BYTES CMDLINE KERNEL_FD [INITRD_FD] CONSOLE_FD REPORT_FD DISK* NET* [CID]
	                    → OK when the vCPUs run, or ERR (and vmm ends). REPORT_FD: regular file that receives the last words (text, as
	                    in V_EXITED) before vmm ends, so that they are not lost when core is away. */
	V_CONNECT = 18,  /* c→v: PORT → OK with one fd: a unix stream joined to a vsock stream to that guest port; ERR 503 refused/no listener */
	V_LISTEN = 19,   /* c→v: PORT → OK; guest streams to CID 2 PORT now arrive as V_INCOMING (refused when not listened, or core away) */
	V_INCOMING = 20, /* v→c: PORT GUEST_PORT with one fd */
	V_PAUSE = 21, V_RESUME = 22, /* → OK once every vCPU stands (runs) */
	V_STATS = 23,    /* → OK with V_T_STAT* fields; CUT … TX_PACKETS_S of the first network card */
	V_QUIT = 24,     /* → OK, then vmm ends: reason "killed" */
	V_EXITED = 25,   /* v→c, last frame: REASON TEXT */
	V_RESIZE = 28,   /* c→v: DISK_INDEX: its file has grown → OK DISK_BYTES, of which the guest is told; ERR 404 no such disk */
	V_DISK = 29,     /* v→c, unasked, and after V_HELLO: DISK_INDEX DISK_ERRNO: the host fails that disk (its guest gets I/O errors), or, 0, does no more */
	V_NET = 40,      /* c→v: [NET_INDEX] [HEAL(1): all below back to nothing] [CUT(0/1) DELAY_US JITTER_US LOSS_PPM RX_BYTES_S TX_BYTES_S RX_PACKETS_S
	                    TX_PACKETS_S: what is absent stays] → OK with all of these as they are now, STAT* (names of vmm/dev/net.h);
	                    ERR 404 no such card, 400 a value out of range */
};
/* REASON words: "poweroff" "reboot" "killed" ended as asked; "panic" "triple-fault" "kvm-error" "device" "vmm" failures, TEXT says the rest:
 * registers, and what the console said last stands in the console log. */

enum vmm_tag { /* u64 unless said */
	V_T_VERSION = 16, /* str */ V_T_STATE, /* str: new running paused */ V_T_VCPUS, V_T_RAM_BYTES, V_T_CMDLINE, /* str */
	V_T_KERNEL_FD, V_T_INITRD_FD, V_T_CONSOLE_FD, V_T_REPORT_FD,
	V_T_DISK,    /* record: FD [BASE_FD MAP_FD] [READONLY(1) ID str ≤ 20 bytes] [BYTES_S OPS_S: limits]; /dev/vda, vdb, … in order. Raw, or over
	                a base (lib/disk) */
	V_T_NET,     /* record: FD (tap, IFF_VNET_HDR|IFF_NO_PI; one for each queue pair, 1 to 4), MAC (6 bytes) [RX_BYTES_S TX_BYTES_S RX_PACKETS_S
	                TX_PACKETS_S: limits for good] */
	V_T_CID, V_T_FD, V_T_READONLY, V_T_ID, /* str */ V_T_MAC, /* bytes */
	V_T_PORT, V_T_GUEST_PORT, V_T_REASON, /* str */ V_T_TEXT, /* str */
	V_T_STAT,    /* record: NAME str, VALUE; counters of vmm/machine/stats.h */
	V_T_NAME, /* str */ V_T_VALUE,
	V_T_NO_ACPI, /* 1: refused today (400): without ACPI a guest of ours has no interrupts */
	V_T_EPHEMERAL, /* in V_BOOT, 1: the VM ends (reason "killed") when core's connection does; for `mica run`, which nobody adopts */
	V_T_BASE_FD, V_T_MAP_FD, /* of a disk */
	V_T_NET_INDEX = 64, V_T_HEAL, V_T_CUT, V_T_DELAY_US, V_T_JITTER_US, V_T_LOSS_PPM, V_T_RX_BYTES_S, V_T_TX_BYTES_S, V_T_RX_PACKETS_S, V_T_TX_PACKETS_S,
	V_T_DISK_INDEX = 96, V_T_DISK_BYTES, V_T_BYTES_S, V_T_OPS_S, V_T_DISK_ERRNO,
};

#endif
