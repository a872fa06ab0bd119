//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The protocols that are used with peers.
public enum ProtocolChoice: String, Sendable, CaseIterable {
    /// Sessions, and plain NIP-74 with peers that do not support sessions.
    case auto
    /// Only sessions.
    case session
    /// Only plain NIP-74, as in the reference implementation.
    case nip74
}
