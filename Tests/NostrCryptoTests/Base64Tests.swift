//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Testing

@testable import NostrCrypto

@Suite("Base64")
struct Base64Tests {
    @Test("encoding and decoding match the vectors of RFC 4648, section 10")
    func vectors() {
        let vectors = [
            "": "", "f": "Zg==", "fo": "Zm8=", "foo": "Zm9v", "foob": "Zm9vYg==", "fooba": "Zm9vYmE=",
            "foobar": "Zm9vYmFy",
        ]
        for (plain, encoded) in vectors {
            #expect(Base64.encode(Array(plain.utf8)) == Array(encoded.utf8))
            #expect(Base64.decode(Array(encoded.utf8)) == Array(plain.utf8))
        }
    }

    @Test("encoding and decoding agree with Foundation for lengths 0 to 499")
    func foundation() {
        for length in 0..<500 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255) }
            let encoded = Base64.encode(bytes)
            #expect(encoded == [UInt8](Data(bytes).base64EncodedData()))
            #expect(Base64.decode(encoded) == bytes)
        }
    }

    @Test(
        "invalid base64 is rejected",
        arguments: [
            "Zg", "Zg=", "Z===", "====", "=g==", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm9-", "Zm9_", "Zm9\u{e9}", "Zg=a",
            "Zm9vZ",
        ]
    )
    func invalid(text: String) {
        #expect(Base64.decode(Array(text.utf8)) == nil)
    }
    @Test("a byte outside the alphabet is rejected at any position")
    func oneInvalid() {
        let good = Base64.encode([UInt8](repeating: 0xa5, count: 150))
        let alphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for byte in UInt8.min...UInt8.max {
            for position in good.indices.dropLast(2) {
                var characters = good
                characters[position] = byte
                #expect((Base64.decode(characters) != nil) == alphabet.contains(byte), "\(byte) at \(position)")
            }
        }
    }
}
