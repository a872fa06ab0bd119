// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef CSQLITE_SHIM_H
#define CSQLITE_SHIM_H

#include <sqlite3.h>

#endif
