// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef CQRENCODE_SHIM_H
#define CQRENCODE_SHIM_H

#include <qrencode.h>

#endif
