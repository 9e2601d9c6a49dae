/* V_BOOT as any frame: what core sends a vmm, with descriptors. Whatever it says, each descriptor is taken or closed, once. */
#include "lib/wire/vmm.h"
#include "vmm/machine/request.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct boot_request r;
	struct wire_msg m = { .type = V_BOOT, .id = 1 };
	struct wire_msg checked;
	struct fault f = { "" };
	int fds[4], was[4];
	unsigned n = size ? data[0] % 5 : 0;
	struct wire_field whole = { .tag = V_BOOT };

	if (size < 1)
		return 0;
	whole.p = data + 1;
	whole.n = (uint32_t)(size - 1);
	if (wire_sub(&whole, &checked)) /* as wire_parse has looked through it */
		return 0;
	m.p = checked.p;
	m.n = checked.n;
	for (unsigned i = 0; i < n; i++)
		was[i] = fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (request_parse(&r, &m, fds, n, &f) && !f.text[0])
		abort();
	request_done(&r);
	for (unsigned i = 0; i < n; i++)
		if (fcntl(was[i], F_GETFD) >= 0)
			abort();
	return 0;
}
