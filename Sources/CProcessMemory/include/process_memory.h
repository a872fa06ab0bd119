// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_PROCESS_MEMORY_H
#define NWS_PROCESS_MEMORY_H

#include <stddef.h>

// What the allocator took from the system. Only for the GNU C library; elsewhere nothing is known and nothing done.

/// Returns the bytes in memory of which the allocator knows that nobody uses them; 0 if that cannot be told.
/// Takes the time of a walk through what is free.
size_t nws_unused_memory(void);

/// Gives whole pages that nobody uses back to the system.
void nws_return_unused_memory(void);

#endif
