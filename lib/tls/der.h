/* lib/tls: a small DER writer (X.690) onto a buf. Lengths are put in afterwards, by moving what follows the tag. Room card: tls.h. */
#ifndef LIB_TLS_DER_H
#define LIB_TLS_DER_H

#include "lib/base/buf.h"

enum { DER_INT = 0x02, DER_BITS = 0x03, DER_OCTETS = 0x04, DER_OID = 0x06, DER_UTF8 = 0x0C, DER_UTC_TIME = 0x17, DER_TIME = 0x18, DER_SEQ = 0x30, DER_SET = 0x31 };

void der_put(struct buf *b, uint8_t tag, const void *p, size_t n); /* a whole element, n < 65536 */
size_t der_open(struct buf *b, uint8_t tag);                       /* … and what follows until der_close is inside */
void der_close(struct buf *b, size_t mark);

#endif
