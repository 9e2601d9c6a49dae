/*
 * vmm/x86/boot.h: places a kernel, its initrd and what the boot protocols want into guest memory, and says where the first vCPU
 * starts. Kernels: ELF vmlinux (PVH entry note, else the 64-bit entry), bzImage (boot protocol ≥ 2.12). The files are
 * hostile: every offset and size is checked against the file and the guest's RAM, every loop is counted. Sources: Linux
 * Documentation/arch/x86/boot.rst, Xen docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h, the ELF-64 specification.
 * Knows no KVM. Once, on the building thread.
 */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H

#include "vmm/mem/gm.h"

enum boot_mode {
	BOOT_PVH,    /* 32-bit protected mode, no paging, ebx = info_gpa */
	BOOT_LONG,   /* 64-bit mode, identity page tables, rsi = info_gpa */
};

/* What the loaders found. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t entry_gpa;
	uint64_t info_gpa;       /* hvm_start_info or boot_params */
	uint64_t kernel_end_gpa; /* nothing of the kernel, its bss and its own scratch lies above */
};

struct boot_files {
	int kernel_fd;     /* borrowed, regular file */
	int initrd_fd;     /* borrowed; -1 for none */
	const char *cmdline;
};

/* Everything: recognises the kernel, loads it and the initrd, writes command line, memory map and entry structures. RSDP is at
 * X86_ACPI_GPA. 0 or -errno with a sentence that begins with the file at fault ("kernel: ", "initrd: "). fstat pread mmap. */
int boot_load(struct gm *gm, const struct boot_files *files, struct boot_entry *out, struct fault *f);

/* ---- between the files of this loader ---- */

struct boot_kernel { /* a kernel file being read */
	struct gm *gm;       /* borrowed */
	int fd;              /* borrowed */
	uint64_t size_bytes;
	uint64_t ram_end_gpa; /* RAM that starts at 0 ends here */
};

#define BOOT_HEAD_BYTES 4096u
/* head: the first BOOT_HEAD_BYTES of the file (zeroes beyond its end). -ENOEXEC: not this format. */
int boot_elf(const struct boot_kernel *k, const uint8_t *head, struct boot_entry *out, struct fault *f);
int boot_bzimage(const struct boot_kernel *k, const uint8_t *head, struct boot_entry *out, struct fault *f);
/* File bytes [off, +len) to gpa: whole pages by mapping when alignment allows it, the rest by copying. */
int boot_place(const struct boot_kernel *k, uint64_t off, uint64_t gpa, uint64_t len, struct fault *f);

#endif
