//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The reason why a packet cannot be decoded.
package enum SessionDecodingError: Error, Hashable, Sendable {
    /// A field exceeds the rest of the packet, or a text exceeds the maximum length.
    case truncated
    /// A frame type that version 1 does not define.
    case unknownFrame(UInt64)
    /// A number outside of its valid range, for example a negative packet number or an offset of 2^62 or more.
    case outOfRange
    /// The first byte contains an unknown version or kind.
    case unknownKind(UInt8)
    /// The packet has the direction of the reader's own packets, for example because it was reflected.
    case wrongDirection
}
