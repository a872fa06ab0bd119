//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The configuration of a session, stored once for all of its parts. An idle session should use little memory.
final class SharedSessionConfiguration: Sendable {
    let value: SessionConfiguration

    init(_ value: SessionConfiguration) { self.value = value }
}
