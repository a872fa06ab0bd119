// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef CZLIB_SHIM_H
#define CZLIB_SHIM_H

#include <zlib.h>

#endif
