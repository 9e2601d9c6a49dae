#include "vmm/x86/boot.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "vmm/x86/layout.h"

#define ELF_SEGMENTS_MAX 64u
#define ELF_NOTES_MAX_BYTES 65536u
#define ELF_NOTES_MAX 256u
#define XEN_ELFNOTE_PHYS32_ENTRY 18u

/* One PT_LOAD: checks it against the file and RAM, and places it. */
static int elf_segment(const struct boot_kernel *k, const Elf64_Phdr *ph, uint64_t *end_gpa, struct fault *f)
{
	uint64_t file_end, mem_end;

	if (!ph->p_memsz)
		return 0;
	if (ph->p_filesz > ph->p_memsz || add_overflows_u64(ph->p_offset, ph->p_filesz, &file_end) || file_end > k->size_bytes)
		return fault_set(f, -EINVAL, "a segment lies outside the file, which seems to be cut off [E_KERNEL_BAD]");
	if (ph->p_paddr < X86_HIGH_RAM_GPA || add_overflows_u64(ph->p_paddr, ph->p_memsz, &mem_end) || mem_end > k->ram_end_gpa)
		return fault_set(f, -ENOSPC, "it wants memory from 0x%llx on, %llu KiB; the guest has RAM from 0x%x to 0x%llx",
				 (unsigned long long)ph->p_paddr, (unsigned long long)(ph->p_memsz >> 10), X86_HIGH_RAM_GPA,
				 (unsigned long long)k->ram_end_gpa);
	if (mem_end > *end_gpa)
		*end_gpa = mem_end;
	return boot_place(k, ph->p_offset, ph->p_paddr, ph->p_filesz, f);
}

/* Looks through one PT_NOTE's bytes for the PVH entry; true when it is there. */
static bool elf_pvh_note(const uint8_t *p, size_t n, uint64_t *entry)
{
	for (unsigned i = 0; i < ELF_NOTES_MAX && n >= sizeof(Elf64_Nhdr); i++) {
		Elf64_Nhdr h;
		uint64_t name, desc;

		memcpy(&h, p, sizeof(h));
		name = sizeof(h);
		desc = name + (((uint64_t)h.n_namesz + 3) & ~3ull);
		if (desc > n || h.n_descsz > n - desc)
			return false;
		if (h.n_type == XEN_ELFNOTE_PHYS32_ENTRY && h.n_namesz == 4 && !memcmp(p + name, "Xen", 4)) {
			uint64_t v = 0;

			if (h.n_descsz != 4 && h.n_descsz != 8)
				return false;
			memcpy(&v, p + desc, h.n_descsz);
			*entry = v;
			return true;
		}
		desc += ((uint64_t)h.n_descsz + 3) & ~3ull;
		if (desc > n)
			return false;
		p += desc;
		n -= desc;
	}
	return false;
}

static int elf_notes(const struct boot_kernel *k, const Elf64_Phdr *ph, struct boot_entry *out, bool *found)
{
	uint8_t notes[2048];
	uint64_t left = ph->p_filesz < ELF_NOTES_MAX_BYTES ? ph->p_filesz : ELF_NOTES_MAX_BYTES;
	ssize_t n = pread_full(k->fd, notes, left < sizeof(notes) ? left : sizeof(notes), ph->p_offset);

	if (n < 0)
		return (int)n;
	*found = elf_pvh_note(notes, (size_t)n, &out->entry_gpa);
	return 0;
}

/* Where the kernel starts: the PVH note, or the physical entry of a file that is linked to run in the upper half, as
 * every vmlinux is and no program. */
static int elf_entry(const struct boot_kernel *k, const Elf64_Ehdr *eh, const Elf64_Phdr *table, struct boot_entry *out, struct fault *f)
{
	bool pvh = false, plain = false;

	for (unsigned i = 0; i < eh->e_phnum && !pvh; i++) {
		const Elf64_Phdr *ph = &table[i];
		int err = ph->p_type == PT_NOTE ? elf_notes(k, ph, out, &pvh) : 0;

		if (err)
			return fault_errno(f, err, "reading its notes");
		plain |= ph->p_type == PT_LOAD && ph->p_vaddr >> 63 && eh->e_entry >= ph->p_paddr && eh->e_entry - ph->p_paddr < ph->p_filesz;
	}
	if (!pvh && !plain)
		return fault_set(f, -EINVAL, "an ELF file, but no Linux kernel: it has neither a PVH entry nor one of its own in upper memory [E_KERNEL_BAD]");
	out->mode = pvh ? BOOT_PVH : BOOT_LONG;
	if (!pvh)
		out->entry_gpa = eh->e_entry;
	return 0;
}

int boot_elf(const struct boot_kernel *k, const uint8_t *head, struct boot_entry *out, struct fault *f)
{
	Elf64_Ehdr eh;
	Elf64_Phdr table[ELF_SEGMENTS_MAX];
	uint64_t end = 0, table_end;
	size_t table_bytes;
	int err;

	memcpy(&eh, head, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG))
		return -ENOEXEC;
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB || eh.e_machine != EM_X86_64)
		return fault_set(f, -EINVAL, "an ELF file, but not for 64-bit x86 [E_KERNEL_BAD]");
	table_bytes = eh.e_phnum * sizeof(table[0]);
	if (eh.e_phentsize != sizeof(table[0]) || !eh.e_phnum || eh.e_phnum > ELF_SEGMENTS_MAX ||
	    add_overflows_u64(eh.e_phoff, table_bytes, &table_end) || table_end > k->size_bytes)
		return fault_set(f, -EINVAL, "an ELF file without a usable table of segments [E_KERNEL_BAD]");
	if (table_end <= BOOT_HEAD_BYTES) /* it is, in every vmlinux */
		memcpy(table, head + eh.e_phoff, table_bytes);
	else if (pread_full(k->fd, table, table_bytes, eh.e_phoff) != (ssize_t)table_bytes)
		return fault_set(f, -EIO, "its table of segments cannot be read");
	err = elf_entry(k, &eh, table, out, f);
	for (unsigned i = 0; i < eh.e_phnum && !err; i++)
		if (table[i].p_type == PT_LOAD)
			err = elf_segment(k, &table[i], &end, f);
	out->kernel_end_gpa = end;
	if (!err && out->entry_gpa >= end)
		err = fault_set(f, -EINVAL, "an ELF file whose entry lies outside of it");
	return err;
}
