/* cli/net: words for a VM's network: numbers with units as people write them, and what a card does to packets in one line. Room card: cli.h. */
#ifndef CLI_NET_H
#define CLI_NET_H

#include "lib/json/json.h"

/* "100ms" "250us" "1s" (at most a minute), "5%", "10mbit" "512kbit" "5MiB" (a second), "5000" "10k". false: it is none. */
bool net_time_us(const char *text, uint64_t *out);
bool net_share_ppm(const char *text, uint64_t *out);
bool net_rate_bytes_s(const char *text, uint64_t *out);
bool net_count(const char *text, uint64_t *out);
/* "cut, delay 100ms ±10ms, loss 5%, in 10mbit"; "" for nothing. v: the API's NetChaos. */
void net_chaos_words(const struct json_val *v, char *dst, size_t cap);

#endif
