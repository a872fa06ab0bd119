//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The peer violated the session protocol. The session ends.
struct SessionViolation: Error, Hashable, Sendable {}
