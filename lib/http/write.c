/* Writing heads. */
#include <string.h>
#include "lib/http/http.h"

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{ 100, "Continue" }, { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" },
	{ 204, "No Content" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" },
	{ 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" },
	{ 411, "Length Required" }, { 413, "Content Too Large" }, { 414, "URI Too Long" }, { 417, "Expectation Failed" },
	{ 426, "Upgrade Required" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
	{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
};

const char *http_reason(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Status";
}

void http_add_status(struct buf *b, int status)
{
	buf_printf(b, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
}

/* Everything but what would end the line. */
static void add_line_text(struct buf *b, const char *s)
{
	while (*s) {
		size_t n = strcspn(s, "\r\n");

		buf_add(b, s, n);
		s += n;
		if (*s)
			s++;
	}
}

void http_add_request(struct buf *b, const char *method, const char *target, const char *host)
{
	add_line_text(b, method);
	buf_adds(b, " ");
	add_line_text(b, target);
	buf_adds(b, " HTTP/1.1\r\n");
	http_add_field(b, "Host", host);
}

void http_add_field(struct buf *b, const char *name, const char *value)
{
	add_line_text(b, name);
	buf_adds(b, ": ");
	add_line_text(b, value);
	buf_adds(b, "\r\n");
}

void http_add_field_u64(struct buf *b, const char *name, uint64_t value)
{
	buf_printf(b, "%s: %llu\r\n", name, (unsigned long long)value);
}

void http_add_end(struct buf *b)
{
	buf_adds(b, "\r\n");
}
