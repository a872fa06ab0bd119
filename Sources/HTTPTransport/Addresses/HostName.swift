//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The grammar of host names that untrusted parties supply: an IP address in its usual notation, or a DNS name
/// (RFC 1123, section 2.1, with underscores).
///
/// Resolvers accept more. `getaddrinfo` ends a name at a NUL, and reads `127.1` and `0x7f000001` as addresses, so that
/// rules for names and addresses would not apply to what is connected to.
package enum HostName {
    /// Maximum length of a name, without the final dot.
    package static let maximumLength = 253
    private static let maximumLabelLength = 63
    private static let labelBytes = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_".utf8)

    /// Whether `text` is an IPv4 or IPv6 address, without brackets and zone, or a DNS name, with or without a final dot.
    /// Names with other characters must be given in their ASCII form (RFC 5891).
    package static func isValid(_ text: String) -> Bool {
        guard !text.utf8.contains(0) else { return false }
        if !text.utf8.contains(UInt8(ascii: "%")), SocketAddress.canonicalBytes(of: text) != nil { return true }
        let name = text.hasSuffix(".") ? text.dropLast() : text[...]
        guard !name.isEmpty, name.utf8.count <= Self.maximumLength else { return false }
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        let areValid = labels.allSatisfy { label in
            (1...Self.maximumLabelLength).contains(label.utf8.count) && label.utf8.allSatisfy(Self.labelBytes.contains)
                && label.first != "-" && label.last != "-"
        }
        // No top-level domain begins with a digit (RFC 3696, section 2). Resolvers read such names as addresses.
        guard areValid, let first = labels.last?.utf8.first else { return false }
        return !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
    }
}
