#include "api/core/publish_spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define FORM "write [ADDRESS:]PORT:GUEST-PORT, as 127.0.0.1:8080:80, or [ADDRESS:]PORT:/path/of/a/socket"

static int bad(const char *text, struct fault *f)
{
	return fault_set(f, -EINVAL, "publish '%.100s': " FORM, text);
}

static int take_port(const char *text, size_t n, uint16_t *out)
{
	char digits[6] = "";
	uint64_t v;

	if (!n || n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, n);
	if (parse_u64(digits, 65535, &v) || !v)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}

/* "1.2.3.4" or "[::1]" and the colon behind it; the length of both, 0: there is none, or -EINVAL. */
static ssize_t take_address(const char *text, sa_family_t *family, uint8_t addr[16])
{
	char word[INET6_ADDRSTRLEN] = "";
	bool v6 = *text == '[';
	size_t n = v6 ? strcspn(text, "]") : strcspn(text, ":/");

	*family = v6 ? AF_INET6 : AF_INET;
	if (!v6 && (text[n] != ':' || !memchr(text, '.', n)))
		return 0;
	if (n - v6 >= sizeof(word) || (v6 && (text[n] != ']' || text[n + 1] != ':')))
		return -EINVAL;
	memcpy(word, text + v6, n - v6);
	return inet_pton(*family, word, addr) == 1 ? (ssize_t)(n + v6 + 1) : -EINVAL;
}

static const char *address_text(sa_family_t family, const uint8_t addr[16], char out[INET6_ADDRSTRLEN + 2])
{
	char word[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, addr, word, sizeof(word));
	snprintf(out, INET6_ADDRSTRLEN + 2, family == AF_INET6 ? "[%s]" : "%s", word);
	return out;
}

/* What it is in the guest. shown: as it is written back. */
static int take_guest(const char *text, struct publish_spec *s, char shown[PUBLISH_TEXT_MAX])
{
	char word[INET6_ADDRSTRLEN + 2];
	sa_family_t family;
	uint8_t addr[16];
	uint16_t port;
	ssize_t n;

	if (strncmp(text, "unix:/", 6) == 0)
		text += 5;
	if (*text == '/') {
		size_t len = strlen(text);

		if (len >= sizeof(((struct sockaddr_un *)0)->sun_path) || !utf8_is_valid(text, len))
			return -EINVAL;
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
				return -EINVAL;
		snprintf(s->to, sizeof(s->to), "unix:%s", text);
		snprintf(shown, PUBLISH_TEXT_MAX, "%s", text);
		return 0;
	}
	n = take_address(text, &family, addr);
	if (n < 0 || take_port(text + n, strlen(text + n), &port))
		return -EINVAL;
	if (n)
		snprintf(s->to, sizeof(s->to), "%s:%u", address_text(family, addr, word), port);
	else
		snprintf(s->to, sizeof(s->to), "127.0.0.1:%u", port);
	snprintf(shown, PUBLISH_TEXT_MAX, "%s", n ? s->to : strrchr(s->to, ':') + 1);
	return 0;
}

int publish_parse(const char *text, struct publish_spec *out, struct fault *f)
{
	char guest[PUBLISH_TEXT_MAX], host[INET6_ADDRSTRLEN + 2];
	ssize_t n = take_address(text, &out->family, out->addr);
	const char *port = text + (n > 0 ? n : 0);
	size_t digits = strcspn(port, ":");

	if (n == 0) {
		out->family = AF_INET;
		inet_pton(AF_INET, "127.0.0.1", out->addr);
	}
	if (n < 0)
		return fault_set(f, -EINVAL, "publish '%.100s': the address to listen on is an IPv4 address, or an IPv6 address in brackets", text);
	if (*text == '/' || *text == '.')
		return fault_set(f, -EINVAL, "publish '%.100s': the daemon listens on TCP ports only; 'mica vm forward' listens on a unix socket", text);
	if (port[digits] != ':' || take_port(port, digits, &out->port) || take_guest(port + digits + 1, out, guest))
		return bad(text, f);
	n = snprintf(out->text, sizeof(out->text), "%s:%u:%s", address_text(out->family, out->addr, host), out->port, guest);
	return n > 0 && (size_t)n < sizeof(out->text) ? 0 : bad(text, f);
}

static bool is_all(const struct publish_spec *s)
{
	static const uint8_t zeros[16];

	return memcmp(s->addr, zeros, s->family == AF_INET ? 4 : 16) == 0;
}

bool publish_clash(const struct publish_spec *a, const struct publish_spec *b)
{
	if (a->family != b->family || a->port != b->port)
		return false;
	return is_all(a) || is_all(b) || memcmp(a->addr, b->addr, a->family == AF_INET ? 4 : 16) == 0;
}

socklen_t publish_sockaddr(const struct publish_spec *s, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;

	memset(out, 0, sizeof(*out));
	out->ss_family = s->family;
	if (s->family == AF_INET6) {
		v6->sin6_port = htons(s->port);
		memcpy(&v6->sin6_addr, s->addr, 16);
		return sizeof(*v6);
	}
	v4->sin_port = htons(s->port);
	memcpy(&v4->sin_addr, s->addr, 4);
	return sizeof(*v4);
}

/* ---- lists ---- */

int publish_next(const char **at, struct publish_spec *out)
{
	char line[PUBLISH_TEXT_MAX] = "";
	size_t n = strcspn(*at, "\n");
	const char *text = *at;

	if (!*text)
		return 0;
	*at += n + (text[n] == '\n');
	if (n >= sizeof(line))
		return -EINVAL;
	memcpy(line, text, n);
	return publish_parse(line, out, NULL) ? -EINVAL : 1;
}

int publish_add(struct buf *lines, const char *text, struct fault *f)
{
	struct publish_spec one, other;
	const char *at = buf_len(lines) ? buf_cstr(lines) : "";
	unsigned n = 0;
	int err = publish_parse(text, &one, f);

	while (!err && at && publish_next(&at, &other) > 0) { /* at most PUBLISH_MAX */
		n++;
		if (publish_clash(&one, &other))
			err = fault_set(f, -EINVAL, "publish '%s': '%s' takes that port already", one.text, other.text);
	}
	if (!err && n == PUBLISH_MAX)
		err = fault_set(f, -EINVAL, "publish: at most %u ports of one VM", PUBLISH_MAX);
	if (err)
		return err;
	buf_printf(lines, "%s%s", n ? "\n" : "", one.text);
	return lines->failed ? -ENOMEM : 0;
}
