//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Identifies a stream within one engine.
package struct StreamID: Hashable, Sendable {
    /// The number of the stream. In a session it is the stream ID of the frames.
    package let rawValue: UInt64

    /// Creates an identifier from a stream number.
    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

extension StreamID: CustomStringConvertible {
    package var description: String { String(self.rawValue) }
}
