// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "process_memory.h"

#include <stdio.h>

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 33)
#define NWS_HAS_MALLINFO2
#endif
#endif

#ifdef NWS_HAS_MALLINFO2
#include <malloc.h>
#include <unistd.h>

size_t nws_unused_memory(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return 0;
    size_t size, resident, shared;
    int count = fscanf(file, "%zu %zu %zu", &size, &resident, &shared);
    fclose(file);
    if (count != 3 || resident < shared) return 0;
    size_t own = (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
    struct mallinfo2 information = mallinfo2();
    // `uordblks` covers all arenas. Blocks that were allocated with mmap are counted in `hblkhd`.
    size_t used = information.uordblks + information.hblkhd;
    return own > used ? own - used : 0;
}

void nws_return_unused_memory(void) {
    malloc_trim(0);
}
#else
size_t nws_unused_memory(void) {
    return 0;
}

void nws_return_unused_memory(void) {}
#endif
