#include "vmm/x86/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/x86/layout.h"

#define CMDLINE_MAX 4096u
#define INITRD_BELOW_GPA 0x37ffffffu /* what the oldest kernels of this protocol can reach */
#define PVH_MAGIC 0x336ec578u
#define PVH_VERSION 1u
#define PVH_MODULES_GPA (X86_PVH_INFO_GPA + 0x100)
#define PVH_MEMMAP_GPA (X86_PVH_INFO_GPA + 0x200)

/* Xen's public/arch-x86/hvm/start_info.h, version 1. */
struct pvh_info {
	uint32_t magic, version, flags, modules;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t memmap_entries, reserved;
};
struct pvh_module {
	uint64_t gpa, bytes, cmdline_gpa, reserved;
};
struct pvh_range {
	uint64_t gpa, bytes;
	uint32_t type, reserved;
};

enum { RANGE_RAM = 1, RANGE_RESERVED = 2 };
#define RANGES_MAX (GM_REGIONS_MAX + 2u)

struct boot_ranges {
	struct pvh_range r[RANGES_MAX];
	unsigned n;
};

struct boot_initrd {
	uint64_t gpa, bytes;
};

int boot_place(const struct boot_kernel *k, uint64_t off, uint64_t gpa, uint64_t len, struct fault *f)
{
	uint8_t bounce[16384];

	if (!((off | gpa) & (GM_PAGE_BYTES - 1)) && len >= GM_PAGE_BYTES) {
		uint64_t whole = len & ~(uint64_t)(GM_PAGE_BYTES - 1);
		int err = gm_map_file(k->gm, gpa, k->fd, k->size_bytes, off, whole, f);

		if (err)
			return err;
		off += whole;
		gpa += whole;
		len -= whole;
	}
	while (len) {
		size_t want = len < sizeof(bounce) ? (size_t)len : sizeof(bounce);
		ssize_t n = pread_full(k->fd, bounce, want, off);

		if (n != (ssize_t)want)
			return fault_set(f, n < 0 ? (int)n : -EIO, "reading it: %s", n < 0 ? strerror((int)-n) : "it became shorter");
		if (gm_write(k->gm, gpa, bounce, want))
			return fault_set(f, -EFAULT, "it does not fit into the guest's RAM");
		off += want;
		gpa += want;
		len -= want;
	}
	return 0;
}

static int boot_kernel(const struct boot_kernel *k, uint8_t head[BOOT_HEAD_BYTES], struct boot_entry *out, struct fault *f)
{
	ssize_t n;
	int err;

	memset(head, 0, BOOT_HEAD_BYTES);
	n = pread_full(k->fd, head, BOOT_HEAD_BYTES, 0);
	if (n < 0)
		return fault_errno(f, (int)n, "reading it");
	err = boot_elf(k, head, out, f);
	if (err == -ENOEXEC)
		err = boot_bzimage(k, head, out, f);
	if (err == -ENOEXEC)
		fault_set(f, err, "neither an ELF vmlinux nor a bzImage (%llu bytes) [E_KERNEL_BAD]", (unsigned long long)k->size_bytes);
	return err;
}

/* As high as RAM and the protocol allow, page aligned, above the kernel. */
static int boot_initrd(const struct boot_kernel *k, const struct boot_entry *entry, int fd, struct boot_initrd *out, struct fault *f)
{
	struct boot_kernel file = { .gm = k->gm, .fd = fd, .ram_end_gpa = k->ram_end_gpa };
	uint64_t top = k->ram_end_gpa < INITRD_BELOW_GPA ? k->ram_end_gpa : INITRD_BELOW_GPA;
	struct stat st;

	out->gpa = out->bytes = 0;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st))
		return fault_errno(f, -errno, "looking at it");
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return fault_set(f, -EINVAL, "not a regular file with something in it");
	file.size_bytes = (uint64_t)st.st_size;
	if (file.size_bytes > top || ((top - file.size_bytes) & ~(uint64_t)(GM_PAGE_BYTES - 1)) < entry->kernel_end_gpa)
		return fault_set(f, -ENOSPC, "%llu KiB do not fit into the guest's RAM beside the kernel",
				 (unsigned long long)(file.size_bytes >> 10));
	out->bytes = file.size_bytes;
	out->gpa = (top - file.size_bytes) & ~(uint64_t)(GM_PAGE_BYTES - 1);
	return boot_place(&file, 0, out->gpa, out->bytes, f);
}

static void ranges_add(struct boot_ranges *r, uint64_t gpa, uint64_t end_gpa, uint32_t type)
{
	if (end_gpa > gpa && r->n < RANGES_MAX)
		r->r[r->n++] = (struct pvh_range){ .gpa = gpa, .bytes = end_gpa - gpa, .type = type };
}

static void boot_memmap(const struct gm *gm, struct boot_ranges *r)
{
	const struct gm_region *region;

	r->n = 0;
	ranges_add(r, 0, X86_LOW_RAM_END, RANGE_RAM);
	ranges_add(r, X86_ACPI_GPA, X86_HIGH_RAM_GPA, RANGE_RESERVED);
	for (unsigned i = 0; (region = gm_region(gm, i)); i++)
		ranges_add(r, region->gpa ? region->gpa : X86_HIGH_RAM_GPA, region->gpa + region->len_bytes, RANGE_RAM);
}

static int boot_pvh(struct gm *gm, const struct boot_initrd *initrd, const struct boot_ranges *ranges)
{
	struct pvh_info info = {
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.modules = initrd->bytes ? 1 : 0,
		.modules_gpa = initrd->bytes ? PVH_MODULES_GPA : 0,
		.cmdline_gpa = X86_CMDLINE_GPA,
		.rsdp_gpa = X86_ACPI_GPA,
		.memmap_gpa = PVH_MEMMAP_GPA,
		.memmap_entries = ranges->n,
	};
	struct pvh_module module = { .gpa = initrd->gpa, .bytes = initrd->bytes };
	int err = gm_write(gm, X86_PVH_INFO_GPA, &info, sizeof(info));

	if (!err)
		err = gm_write(gm, PVH_MODULES_GPA, &module, sizeof(module));
	return err ? err : gm_write(gm, PVH_MEMMAP_GPA, ranges->r, ranges->n * sizeof(ranges->r[0]));
}

/* The kernel's own header, when it is a bzImage, completed by what a boot loader must fill in. */
static void boot_setup_header(struct setup_header *h, const uint8_t *head, const struct boot_initrd *initrd)
{
	const struct setup_header *theirs = (const void *)(head + offsetof(struct boot_params, hdr));
	size_t len = 0;

	if (theirs->boot_flag == 0xaa55 && memcmp(head, "\177ELF", 4)) {
		/* it ends where its first jump leads; we know no more than our headers do */
		len = (0x202u + head[0x201]) - offsetof(struct boot_params, hdr);
		len = len < sizeof(*h) ? len : sizeof(*h);
		memcpy(h, theirs, len);
	}
	h->boot_flag = 0xaa55;
	h->header = 0x53726448;
	h->type_of_loader = 0xff;
	h->loadflags |= LOADED_HIGH;
	h->cmd_line_ptr = X86_CMDLINE_GPA;
	h->ramdisk_image = (uint32_t)initrd->gpa;
	h->ramdisk_size = (uint32_t)initrd->bytes;
	h->setup_data = 0;
}

static int boot_params(struct gm *gm, const uint8_t *head, const struct boot_initrd *initrd, const struct boot_ranges *ranges)
{
	struct boot_params p;

	memset(&p, 0, sizeof(p));
	boot_setup_header(&p.hdr, head, initrd);
	p.acpi_rsdp_addr = X86_ACPI_GPA;
	for (unsigned i = 0; i < ranges->n; i++)
		p.e820_table[i] = (struct boot_e820_entry){ ranges->r[i].gpa, ranges->r[i].bytes, ranges->r[i].type };
	p.e820_entries = (uint8_t)ranges->n;
	return gm_write(gm, X86_BOOT_PARAMS_GPA, &p, sizeof(p));
}

/* The first 4 GiB one to one in 2 MiB pages, and the segment table that the 64-bit protocol asks for. */
static int boot_long_mode(struct gm *gm)
{
	static const uint64_t gdt[4] = { 0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull }; /* 0x10 code, 0x18 data */
	uint64_t pml4 = X86_PAGE_TABLES_GPA, pdpt = pml4 + GM_PAGE_BYTES, pd = pdpt + GM_PAGE_BYTES;
	uint64_t table[512];
	int err = gm_write(gm, X86_GDT_GPA, gdt, sizeof(gdt));

	if (!err)
		err = gm_write_u64(gm, pml4, pdpt | 3);
	for (unsigned i = 0; i < 4 && !err; i++) {
		for (unsigned j = 0; j < 512; j++)
			table[j] = ((uint64_t)i << 30 | (uint64_t)j << 21) | 0x83; /* present, writable, large */
		err = gm_write_u64(gm, pdpt + 8 * i, (pd + i * GM_PAGE_BYTES) | 3);
		if (!err)
			err = gm_write(gm, pd + i * GM_PAGE_BYTES, table, sizeof(table));
	}
	return err;
}

static int boot_cmdline(struct gm *gm, const char *cmdline, struct fault *f)
{
	size_t n = strlen(cmdline) + 1;

	if (n > CMDLINE_MAX)
		return fault_set(f, -E2BIG, "kernel command line: %zu bytes, more than %u", n - 1, CMDLINE_MAX - 1);
	return gm_write(gm, X86_CMDLINE_GPA, cmdline, n) ? fault_set(f, -EFAULT, "kernel command line: no RAM for it") : 0;
}

int boot_load(struct gm *gm, const struct boot_files *files, struct boot_entry *out, struct fault *f)
{
	const struct gm_region *low = gm_region(gm, 0);
	struct boot_kernel k = { .gm = gm, .fd = files->kernel_fd };
	struct boot_initrd initrd;
	struct boot_ranges ranges;
	uint8_t head[BOOT_HEAD_BYTES];
	struct stat st;
	int err;

	if (!low || low->len_bytes <= X86_HIGH_RAM_GPA)
		return fault_set(f, -EINVAL, "RAM: a machine needs more than 1 MiB");
	if (fstat(k.fd, &st))
		return fault_set(f, -errno, "kernel: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "kernel: not a regular file");
	k.size_bytes = (uint64_t)st.st_size;
	k.ram_end_gpa = low->len_bytes;
	err = boot_kernel(&k, head, out, f);
	if (err)
		return fault_wrap(f, err, "kernel");
	err = boot_initrd(&k, out, files->initrd_fd, &initrd, f);
	if (err)
		return fault_wrap(f, err, "initrd");
	err = boot_cmdline(gm, files->cmdline, f);
	if (err)
		return err;
	boot_memmap(gm, &ranges);
	out->info_gpa = out->mode == BOOT_PVH ? X86_PVH_INFO_GPA : X86_BOOT_PARAMS_GPA;
	if (out->mode == BOOT_PVH)
		err = boot_pvh(gm, &initrd, &ranges);
	else
		err = boot_params(gm, head, &initrd, &ranges);
	if (!err && out->mode == BOOT_LONG)
		err = boot_long_mode(gm);
	return err ? fault_errno(f, err, "boot structures") : 0;
}
