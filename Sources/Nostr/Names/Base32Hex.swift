//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Base32 with the extended hex alphabet (RFC 4648, section 7), lower case, without padding, as NIP-74 names use it.
public enum Base32Hex {
    private static let alphabet: [UInt8] = Array("0123456789abcdefghijklmnopqrstuv".utf8)

    /// The lower-case characters of `bytes`.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: FiveBitGroups.encode(bytes).map { Self.alphabet[Int($0)] }, as: UTF8.self)
    }

    /// The bytes of characters of either case; nil for other characters, impossible lengths, and unused bits that are
    /// not zero (one value has one spelling).
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
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
