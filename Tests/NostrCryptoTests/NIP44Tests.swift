//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NostrCrypto
import TestSupport
import Testing

@Suite("NIP-44 version 2")
struct NIP44Tests {
    @Suite("official NIP-44 vectors")
    struct Vectors {
        let valid: [String: Any]
        let invalid: [String: Any]

        init() throws {
            let version2 = try TestVectors.object("nip44.vectors.json").object("v2")
            self.valid = version2.object("valid")
            self.invalid = version2.object("invalid")
        }

        @Test("conversation keys match the vectors")
        func conversationKeys() throws {
            let cases = self.valid.objects("get_conversation_key")
            #expect(cases.count == 35)
            for vector in cases {
                let key = try ConversationKey(
                    secretKey: SecretKey(#require(Bytes32(hex: vector.text("sec1")))),
                    publicKey: PublicKey(unchecked: #require(Bytes32(hex: vector.text("pub2"))))
                )
                #expect(Hex.encode(key.bytes) == vector.text("conversation_key"))
            }
        }

        @Test("conversation keys cannot be derived from invalid keys")
        func invalidConversationKeys() throws {
            let cases = self.invalid.objects("get_conversation_key")
            #expect(cases.count == 8)
            for vector in cases {
                #expect(throws: CryptoError.self, "\(vector.text("note"))") {
                    try ConversationKey(
                        secretKey: SecretKey(#require(Bytes32(hex: vector.text("sec1")))),
                        publicKey: PublicKey(unchecked: #require(Bytes32(hex: vector.text("pub2"))))
                    )
                }
            }
        }

        @Test("message keys match the vectors")
        func messageKeys() throws {
            let vectors = self.valid.object("get_message_keys")
            let key = ConversationKey(bytes: try #require(Bytes32(hex: vectors.text("conversation_key"))))
            #expect(!vectors.objects("keys").isEmpty)
            for vector in vectors.objects("keys") {
                let keys = key.messageKeys(nonce: try #require(Bytes32(hex: vector.text("nonce"))))
                #expect(Hex.encode(keys.chachaKey) == vector.text("chacha_key"))
                #expect(Hex.encode(keys.chachaNonce) == vector.text("chacha_nonce"))
                #expect(Hex.encode(keys.hmacKey) == vector.text("hmac_key"))
            }
        }

        @Test("padded lengths match the vectors")
        func paddedLengths() throws {
            let cases = try #require(self.valid["calc_padded_len"] as? [[Int]])
            #expect(cases.count == 24)
            for pair in cases {
                #expect(NIP44.paddedLength(pair[0]) == pair[1])
            }
        }

        @Test("encryption and decryption match the vectors")
        func sealing() throws {
            let cases = self.valid.objects("encrypt_decrypt")
            #expect(cases.count == 10)
            for vector in cases {
                let key = try ConversationKey(
                    secretKey: SecretKey(#require(Bytes32(hex: vector.text("sec1")))),
                    publicKey: SecretKey(#require(Bytes32(hex: vector.text("sec2")))).publicKey
                )
                #expect(Hex.encode(key.bytes) == vector.text("conversation_key"))
                let plaintext = Array(vector.text("plaintext").utf8)
                let payload = try key.seal(plaintext, nonce: #require(Bytes32(hex: vector.text("nonce"))))
                #expect(String(decoding: payload, as: UTF8.self) == vector.text("payload"))
                #expect(try key.open(payload) == plaintext)
            }
        }

        @Test("encryption and decryption of long messages match the vectors")
        func longMessages() throws {
            let cases = self.valid.objects("encrypt_decrypt_long_msg")
            #expect(cases.count == 3)
            for vector in cases {
                let key = ConversationKey(bytes: try #require(Bytes32(hex: vector.text("conversation_key"))))
                let pattern = Array(vector.text("pattern").utf8)
                let plaintext = Array(repeatElement(pattern, count: vector.integer("repeat")).joined())
                #expect(Bytes32.sha256(of: plaintext).hex == vector.text("plaintext_sha256"))
                let payload = try key.seal(plaintext, nonce: #require(Bytes32(hex: vector.text("nonce"))))
                #expect(Bytes32.sha256(of: payload).hex == vector.text("payload_sha256"))
                #expect(try key.open(payload) == plaintext)
            }
        }

        @Test("invalid payloads are rejected with the expected error")
        func invalidPayloads() throws {
            let cases = self.invalid.objects("decrypt")
            #expect(cases.count == 12)
            for vector in cases {
                let key = ConversationKey(bytes: try #require(Bytes32(hex: vector.text("conversation_key"))))
                let note = vector.text("note")
                let expected: NIP44Error =
                    switch note {
                    case "invalid base64": .invalidBase64
                    case "invalid MAC": .invalidMAC
                    case "invalid padding": .invalidPadding
                    case let note where note.hasPrefix("invalid payload length"): .payloadLength
                    default: .unsupportedVersion
                    }
                let payload = Array(vector.text("payload").utf8)
                // An empty payload has neither a version nor a valid length, so either error is correct.
                let error = #expect(throws: NIP44Error.self, "\(note)") { try key.open(payload) }
                #expect(error == expected || payload.isEmpty, "\(note)")
            }
        }

        @Test("extended lengths match the vectors, and malformed payloads are rejected")
        func extended() throws {
            let vectors = try TestVectors.object("nip44-extended.json")
            let key = ConversationKey(bytes: try #require(Bytes32(hex: vectors.text("conversation_key"))))
            let nonce = try #require(Bytes32(hex: vectors.text("nonce")))
            #expect(vectors.objects("extended").count == 9)
            for vector in vectors.objects("extended") {
                let byte = try #require(Hex.decode(vector.text("plaintext_byte"))?.first)
                let plaintext = [UInt8](repeating: byte, count: vector.integer("plaintext_len"))
                #expect(NIP44.paddedLength(plaintext.count) == vector.integer("padded_len"))
                let payload = try key.seal(plaintext, nonce: nonce)
                #expect(payload.count == vector.integer("payload_len"))
                #expect(NIP44.payloadLength(plaintextLength: plaintext.count) == payload.count)
                #expect(Bytes32.sha256(of: payload).hex == vector.text("payload_sha256"))
                #expect(try key.open(payload) == plaintext)
            }
            #expect(vectors.objects("negative").count == 16)
            for vector in vectors.objects("negative") {
                let payload = Array(vector.text("payload").utf8)
                if vector.text("result_in_generator") == "ACCEPTED" {
                    #expect(try key.open(payload) == Array("a".utf8))
                } else {
                    #expect(throws: NIP44Error.self, "\(vector.text("name"))") { try key.open(payload) }
                }
            }
        }
    }

    @Test("both sides derive the same key, and a modified payload does not decrypt")
    func tampering() throws {
        let alice = SecretKey.generate()
        let bob = SecretKey.generate()
        let here = try ConversationKey(secretKey: alice, publicKey: bob.publicKey)
        let there = try ConversationKey(secretKey: bob, publicKey: alice.publicKey)
        let payload = try here.seal(Array("over the tunnel".utf8))
        #expect(try there.open(payload) == Array("over the tunnel".utf8))
        for index in stride(from: 4, to: payload.count - 4, by: 7) {
            var changed = payload
            changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(throws: NIP44Error.self) { try there.open(changed) }
        }
    }

    @Test(
        "messages of all lengths around the ends of pieces and of paddings are restored",
        arguments: [
            1, 31, 32, 33, 255, 256, 257, 20_480, 20_481, 24_573, 24_574, 24_575, 24_576, 24_577, 32_768, 32_769,
            49_150, 49_151,
            57_345, 65_535, 65_536, 65_537, 73_730, 131_073, 300_000, NIP44.maximumPlaintextLength,
        ]
    )
    func pieces(length: Int) throws {
        let key = ConversationKey(bytes: .random())
        let plaintext = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        let payload = try key.seal(plaintext)
        #expect(payload.count == NIP44.payloadLength(plaintextLength: length))
        #expect(try key.open(payload) == plaintext)
        // A change anywhere is noticed before anything is decrypted.
        for place in [50, payload.count / 2, payload.count - 6] {
            var changed = payload
            changed[place] = changed[place] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(throws: NIP44Error.invalidMAC) { try key.open(changed) }
        }
    }

    @Test("padding inside of a payload is rejected wherever it is")
    func innerPadding() throws {
        let key = ConversationKey(bytes: .random())
        let payload = try key.seal([UInt8](repeating: 1, count: 65_535))
        for start in [0, 40, 44, 32_808, 32_812, 65_576, 65_580] {
            for count in 1...4 {
                var changed = payload
                for place in (start + 4 - count)..<(start + 4) { changed[place] = UInt8(ascii: "=") }
                #expect(throws: NIP44Error.invalidBase64) { try key.open(changed) }
            }
        }
    }

    @Test("an empty or too long plaintext cannot be encrypted", arguments: [0, NIP44.maximumPlaintextLength + 1])
    func refusedLengths(length: Int) throws {
        let key = ConversationKey(bytes: .random())
        #expect(throws: NIP44Error.plaintextLength) { try key.seal([UInt8](repeating: 0, count: length)) }
    }
}
