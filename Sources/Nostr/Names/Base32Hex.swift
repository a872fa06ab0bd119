//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Base32 with the extended hex alphabet (RFC 4648, section 7), in lower case and without padding. NIP-74 names use it.
package enum Base32Hex {
    private static let alphabet: [UInt8] = Array("0123456789abcdefghijklmnopqrstuv".utf8)

    /// Encodes `bytes` in lower case.
    package static func encode(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: FiveBitGroups.encode(bytes).map { Self.alphabet[Int($0)] }, as: UTF8.self)
    }

    /// Decodes `text`, in upper or lower case.
    ///
    /// Returns nil for other characters, for an impossible length and for nonzero unused bits. So apart from case, each
    /// value has exactly one encoding.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var groups: [UInt8] = []
        for character in text.utf8 {
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): groups.append(character - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "v"): groups.append(character - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "V"): groups.append(character - UInt8(ascii: "A") + 10)
            default: return nil
            }
        }
        return FiveBitGroups.decode(groups)
    }
}
