/* Any bytes as a guest's question, and as an upstream's answer to a question that fits it: read, aged, stripped, restored. */
#include <stdlib.h>
#include <string.h>

#include "lib/dns/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const uint8_t *data, size_t size)
{
	uint8_t ask[DNS_HEAD_BYTES + DNS_NAME_WIRE_MAX + 4] = { 0, 0, 1, 0, 0, 1 };
	struct dns_query q;
	struct dns_answer a, b;
	uint8_t *copy;
	size_t n = size < DNS_HEAD_BYTES ? 0 : size - DNS_HEAD_BYTES;

	if (!n)
		return;
	n = n < sizeof(ask) - DNS_HEAD_BYTES ? n : sizeof(ask) - DNS_HEAD_BYTES;
	memcpy(ask + DNS_HEAD_BYTES, data + DNS_HEAD_BYTES, n);
	if (dns_read_query(ask, DNS_HEAD_BYTES + n, &q))
		return;
	if (dns_read_answer(data, size, &q, (uint16_t)(data[0] << 8 | data[1]), &a))
		return;
	copy = malloc(size);
	if (!copy)
		return;
	memcpy(copy, data, size);
	if (!a.truncated) {
		dns_restore(copy, &q);
		if (dns_read_answer(copy, size, &q, q.id, &b) || a.n_addrs != b.n_addrs)
			abort();
		dns_age(copy, size, 3, 3600); /* a name may point into a TTL: then what follows it is another message */
		n = dns_strip_edns(copy, size);
		if (n > size)
			abort();
		dns_read_answer(copy, n, &q, q.id, &b);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[DNS_MESSAGE_MAX];
	struct dns_query q, back;
	uint8_t addr[16];
	int r;

	if (size > DNS_MESSAGE_MAX)
		return 0;
	r = dns_read_query(data, size, &q);
	if (!r) {
		size_t n = dns_write_query(out, &q, 1);

		if (dns_read_query(out, n, &back) || strcmp(back.name, q.name) != 0 || back.type != q.type)
			abort();
		dns_reverse(q.name, addr);
		dns_write_ptr(out, &q, "a.b", 1);
	}
	if (r != -74) /* EBADMSG: nothing is answered */
		dns_write_empty(out, &q, DNS_REFUSED, false, false);
	answer(data, size);
	return 0;
}
