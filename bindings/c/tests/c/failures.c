/* A program that is not an emulator: failures ROOT EMULATOR */
#include "check.h"

#define PROGRAM "/bin/true"

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    CHECK_OK(error);
    CHECK(capscache_get(cache, PROGRAM, CAPSCACHE_GROUP_CORE, &error) == NULL);
    CHECK(strcmp(capscache_error_path(error), PROGRAM) == 0);
    CHECK_ERROR(error, CAPSCACHE_CODE_NOT_AN_EMULATOR);

    /* The failure is remembered. */
    capscache_status *status = capscache_status_of(cache, PROGRAM, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == CAPSCACHE_STATE_FAILED);
    CHECK(strlen(capscache_status_reason(status)) > 0);
    CHECK(capscache_status_retry_in(status) > 0);
    capscache_status_free(status);
    CHECK(capscache_lookup(cache, PROGRAM, CAPSCACHE_VALIDATION_FAST, &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_NO_ENTRY);

    /* Until it is forgotten. */
    CHECK(capscache_invalidate(cache, PROGRAM, &error) == 0);
    CHECK_OK(error);
    status = capscache_status_of(cache, PROGRAM, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == CAPSCACHE_STATE_MISSING);
    capscache_status_free(status);
    capscache_free(cache);
    puts("passed");
    return 0;
}
