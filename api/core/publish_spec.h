/*
 * One published port as people write it: "[ADDRESS:]PORT:GUEST". ADDRESS is an IPv4 address or an IPv6 one in brackets, 127.0.0.1 when
 * absent; GUEST a port (of the guest's 127.0.0.1), an ADDRESS:PORT as the guest sees it, or the path of a unix socket there. Pure.
 */
#ifndef API_CORE_PUBLISH_SPEC_H
#define API_CORE_PUBLISH_SPEC_H

#include <netinet/in.h>

#include "lib/base/buf.h"

#define PUBLISH_MAX 32u        /* of one VM */
#define PUBLISH_TEXT_MAX 200u  /* bytes of one, with NUL */
#define PUBLISH_LINES_MAX (PUBLISH_MAX * PUBLISH_TEXT_MAX)

struct publish_spec {
	sa_family_t family;
	uint8_t addr[16];             /* network order; 4 bytes of AF_INET */
	uint16_t port;
	char to[128];                 /* as the agent takes it: "127.0.0.1:80", "unix:/run/x.sock" */
	char text[PUBLISH_TEXT_MAX];  /* the whole, in one spelling */
};

/* 0, or -EINVAL with a sentence. */
int publish_parse(const char *text, struct publish_spec *out, struct fault *f);
/* Can both listen at once? An address of all covers every one of its family; [::] is IPv6 alone. */
bool publish_clash(const struct publish_spec *a, const struct publish_spec *b);
socklen_t publish_sockaddr(const struct publish_spec *s, struct sockaddr_storage *out);

/* Lists as text, one a line. Adds one: 0; -EINVAL (also: one that clashes with an earlier one, or more than PUBLISH_MAX); -ENOMEM. */
int publish_add(struct buf *lines, const char *text, struct fault *f);
/* The next of them from *at on: 1; 0 no more; -EINVAL: that line is none (*at is behind it). */
int publish_next(const char **at, struct publish_spec *out);

#endif
