// The header in C++: include ROOT EMULATOR
#include <capscache.h>

#include <cstdio>
#include <memory>

struct Free {
    void operator()(capscache *cache) const { capscache_free(cache); }
    void operator()(capscache_entry *entry) const { capscache_entry_free(entry); }
};

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    std::unique_ptr<capscache, Free> cache(capscache_open(argv[1], nullptr));
    std::unique_ptr<capscache_entry, Free> entry(
        capscache_get(cache.get(), argv[2], CAPSCACHE_GROUP_CORE, nullptr));
    if (capscache_entry_query(entry.get(), "machine:none", nullptr) != CAPSCACHE_TRI_YES) {
        return 1;
    }
    std::puts("passed");
    return 0;
}
