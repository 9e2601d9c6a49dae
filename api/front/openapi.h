/* The API's description, api/openapi.yaml as JSON: made at build time by tools/openapi.py. Part of front.h's room. */
#ifndef API_FRONT_OPENAPI_H
#define API_FRONT_OPENAPI_H

#include <stddef.h>

extern const char openapi_json[]; /* NUL-terminated */
extern const size_t openapi_json_bytes;

#endif
