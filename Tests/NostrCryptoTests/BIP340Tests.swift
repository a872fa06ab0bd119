//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NostrCrypto
import TestSupport
import Testing

@Suite("BIP-340 signatures")
struct BIP340Tests {
    @Test(
        "signing and verifying match the official BIP-340 vectors"
    )
    func officialVectors() throws {
        let text = String(decoding: try TestVectors.data("bip340-test-vectors.csv"), as: UTF8.self)
        var signed = 0
        var verified = 0
        for line in text.split(whereSeparator: \.isNewline).dropFirst() {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            let message = try #require(Hex.decode(fields[4]))
            let publicKey = PublicKey(unchecked: try #require(Bytes32(hex: fields[2])))
            let signatureBytes = try #require(Hex.decode(fields[5]))
            let signature = try #require(SchnorrSignature(signatureBytes))
            if let secret = Bytes32(hex: fields[1]), let message32 = Bytes32(message) {
                let key = try SecretKey(secret)
                #expect(key.publicKey == publicKey)
                let auxiliary = try #require(Bytes32(hex: fields[3]))
                #expect(try key.sign(message32, auxiliaryRandomness: auxiliary) == signature, "vector \(fields[0])")
                signed += 1
            }
            #expect(
                publicKey.verify(signature, ofBytes: message) == (fields[6] == "TRUE"),
                "vector \(fields[0]): \(fields[7])"
            )
            verified += 1
        }
        #expect(verified == 19)
        #expect(signed == 4)
    }

    @Test("a signature verifies only with its own key and message")
    func roundTrip() throws {
        let key = SecretKey.generate()
        let message = Bytes32.random()
        let signature = try key.sign(message)
        #expect(key.publicKey.verify(signature, of: message))
        #expect(!SecretKey.generate().publicKey.verify(signature, of: message))
        #expect(!key.publicKey.verify(signature, of: .random()))
    }

    @Test("zero and the group order are not valid secret keys")
    func invalidSecrets() {
        #expect(throws: CryptoError.invalidSecretKey) { try SecretKey(.zero) }
        let order = Bytes32(hex: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
        #expect(throws: CryptoError.invalidSecretKey) { try SecretKey(#require(order)) }
    }

    @Test("an x coordinate that is not on the curve is not a valid public key")
    func invalidPublicKeys() {
        let five = Bytes32([UInt8](repeating: 0, count: 31) + [5])
        #expect(throws: CryptoError.invalidPublicKey) { try PublicKey(validating: #require(five)) }
        #expect(throws: CryptoError.invalidPublicKey) { try PublicKey(validating: .zero) }
    }

    @Test("printing or dumping a secret key does not reveal it")
    func redaction() throws {
        let key = SecretKey.generate()
        let hex = try key.exposeBytes().hex
        var dumped = ""
        dump(key, to: &dumped)
        for text in ["\(key)", String(reflecting: key), dumped] {
            #expect(!text.contains(hex))
            #expect(text.contains("<redacted>"))
        }
    }
}
