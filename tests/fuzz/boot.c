/* The kernel loader (vmm/x86/boot.h): byte 0 says whether the file is the initrd, too; the rest is the kernel file. 16 MiB of RAM. */
#include <stdlib.h>
#include <unistd.h>

#include "vmm/x86/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static int fd = -1;
	struct boot_files files = { .initrd_fd = -1, .cmdline = "console=ttyS0" };
	struct boot_entry entry = { .mode = BOOT_PVH };
	struct fault f = { "" };
	int err;

	if (!size)
		return 0;
	if (fd < 0)
		fd = memfd_new("kernel");
	if (fd < 0 || gm_init(&gm, 16 << 20, NULL))
		abort();
	if (ftruncate(fd, 0) || pwrite_full(fd, data + 1, size - 1, 0))
		abort();
	files.kernel_fd = fd;
	if (data[0] & 1)
		files.initrd_fd = fd;
	err = boot_load(&gm, &files, &entry, &f);
	/* refused with a sentence, or an entry in RAM that a vCPU may jump to */
	if (err ? err > 0 || !f.text[0] : entry.entry_gpa >= 16 << 20 || entry.kernel_end_gpa > 16 << 20)
		abort();
	gm_done(&gm);
	return 0;
}
