/* An emulator that changes after it was probed: stale ROOT EMULATOR, where EMULATOR is a script that may be changed. */
#include "check.h"

static void append_line(const char *path)
{
    FILE *file = fopen(path, "a");
    CHECK(file != NULL);
    CHECK(fputs("# changed\n", file) >= 0);
    CHECK(fclose(file) == 0);
}

static void check_state(const capscache *cache, const char *emulator, capscache_state state)
{
    capscache_error *error;
    capscache_status *status = capscache_status_of(cache, emulator, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == state);
    capscache_status_free(status);
}

/* Each of the two ways removes the entry once. */
static void check_invalidation(const capscache *cache, const char *emulator)
{
    capscache_error *error;
    for (int all = 0; all <= 1; all++) {
        capscache_entry *entry = capscache_get(cache, emulator, CAPSCACHE_GROUP_CORE, &error);
        CHECK_OK(error);
        capscache_entry_free(entry);
        check_state(cache, emulator, CAPSCACHE_STATE_VALID);
        for (int64_t found = 1; found >= 0; found--) {
            CHECK((all ? capscache_invalidate_all(cache, &error)
                       : capscache_invalidate(cache, emulator, &error)) == found);
            CHECK_OK(error);
            check_state(cache, emulator, CAPSCACHE_STATE_MISSING);
        }
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    const char *emulator = argv[2];
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    CHECK_OK(error);
    capscache_entry *entry = capscache_get(cache, emulator, CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    CHECK(strcmp(capscache_entry_executable(entry), emulator) != 0);
    capscache_entry_free(entry);

    append_line(emulator);
    capscache_status *status = capscache_status_of(cache, emulator, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == CAPSCACHE_STATE_STALE);
    CHECK(strcmp(capscache_status_input(status), "emulator") == 0);
    CHECK(strcmp(capscache_status_path(status), emulator) == 0);
    CHECK(strcmp(capscache_status_recorded(status), capscache_status_reason(status)) != 0);
    capscache_status_free(status);
    CHECK(capscache_lookup(cache, emulator, CAPSCACHE_VALIDATION_FAST, &error) == NULL);
    CHECK(strstr(capscache_error_message(error), "changed") != NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_NO_ENTRY);
    capscache_list *list = capscache_list_of(cache, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(capscache_list_status(list, 0)) == CAPSCACHE_STATE_STALE);
    capscache_list_free(list);

    /* The old answers are there for those who take them, and a probe makes new ones. */
    entry = capscache_get_unchecked(cache, emulator, &error);
    CHECK_OK(error);
    CHECK(capscache_entry_query(entry, "machine:none", NULL) == CAPSCACHE_TRI_YES);
    capscache_entry_free(entry);
    entry = capscache_refresh(cache, emulator, CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    capscache_entry_free(entry);
    entry = capscache_lookup(cache, emulator, CAPSCACHE_VALIDATION_THOROUGH, &error);
    CHECK_OK(error);
    capscache_entry_free(entry);
    check_invalidation(cache, emulator);
    capscache_free(cache);
    puts("passed");
    return 0;
}
