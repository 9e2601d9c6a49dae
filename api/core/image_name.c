/* What an image may be called, and what may be said of it. */
#include <stdio.h>
#include <string.h>

#include "api/core/images.h"

bool image_name_complete(const char *name, char *out)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@-";
	const char *last = strrchr(name, '/');
	size_t n = strlen(name);

	if (!n || n + sizeof(":latest") > IMAGE_NAME_MAX || strspn(name, chars) != n || !strchr(chars, name[0]) || strchr("._/:@-", name[0]) ||
	    strchr("._/:@-", name[n - 1]) || strstr(name, "//") || strncmp(name, "img-", 4) == 0)
		return false;
	snprintf(out, IMAGE_NAME_MAX + 1, "%s%s", name, strpbrk(last ? last : name, ":@") ? "" : ":latest");
	return true;
}

/* Goes into one line of the meta file and into answers as it is. */
bool image_report_is_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return n <= IMAGE_REPORT_MAX && utf8_is_valid(s, n);
}
