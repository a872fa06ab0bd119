//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import NostrCrypto

@Suite("Secrets of a session")
struct SessionSecretsTests {
    private static let transcript = Bytes32.sha256(of: [1])

    private static func agreement() throws -> ConversationKey {
        try ConversationKey(secretKey: SecretKey(.sha256(of: [2])), publicKey: SecretKey(.sha256(of: [3])).publicKey)
    }

    @Test("both sides of an encapsulation obtain the same secret, and another ciphertext gives another secret")
    func encapsulation() throws {
        let key = try DecapsulationKey()
        #expect(try key.encapsulationKey.count == KeyEncapsulation.keyLength)
        let result = try KeyEncapsulation.encapsulate(to: try key.encapsulationKey)
        #expect(result.ciphertext.count == KeyEncapsulation.ciphertextLength)
        func secrets(_ secret: SharedSecret) throws -> [UInt8] {
            SessionSecrets(
                agreement: try Self.agreement(),
                encapsulated: secret,
                previous: nil,
                transcript: Self.transcript
            ).rootBytes
        }
        #expect(try secrets(result.secret) == secrets(key.decapsulate(result.ciphertext)))
        var changed = result.ciphertext
        changed[0] ^= 1
        #expect(try secrets(result.secret) != secrets(key.decapsulate(changed)))
        #expect(throws: CryptoError.self) { try key.decapsulate([1, 2, 3]) }
    }

    @Test("a key of which only the seed was kept obtains the same secret")
    func shrunkenKey() throws {
        var key = try DecapsulationKey()
        let encapsulationKey = try key.encapsulationKey
        let result = try KeyEncapsulation.encapsulate(to: encapsulationKey)
        key.shrink()
        #expect(try key.encapsulationKey == encapsulationKey)
        #expect(try key.decapsulate(result.ciphertext).bytes == result.secret.bytes)
    }

    @Test("an encapsulation key of the wrong length, or with a coefficient out of range, is rejected")
    func invalidKey() {
        for key in [[], [UInt8](repeating: 1, count: 1_183), [UInt8](repeating: 0xff, count: 1_184)] {
            #expect(throws: CryptoError.invalidEncapsulationKey) { try KeyEncapsulation.encapsulate(to: key) }
        }
    }

    @Test("the keys depend on each input, and differ by direction")
    func inputs() throws {
        let keys = try (0..<2).map { try DecapsulationKey(seed: [UInt8](repeating: $0, count: 64)) }
        let encapsulated = try keys.map { try KeyEncapsulation.encapsulate(to: $0.encapsulationKey).secret }
        let first = SessionSecrets(
            agreement: try Self.agreement(),
            encapsulated: encapsulated[0],
            previous: nil,
            transcript: Self.transcript
        )
        let others = [
            SessionSecrets(
                agreement: ConversationKey(bytes: .zero),
                encapsulated: encapsulated[0],
                previous: nil,
                transcript: Self.transcript
            ),
            SessionSecrets(
                agreement: try Self.agreement(),
                encapsulated: encapsulated[1],
                previous: nil,
                transcript: Self.transcript
            ),
            SessionSecrets(
                agreement: try Self.agreement(),
                encapsulated: encapsulated[0],
                previous: first,
                transcript: Self.transcript
            ),
            SessionSecrets(
                agreement: try Self.agreement(),
                encapsulated: encapsulated[0],
                previous: nil,
                transcript: .zero
            ),
        ]
        var all: Set<[UInt8]> = []
        for secrets in [first] + others {
            all.formUnion([secrets.clientKey.bytes, secrets.exitKey.bytes, secrets.rootBytes])
        }
        #expect(all.count == 15)
        #expect("\(first) \(keys[0]) \(encapsulated[0])" == "<redacted> <redacted> <redacted>")
    }

    @Test("fields of a tagged hash cannot be exchanged for each other")
    func fields() {
        let hashes: [Bytes32] = [
            .tagged("a", [[1], [2]]), .tagged("a", [[1, 2]]), .tagged("a", [[], [1, 2]]), .tagged("b", [[1], [2]]),
            .tagged("a", [[1], [2], []]),
        ]
        #expect(Set(hashes).count == hashes.count)
        #expect(lengthPrefixed([[7, 8], []]) == [0, 0, 0, 2, 7, 8, 0, 0, 0, 0])
    }
}
