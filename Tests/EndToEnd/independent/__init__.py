# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A second implementation of sessions (PROTOCOL.md, part B), written from the specification alone.

It tests the specification as much as the program. It is small rather than fast, and does less than the specification
allows: it never reconnects to a relay, accepts and sends no openings, and does not look at the limits of relays.
"""
