/* Threads share handles: threads ROOT EMULATOR */
#include "check.h"

#include <pthread.h>

#define THREADS 8
#define ROUNDS 50

struct shared {
    const capscache *cache;
    const char *emulator;
    const capscache_entry *entry;
    const capscache_query *query;
    /* What each thread got for the same names. */
    const void *got[THREADS][3];
};

struct thread {
    pthread_t id;
    int number;
    struct shared *shared;
};

static void *work(void *argument)
{
    struct thread *thread = argument;
    struct shared *shared = thread->shared;
    const void **got = shared->got[thread->number];
    for (int round = 0; round < ROUNDS; round++) {
        capscache_error *error;
        capscache_entry *entry = capscache_get(shared->cache, shared->emulator, CAPSCACHE_GROUP_CORE, &error);
        CHECK_OK(error);
        CHECK(capscache_entry_answer(entry, shared->query) == CAPSCACHE_TRI_YES);
        capscache_entry_free(entry);
        got[0] = capscache_entry_machine(shared->entry, CAPSCACHE_ACCELERATOR_BEST, "none", &error);
        CHECK_OK(error);
        got[1] = capscache_entry_version(shared->entry);
        got[2] = capscache_entry_commands(shared->entry, &error);
        CHECK_OK(error);
        CHECK(capscache_lookup(shared->cache, "/nonexistent", CAPSCACHE_VALIDATION_FAST, &error) == NULL);
        CHECK(error != NULL);
        capscache_error_free(error);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    CHECK_OK(error);
    capscache_entry *entry = capscache_get(cache, argv[2], CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    capscache_query *query = capscache_query_parse("machine:none", &error);
    CHECK_OK(error);

    struct shared shared = { .cache = cache, .emulator = argv[2], .entry = entry, .query = query };
    struct thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i].number = i;
        threads[i].shared = &shared;
        CHECK(pthread_create(&threads[i].id, NULL, work, &threads[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i].id, NULL) == 0);
        CHECK(memcmp(shared.got[i], shared.got[0], sizeof shared.got[0]) == 0);
    }
    capscache_query_free(query);
    capscache_entry_free(entry);
    capscache_free(cache);
    puts("passed");
    return 0;
}
