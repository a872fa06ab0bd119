// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_PROCESS_ARGUMENTS_H
#define NWS_PROCESS_ARGUMENTS_H

// Number of arguments of the process; 0 if the system does not pass them to constructors.
int nws_argument_count(void);

// An argument; NULL if there is none. The process owns the text.
const char *nws_argument(int index);

#endif
