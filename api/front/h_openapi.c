/* GET /openapi.json: the description of this API. A token is needed as for the rest (contract 1.1: only /healthz is open). */
#include "api/front/front.h"
#include "api/front/openapi.h"

void h_openapi(struct req *r)
{
	reply_bytes(r, 200, "application/json", openapi_json, openapi_json_bytes);
}
