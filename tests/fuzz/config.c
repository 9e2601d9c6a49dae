/* The daemon's YAML file as any bytes: a config or a sentence with the file's name, never anything else. */
#include <stdlib.h>
#include <string.h>

#include "api/core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct config_host host = { 8ull << 30, 4ull << 20 };
	struct config c;
	struct fault f = { "" };
	int r = config_parse(&c, "f", data, size, &host, &f);

	if (r && strncmp(f.text, "f:", 2) != 0)
		abort();
	for (size_t i = 0; !r && i < c.n_groups; i++)
		if (!c.groups[i].vcpus || c.groups[i].ram_bytes > host.ram_bytes || !config_group(&c, c.groups[i].name))
			abort();
	config_done(&c);
	return 0;
}
