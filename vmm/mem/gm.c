/* Guest memory: the map, the range check, the copies. See gm.h. */
#include "vmm/mem/gm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN_BYTES (2u << 20)

/* The guest changes memory while we read it. After this the compiler may not fetch again what a copy already holds. */
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

/* Address and size → host pointer, or NULL: the one range check of this program. */
static uint8_t *gm_at(const struct gm *gm, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gm->regions; i++) {
		const struct gm_region *r = &gm->region[i];
		uint64_t off = gpa - r->gpa;

		/* A gpa below the region wraps to a huge off: one comparison covers both sides. */
		if (off <= r->len_bytes && len <= r->len_bytes - off)
			return r->host + off;
	}
	return NULL;
}

static void add_region(struct gm *gm, uint64_t gpa, uint64_t len, uint8_t *host)
{
	gm->region[gm->regions++] = (struct gm_region){ gpa, len, host };
}

/* Reserves addresses with slack, so that the memfd can start at a 2 MiB boundary: with huge pages (or a hypervisor's) on both
 * sides of the translation, host and guest addresses must be congruent. */
static int map_memfd(struct gm *gm, uint8_t **ram)
{
	size_t bytes = gm->ram_bytes + ALIGN_BYTES;
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at;

	if (p == MAP_FAILED)
		return -errno;
	gm->map = p;
	gm->map_bytes = bytes;
	at = ((uintptr_t)p + ALIGN_BYTES - 1) & ~(uintptr_t)(ALIGN_BYTES - 1);
	p = mmap((void *)at, gm->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, gm->memfd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* Counts only where the administrator allows shmem huge pages by advice; a failure costs speed alone. */
	(void)madvise(p, gm->ram_bytes, MADV_HUGEPAGE);
	*ram = p;
	return 0;
}

int gm_init(struct gm *gm, uint64_t ram_bytes, struct fault *f)
{
	uint8_t *ram = NULL;
	uint64_t low = ram_bytes < GM_HOLE_GPA ? ram_bytes : GM_HOLE_GPA;
	int err;

	memset(gm, 0, sizeof(*gm));
	gm->memfd = -1;
	if (ram_bytes < GM_RAM_MIN_BYTES || ram_bytes > GM_RAM_MAX_BYTES || ram_bytes % GM_PAGE_BYTES)
		return fault_set(f, -EINVAL, "guest memory: %llu bytes is not a multiple of 4096 from 1 MiB to 1 TiB",
				 (unsigned long long)ram_bytes);
	gm->ram_bytes = ram_bytes;
	gm->memfd = memfd_new("guest-ram");
	if (gm->memfd < 0)
		return fault_errno(f, gm->memfd, "guest memory: memfd_create");
	if (ftruncate(gm->memfd, (off_t)ram_bytes) < 0)
		return fault_errno(f, -errno, "guest memory: ftruncate");
	err = map_memfd(gm, &ram);
	if (err)
		return fault_errno(f, err, "guest memory: mmap");
	add_region(gm, 0, low, ram);
	if (ram_bytes > low)
		add_region(gm, GM_HOLE_END_GPA, ram_bytes - low, ram + low);
	return 0;
}

void gm_done(struct gm *gm)
{
	if (!gm->map && gm->memfd <= 0) /* zeroed, or init refused the size */
		return;
	if (gm->map)
		munmap(gm->map, gm->map_bytes);
	fd_close(&gm->memfd);
	memset(gm, 0, sizeof(*gm));
	gm->memfd = -1;
}

const struct gm_region *gm_region(const struct gm *gm, unsigned i)
{
	return i < gm->regions ? &gm->region[i] : NULL;
}

bool gm_has(const struct gm *gm, uint64_t gpa, uint64_t len_bytes)
{
	return gm_at(gm, gpa, len_bytes) != NULL;
}

int gm_read(const struct gm *gm, uint64_t gpa, void *dst, size_t len)
{
	const uint8_t *p = gm_at(gm, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	COMPILER_BARRIER();
	return 0;
}

int gm_write(struct gm *gm, uint64_t gpa, const void *src, size_t len)
{
	uint8_t *p = gm_at(gm, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	COMPILER_BARRIER();
	return 0;
}

/* Both architectures we know are little endian; elsewhere the copies below would need a swap. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian host");

int gm_read_u16(const struct gm *gm, uint64_t gpa, uint16_t *out)
{
	return gm_read(gm, gpa, out, sizeof(*out));
}
int gm_write_u16(struct gm *gm, uint64_t gpa, uint16_t v)
{
	return gm_write(gm, gpa, &v, sizeof(v));
}
int gm_write_u64(struct gm *gm, uint64_t gpa, uint64_t v)
{
	return gm_write(gm, gpa, &v, sizeof(v));
}

/* An even guest address is an even host address: regions start at page boundaries on both sides. */
static uint16_t *gm_at_u16(const struct gm *gm, uint64_t gpa)
{
	return gpa & 1 ? NULL : (uint16_t *)(void *)gm_at(gm, gpa, sizeof(uint16_t));
}

int gm_load_acquire_u16(const struct gm *gm, uint64_t gpa, uint16_t *out)
{
	const uint16_t *p = gm_at_u16(gm, gpa);

	if (!p)
		return -EFAULT;
	*out = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	return 0;
}

int gm_store_release_u16(struct gm *gm, uint64_t gpa, uint16_t v)
{
	uint16_t *p = gm_at_u16(gm, gpa);

	if (!p)
		return -EFAULT;
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
	return 0;
}

int gm_iov(struct gm *gm, uint64_t gpa, size_t len, struct iovec *out)
{
	uint8_t *p = gm_at(gm, gpa, len);

	if (!p || len == 0)
		return -EFAULT;
	*out = (struct iovec){ p, len };
	__atomic_fetch_add(&gm->iov_live, 1, __ATOMIC_RELAXED);
	return 0;
}

void gm_iov_put(struct gm *gm, unsigned n)
{
	__atomic_fetch_sub(&gm->iov_live, n, __ATOMIC_RELAXED);
}

int gm_map_file(struct gm *gm, uint64_t gpa, int fd, uint64_t file_bytes, uint64_t off, uint64_t len_bytes, struct fault *f)
{
	uint8_t *p = gm_at(gm, gpa, len_bytes);
	uint64_t end;

	if ((gpa | off | len_bytes) % GM_PAGE_BYTES || len_bytes == 0)
		return fault_set(f, -EINVAL, "guest memory: a mapped file must start and end at a page");
	if (!p)
		return fault_set(f, -EFAULT, "guest memory: %llu bytes at 0x%llx are not RAM", (unsigned long long)len_bytes,
				 (unsigned long long)gpa);
	/* The last page may be partly beyond the end of the file: the kernel fills it with zeros. */
	if (add_overflows_u64(off, len_bytes, &end) || file_bytes > INT64_MAX || end > ((file_bytes + GM_PAGE_BYTES - 1) & ~(uint64_t)(GM_PAGE_BYTES - 1)))
		return fault_set(f, -EINVAL, "guest memory: the file to map is shorter than what is asked of it");
	if (mmap(p, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, (off_t)off) == MAP_FAILED)
		return fault_errno(f, -errno, "guest memory: mmap of a file");
	return 0;
}
