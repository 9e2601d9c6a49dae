/*
 * vmm/x86/aml.h: a writer for the few AML terms our DSDT needs (ACPI 6.5 chapter 20), into memory of fixed size. Past
 * its end it turns `failed` and writes no more; check once.
 */
#ifndef VMM_X86_AML_H
#define VMM_X86_AML_H

#include "lib/base/base.h"

struct aml {
	uint8_t *p; /* borrowed */
	size_t n, cap;
	bool failed;
};

void aml_raw(struct aml *a, const void *p, size_t n);
void aml_u8(struct aml *a, uint8_t v);
void aml_u16(struct aml *a, uint16_t v);
void aml_u32(struct aml *a, uint32_t v);
void aml_u64(struct aml *a, uint64_t v);

/* Objects with a length: returns a mark for aml_end. */
size_t aml_scope(struct aml *a, const char *name4);
size_t aml_device(struct aml *a, const char *name4);
size_t aml_package(struct aml *a, uint8_t elements);
void aml_end(struct aml *a, size_t mark);

void aml_name(struct aml *a, const char *name4); /* Name(name4, …): a value follows */
void aml_int(struct aml *a, uint64_t v);
void aml_str(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char *id7); /* "PNP0501" */

/* Buffer that holds resource descriptors; the descriptors; its end. */
size_t aml_resources(struct aml *a);
void aml_memory32(struct aml *a, uint32_t base, uint32_t bytes);
void aml_io(struct aml *a, uint16_t port, uint8_t bytes);
void aml_irq_edge(struct aml *a, uint32_t gsi);
void aml_resources_end(struct aml *a, size_t mark);

#endif
