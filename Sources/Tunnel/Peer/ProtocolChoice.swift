//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Which protocols are spoken with peers.
public enum ProtocolChoice: String, Sendable, CaseIterable {
    /// Sessions, and plain NIP-74 with peers that do not speak sessions.
    case auto
    /// Only sessions.
    case session
    /// Only plain NIP-74, as the reference implementation speaks it.
    case nip74
}
