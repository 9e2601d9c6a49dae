/* Small kernels, good and bad, as files in memory. tests/fuzz/boot.c goes further. */
#include "tests/unit/gmdrv.h"
#include "vmm/x86/boot.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tap.h"
#include "vmm/x86/layout.h"

#define RAM_BYTES (16u << 20)
#define AT 0x200000u

static struct gm gm;

struct file {
	uint8_t bytes[0x4000];
	size_t n;
};

static int load(const struct file *k, int initrd_fd, struct boot_entry *e, struct fault *f)
{
	AUTO_FD fd = memfd_new("kernel");
	struct boot_files files = { .kernel_fd = fd, .initrd_fd = initrd_fd, .cmdline = "quiet" };
	int err;

	f->text[0] = 0;
	gm_done(&gm);
	if (fd < 0 || gm_init(&gm, RAM_BYTES, f) || pwrite_full(fd, k->bytes, k->n, 0))
		return -EIO;
	err = boot_load(&gm, &files, e, f);
	if (err)
		printf("# %s\n", f->text);
	return err;
}

static Elf64_Phdr *segment(struct file *k, unsigned i)
{
	return (void *)(k->bytes + sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr));
}

static void make_elf(struct file *k, bool pvh)
{
	Elf64_Ehdr *e = (void *)k->bytes;
	static const uint32_t note[] = { 4, 4, 18, 0x6e6558, AT + 16 };

	memset(k, 0, sizeof(*k));
	k->n = 0x3010;
	memcpy(e->e_ident, ELFMAG "\2\1\1", 7);
	e->e_machine = EM_X86_64;
	e->e_entry = AT;
	e->e_phoff = sizeof(*e);
	e->e_phentsize = sizeof(Elf64_Phdr);
	e->e_phnum = 2;
	*segment(k, 0) = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 0x1000, .p_vaddr = 0xffffffff81000000ull, .p_paddr = AT, .p_filesz = 0x2010,
				       .p_memsz = 0x5000 };
	*segment(k, 1) = (Elf64_Phdr){ .p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = 0x800, .p_filesz = sizeof(note) };
	memcpy(k->bytes + 0x800, note, sizeof(note));
	memset(k->bytes + 0x1000, 0x90, 0x2010);
}

static void test_elf(void)
{
	static struct file k;
	struct boot_entry e;
	struct fault f;
	uint8_t got[3] = { 0 };
	uint32_t magic = 0;
	char cmdline[6] = "";

	make_elf(&k, true);
	ok(!load(&k, -1, &e, &f) && e.mode == BOOT_PVH && e.entry_gpa == AT + 16 && e.kernel_end_gpa == AT + 0x5000, "an ELF kernel with a PVH note");
	gm_read(&gm, AT + 0x200e, got, 3);
	ok(got[0] == 0x90 && got[1] == 0x90 && got[2] == 0, "mapped pages, a copied rest, zeroes after it");
	gm_read_u32(&gm, e.info_gpa, &magic);
	gm_read(&gm, X86_CMDLINE_GPA, cmdline, 6);
	ok(magic == 0x336ec578 && !strcmp(cmdline, "quiet"), "hvm_start_info, command line");
	memcpy(k.bytes + 0x2fa0, segment(&k, 0), 2 * sizeof(Elf64_Phdr));
	((Elf64_Ehdr *)(void *)k.bytes)->e_phoff = 0x2fa0;
	memset(segment(&k, 0), 0xff, 2 * sizeof(Elf64_Phdr));
	ok(!load(&k, -1, &e, &f) && e.mode == BOOT_PVH && e.kernel_end_gpa == AT + 0x5000, "its table far into the file");
	make_elf(&k, false);
	ok(!load(&k, -1, &e, &f) && e.mode == BOOT_LONG && e.entry_gpa == AT && e.info_gpa == X86_BOOT_PARAMS_GPA, "without the note: 64-bit entry");
	segment(&k, 0)->p_vaddr = AT;
	ok(load(&k, -1, &e, &f) == -EINVAL && strstr(f.text, "no Linux kernel"), "a program is no kernel");
}

static void test_bad_elf(void)
{
	static struct file k;
	struct boot_entry e;
	struct fault f;

	make_elf(&k, true);
	segment(&k, 0)->p_filesz = 0x3000;
	ok(load(&k, -1, &e, &f) == -EINVAL && strstr(f.text, "cut off"), "a segment outside the file");
	make_elf(&k, true);
	segment(&k, 0)->p_offset = UINT64_MAX - 5;
	ok(load(&k, -1, &e, &f) == -EINVAL, "an offset that wraps");
	make_elf(&k, true);
	segment(&k, 0)->p_memsz = RAM_BYTES;
	ok(load(&k, -1, &e, &f) == -ENOSPC && strstr(f.text, "RAM"), "larger than RAM");
	make_elf(&k, true);
	segment(&k, 0)->p_paddr = UINT64_MAX - 0x1000;
	ok(load(&k, -1, &e, &f) == -ENOSPC, "an address that wraps");
	make_elf(&k, true);
	segment(&k, 0)->p_paddr = 0xe0000;
	ok(load(&k, -1, &e, &f) == -ENOSPC, "over our own tables");
	make_elf(&k, true);
	((Elf64_Ehdr *)(void *)k.bytes)->e_phoff = UINT64_MAX - 8;
	ok(load(&k, -1, &e, &f) == -EINVAL, "a table that wraps");
	make_elf(&k, true);
	((Elf64_Ehdr *)(void *)k.bytes)->e_machine = EM_AARCH64;
	ok(load(&k, -1, &e, &f) == -EINVAL && strstr(f.text, "x86"), "another machine's");
	make_elf(&k, true);
	memset(k.bytes + 0x808, 0xff, 4);
	memset(k.bytes + 0x800, 0xff, 8);
	ok(load(&k, -1, &e, &f) == 0 && e.mode == BOOT_LONG, "a note that lies about its size is none");
	k.n = 0;
	ok(load(&k, -1, &e, &f) == -ENOEXEC && strstr(f.text, "neither"), "an empty file");
}

static struct setup_header *make_bz(struct file *k)
{
	struct setup_header *h = (void *)(k->bytes + 0x1f1);

	memset(k, 0, sizeof(*k));
	k->n = 0x1800;
	h->setup_sects = 3;
	h->boot_flag = 0xaa55;
	h->jump = 0x66eb;
	h->header = 0x53726448;
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->xloadflags = XLF_KERNEL_64;
	h->pref_address = AT;
	h->init_size = 0x10000;
	h->syssize = 0x100;
	return h;
}

static void test_bzimage(void)
{
	static struct file k;
	struct boot_entry e;
	struct boot_params p;
	struct fault f;
	AUTO_FD initrd = memfd_new("initrd");

	make_bz(&k);
	if (pwrite_full(initrd, "initrd", 6, 0))
		return;
	ok(!load(&k, initrd, &e, &f) && e.mode == BOOT_LONG && e.entry_gpa == AT + 0x200, "a bzImage at the place it prefers");
	gm_read(&gm, X86_BOOT_PARAMS_GPA, &p, sizeof(p));
	ok(p.hdr.header == 0x53726448 && p.hdr.ramdisk_size == 6 && p.hdr.ramdisk_image >= e.kernel_end_gpa && !(p.hdr.ramdisk_image & 4095) &&
	   p.hdr.cmd_line_ptr == X86_CMDLINE_GPA && p.acpi_rsdp_addr == X86_ACPI_GPA, "boot parameters, initrd above the kernel");
	ok(p.e820_entries == 3 && p.e820_table[2].addr == 0x100000 && p.e820_table[2].size == RAM_BYTES - 0x100000, "memory map");
	make_bz(&k)->pref_address = 3;
	ok(!load(&k, -1, &e, &f) && e.entry_gpa == 0x100000 + 0x200, "an odd wish: at 1 MiB");
	make_bz(&k)->init_size = UINT32_MAX;
	ok(load(&k, -1, &e, &f) == -ENOSPC && strstr(f.text, "unpack"), "too large to unpack");
	make_bz(&k)->version = 0x20b;
	ok(load(&k, -1, &e, &f) == -ENOTSUP, "too old");
	make_bz(&k)->setup_sects = 64;
	ok(load(&k, -1, &e, &f) == -EINVAL && strstr(f.text, "cut off"), "cut off in its setup");
	make_bz(&k)->syssize = 0x10000;
	ok(load(&k, -1, &e, &f) == -EINVAL && strstr(f.text, "cut off"), "cut off later");
	make_bz(&k);
	if (!ftruncate(initrd, RAM_BYTES))
		ok(load(&k, initrd, &e, &f) == -ENOSPC && strstr(f.text, "initrd"), "an initrd larger than RAM");
	if (!ftruncate(initrd, 0))
		ok(load(&k, initrd, &e, &f) == -EINVAL, "an initrd without anything in it");
}

int main(void)
{
	gm.memfd = -1;
	test_elf();
	test_bad_elf();
	test_bzimage();
	return tap_done();
}
