//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Standard base64 with padding (RFC 4648, section 4), strict on input.
public enum Base64 {
    /// The ASCII characters of the encoding of `bytes`.
    public static func encode(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8](Data(bytes).base64EncodedData())
    }

    /// The bytes that `characters` encode; nil unless they are base64 with its padding and nothing else.
    public static func decode(_ characters: [UInt8]) -> [UInt8]? {
        guard let data = Data(base64Encoded: Data(characters)) else { return nil }
        return [UInt8](data)
    }
}
