/* What CBMC gives a harness: values of any kind, and what may be taken for granted about them. Harnesses include the source they are about,
 * so that its static functions are in reach; what they call elsewhere is a stub that answers anything its contract allows. */
#ifndef TESTS_PROOF_PROOF_H
#define TESTS_PROOF_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSUME(x) __CPROVER_assume(x)
#define PROVE(x, text) __CPROVER_assert(x, text)

uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
int64_t nondet_i64(void);
int nondet_int(void);
bool nondet_bool(void);

#endif
