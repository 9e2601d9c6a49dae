/*
 * Frames between core and netd (chan, SEQPACKET). netd holds CAP_NET_ADMIN and a netlink socket; every interface it
 * makes is named by core (validated again there) and every rule stands in its own nf_tables table "mica".
 */
#ifndef LIB_WIRE_NETD_H
#define LIB_WIRE_NETD_H

#include "lib/wire/wire.h"

enum netd_type {
	N_BRIDGE_UP = 16,   /* BRIDGE (≤15) GATEWAY "a.b.c.d/len": made if missing, address set, up, forwarding on, masquerade for that subnet → OK */
	N_BRIDGE_DOWN = 17, /* BRIDGE → OK; removes bridge and rules made by N_BRIDGE_UP */
	N_TAP_UP = 18,      /* TAP (≤15) BRIDGE → OK + tap fd (IFF_TAP|IFF_NO_PI|IFF_VNET_HDR, non-blocking), attached to the bridge and up */
	N_TAP_DOWN = 19,    /* TAP → OK, also when it is gone */
	N_LIST = 20,        /* → OK TAP* BRIDGE*: what carries our mark (ifalias "mica") now */
};
enum netd_tag { N_T_BRIDGE = 16, /* str */ N_T_GATEWAY, /* str */ N_T_TAP, /* str, repeats in lists */ };

#endif
