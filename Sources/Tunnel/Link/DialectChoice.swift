//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What is spoken with the other side.
public enum DialectChoice: String, Sendable, CaseIterable {
    /// A session where the other side speaks it, plain NIP-74 with others.
    case auto
    /// Sessions and nothing else.
    case session
    /// NIP-74 as the reference speaks it, and no offers.
    case nip74
}
