/* Makes calls of the C library, as often as it is requested to, and prints how long one took.
 *
 * usage: calls ROOT EMULATOR QUERY…
 *
 * Each line of the standard input names the work: `hit` is a validated get, `answers` opens the cache and the entry and
 * answers all queries. Each is followed by a line with the nanoseconds of one.
 */
#include <capscache.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEAT_FOR_NS 20000000

static int argument_count;
static char **arguments;

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "calls: cannot %s\n", what);
        exit(1);
    }
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void hit(const capscache *cache)
{
    capscache_entry *entry = capscache_get(cache, arguments[2], CAPSCACHE_GROUP_CORE, NULL);
    require(entry != NULL, "get the entry");
    capscache_entry_free(entry);
}

static void answers(void)
{
    capscache *cache = capscache_open(arguments[1], NULL);
    require(cache != NULL, "open the cache");
    capscache_entry *entry = capscache_get_unchecked(cache, arguments[2], NULL);
    require(entry != NULL, "open the entry");
    for (int i = 3; i < argument_count; i++) {
        require(capscache_entry_query(entry, arguments[i], NULL) != CAPSCACHE_TRI_UNKNOWN, arguments[i]);
    }
    capscache_entry_free(entry);
    capscache_free(cache);
}

int main(int argc, char **argv)
{
    argument_count = argc;
    arguments = argv;
    require(argc > 3, "start without arguments");
    capscache *cache = capscache_open(argv[1], NULL);
    require(cache != NULL, "open the cache");
    char work[16];
    while (fgets(work, sizeof work, stdin) != NULL) {
        long long count = 0, began = now_ns(), elapsed;
        do {
            if (strcmp(work, "hit\n") == 0) {
                hit(cache);
            } else {
                answers();
            }
            count++;
            elapsed = now_ns() - began;
        } while (elapsed < REPEAT_FOR_NS);
        printf("%lld\n", elapsed / count);
        fflush(stdout);
    }
    capscache_free(cache);
    return 0;
}
