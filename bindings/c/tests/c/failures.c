/* Programs that are not emulators: failures ROOT EMULATOR, where EMULATOR does not answer. */
#include "check.h"

#define PROGRAM "/bin/true"

/* Opens a cache with options that differ from the defaults. */
static capscache *open_with_limits(const char *root)
{
    capscache_error *error;
    capscache_options *options = capscache_options_new(root, &error);
    CHECK_OK(error);
    capscache_options_set_failure_ttl(options, 100000);
    capscache_options_set_timeouts(options, 2000, 2000);
    capscache *cache = capscache_open_with(options, &error);
    CHECK_OK(error);
    capscache_options_free(options);
    return cache;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    capscache_error *error;
    capscache *cache = open_with_limits(argv[1]);
    /* The default limits are 10 s and 60 s. */
    CHECK(capscache_get(cache, argv[2], CAPSCACHE_GROUP_CORE, &error) == NULL);
    CHECK(strstr(capscache_error_message(error), "the 2 s of the whole probe") != NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_TIMED_OUT);
    CHECK(capscache_get(cache, PROGRAM, CAPSCACHE_GROUP_CORE, &error) == NULL);
    CHECK(strcmp(capscache_error_path(error), PROGRAM) == 0);
    CHECK_ERROR(error, CAPSCACHE_CODE_NOT_AN_EMULATOR);

    /* The failure is remembered. */
    capscache_status *status = capscache_status_of(cache, PROGRAM, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == CAPSCACHE_STATE_FAILED);
    CHECK(strlen(capscache_status_reason(status)) > 0);
    /* By default it would be a minute. */
    CHECK(capscache_status_retry_in(status) > 60 && capscache_status_retry_in(status) <= 100000);
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
