#include "vmm/x86/aml.h"

#include <string.h>

enum { AML_NAME_OP = 0x08, AML_BYTE = 0x0a, AML_WORD = 0x0b, AML_DWORD = 0x0c, AML_STRING = 0x0d, AML_QWORD = 0x0e, AML_SCOPE_OP = 0x10,
       AML_BUFFER_OP = 0x11, AML_PACKAGE_OP = 0x12, AML_EXT = 0x5b, AML_DEVICE_OP = 0x82 };

#define AML_LENGTH_BYTES 3u /* we always write the three-byte form: 20 bits */

void aml_raw(struct aml *a, const void *p, size_t n)
{
	if (a->failed || n > a->cap - a->n) {
		a->failed = true;
		return;
	}
	memcpy(a->p + a->n, p, n);
	a->n += n;
}

void aml_u8(struct aml *a, uint8_t v)
{
	aml_raw(a, &v, 1);
}

void aml_u16(struct aml *a, uint16_t v)
{
	aml_raw(a, &v, 2);
}

void aml_u32(struct aml *a, uint32_t v)
{
	aml_raw(a, &v, 4);
}

void aml_u64(struct aml *a, uint64_t v)
{
	aml_raw(a, &v, 8);
}

/* Leaves room for the length; the mark is where it goes. */
static size_t aml_length(struct aml *a)
{
	size_t mark = a->n;

	aml_raw(a, "\0\0", AML_LENGTH_BYTES);
	return mark;
}

void aml_end(struct aml *a, size_t mark)
{
	size_t len = a->n - mark;

	if (a->failed)
		return;
	a->p[mark] = (uint8_t)(0x80 | (len & 0xf)); /* two more bytes follow */
	a->p[mark + 1] = (uint8_t)(len >> 4);
	a->p[mark + 2] = (uint8_t)(len >> 12);
}

size_t aml_scope(struct aml *a, const char *name4)
{
	size_t mark;

	aml_u8(a, AML_SCOPE_OP);
	mark = aml_length(a);
	aml_u8(a, '\\');
	aml_raw(a, name4, 4);
	return mark;
}

size_t aml_device(struct aml *a, const char *name4)
{
	size_t mark;

	aml_u8(a, AML_EXT);
	aml_u8(a, AML_DEVICE_OP);
	mark = aml_length(a);
	aml_raw(a, name4, 4);
	return mark;
}

size_t aml_package(struct aml *a, uint8_t elements)
{
	size_t mark;

	aml_u8(a, AML_PACKAGE_OP);
	mark = aml_length(a);
	aml_u8(a, elements);
	return mark;
}

void aml_name(struct aml *a, const char *name4)
{
	aml_u8(a, AML_NAME_OP);
	aml_raw(a, name4, 4);
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_u8(a, (uint8_t)v); /* ZeroOp, OneOp */
	} else if (v <= UINT8_MAX) {
		aml_u8(a, AML_BYTE);
		aml_u8(a, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		aml_u8(a, AML_WORD);
		aml_u16(a, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		aml_u8(a, AML_DWORD);
		aml_u32(a, (uint32_t)v);
	} else {
		aml_u8(a, AML_QWORD);
		aml_u64(a, v);
	}
}

void aml_str(struct aml *a, const char *s)
{
	aml_u8(a, AML_STRING);
	aml_raw(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

void aml_eisa_id(struct aml *a, const char *id7)
{
	/* three letters of five bits, four digits of four bits, most significant byte first */
	uint32_t v = (uint32_t)(id7[0] - '@') << 26 | (uint32_t)(id7[1] - '@') << 21 | (uint32_t)(id7[2] - '@') << 16 |
		     hex_digit(id7[3]) << 12 | hex_digit(id7[4]) << 8 | hex_digit(id7[5]) << 4 | hex_digit(id7[6]);

	aml_u8(a, AML_DWORD);
	aml_u32(a, __builtin_bswap32(v));
}

size_t aml_resources(struct aml *a)
{
	size_t mark;

	aml_name(a, "_CRS");
	aml_u8(a, AML_BUFFER_OP);
	mark = aml_length(a);
	aml_u8(a, AML_WORD); /* size, filled in at the end */
	aml_u16(a, 0);
	return mark;
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t bytes)
{
	aml_u8(a, 0x86);
	aml_u16(a, 9);
	aml_u8(a, 1); /* read and write */
	aml_u32(a, base);
	aml_u32(a, bytes);
}

void aml_io(struct aml *a, uint16_t port, uint8_t bytes)
{
	aml_u8(a, 0x47);
	aml_u8(a, 1); /* 16-bit decode */
	aml_u16(a, port);
	aml_u16(a, port);
	aml_u8(a, 1); /* alignment */
	aml_u8(a, bytes);
}

void aml_irq_edge(struct aml *a, uint32_t gsi)
{
	aml_u8(a, 0x89);
	aml_u16(a, 6);
	aml_u8(a, 3); /* consumer, edge, active high, exclusive */
	aml_u8(a, 1);
	aml_u32(a, gsi);
}

void aml_resources_end(struct aml *a, size_t mark)
{
	size_t body = mark + AML_LENGTH_BYTES + 3;

	aml_u8(a, 0x79); /* end tag, checksum not used */
	aml_u8(a, 0);
	if (a->failed)
		return;
	a->p[body - 2] = (uint8_t)(a->n - body);
	a->p[body - 1] = (uint8_t)((a->n - body) >> 8);
	aml_end(a, mark);
}
