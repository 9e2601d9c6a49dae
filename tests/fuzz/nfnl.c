/* Any bytes as what the kernel sends: the packets in it are a guest's, the framing is checked all the same. */
#include <stdlib.h>
#include <string.h>

#include "lib/nfnl/nfnl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *arg, const struct nf_event *e)
{
	(*(unsigned *)arg)++;
	if ((e->t.family != 4 && e->t.family != 6) || strlen(e->prefix) > NF_PREFIX_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned events = 0;
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	nf_read(copy, size, on_event, &events);
	free(copy);
	return 0;
}
