#include "vmm/x86/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "vmm/x86/layout.h"

#define SETUP_SECTOR_BYTES 512u
#define SETUP_MAGIC 0x53726448u /* "HdrS" */
#define SETUP_VERSION_MIN 0x020cu
#define ENTRY_64_OFFSET 0x200u

/* Where the protected-mode part goes: where the kernel prefers to run, so that it need not move. */
static uint64_t bzimage_target(const struct setup_header *h, uint64_t ram_end_gpa)
{
	uint64_t want = h->pref_address, end;

	if (want >= X86_HIGH_RAM_GPA && !(want & (GM_PAGE_BYTES - 1)) && !add_overflows_u64(want, h->init_size, &end) && end <= ram_end_gpa)
		return want;
	return X86_HIGH_RAM_GPA;
}

int boot_bzimage(const struct boot_kernel *k, const uint8_t *head, struct boot_entry *out, struct fault *f)
{
	struct setup_header h;
	uint64_t setup_bytes, payload_bytes, target, need, end;

	memcpy(&h, head + offsetof(struct boot_params, hdr), sizeof(h));
	if (h.boot_flag != 0xaa55 || h.header != SETUP_MAGIC)
		return -ENOEXEC;
	if (h.version < SETUP_VERSION_MIN || !(h.xloadflags & XLF_KERNEL_64) || !(h.loadflags & LOADED_HIGH))
		return fault_set(f, -ENOTSUP, "a bzImage of boot protocol %u.%02u that has no 64-bit entry; Linux 3.8 or newer, 64 bits, is needed",
				 h.version >> 8, h.version & 0xff);
	setup_bytes = ((h.setup_sects ? h.setup_sects : 4u) + 1u) * SETUP_SECTOR_BYTES;
	if (setup_bytes >= k->size_bytes)
		return fault_set(f, -EINVAL, "a bzImage that ends within its setup code: the file is cut off [E_KERNEL_BAD]");
	payload_bytes = k->size_bytes - setup_bytes;
	if (payload_bytes <= ENTRY_64_OFFSET || (uint64_t)h.syssize * 16 > payload_bytes + 15)
		return fault_set(f, -EINVAL, "a bzImage that is cut off [E_KERNEL_BAD]");
	target = bzimage_target(&h, k->ram_end_gpa);
	need = h.init_size > payload_bytes ? h.init_size : payload_bytes;
	if (add_overflows_u64(target, need, &end) || end > k->ram_end_gpa)
		return fault_set(f, -ENOSPC, "it needs %llu MiB to unpack; the guest has too little RAM",
				 (unsigned long long)((need + (1u << 20) - 1) >> 20));
	out->mode = BOOT_LONG;
	out->entry_gpa = target + ENTRY_64_OFFSET;
	out->kernel_end_gpa = end;
	return boot_place(k, setup_bytes, target, payload_bytes, f);
}
