//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// An exit's acceptance of a session offer.
package struct SessionAcceptance: Hashable, Sendable {
    /// The path on which this copy of the acceptance is sent. It is not signed, so that all copies have the same
    /// signature; only the exit can encrypt it for the client.
    package let path: PathID
    /// The signed part.
    package let body: [UInt8]
    package let terms: AcceptanceTerms
    package let signature: SchnorrSignature
    /// Proves that the exit knows the client's credential (``SessionTranscript/exitProvenMessage``). Nil if the offer
    /// contained no proof that this exit could check.
    package let proof: Bytes32?

    /// Creates an acceptance.
    package init(path: PathID, terms: AcceptanceTerms, body: [UInt8], signature: SchnorrSignature, proof: Bytes32?) {
        self.path = path
        self.terms = terms
        self.body = body
        self.signature = signature
        self.proof = proof
    }

    init?(plaintext: [UInt8]) {
        var buffer = ByteBuffer(bytes: plaintext)
        guard buffer.readInteger(as: UInt8.self) == PlaintextKind.acceptance.rawValue,
            let path = try? SessionFrameDecoder.path(&buffer), let body = buffer.readPrefixedBytes(),
            let terms = AcceptanceTerms(encoded: body),
            let signature = buffer.readBytes(length: SchnorrSignature.length).flatMap({ SchnorrSignature($0) }),
            [0, Bytes32.count].contains(buffer.readableBytes)
        else { return nil }
        self.init(
            path: path,
            terms: terms,
            body: body,
            signature: signature,
            proof: Bytes32(Array(buffer.readableBytesView))
        )
    }

    /// The plaintext of the acceptance.
    package var encoded: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(PlaintextKind.acceptance.rawValue)
        buffer.writeVariableLengthInteger(UInt64(self.path.rawValue))
        buffer.writePrefixed(self.body)
        buffer.writeBytes(self.signature.bytes)
        if let proof { buffer.writeBytes(proof.bytes) }
        return Array(buffer.readableBytesView)
    }
}

/// What an exit grants in version 1: the signed body of a ``SessionAcceptance``.
package struct AcceptanceTerms: Hashable, Sendable {
    /// The limits that the exit declares.
    package var parameters: SessionParameters
    /// The ML-KEM-768 ciphertext for the client's key.
    package var ciphertext: [UInt8]
    /// The URLs of the exit's relays. The index of a relay is the number of its path. An empty string means that the
    /// number is not in use.
    package var relays: [String]
    /// Number of bytes that the exit took from the opening in the offer. Nil if it did not open the stream.
    package var openedBytes: UInt64?
    /// Whether the exit requires the client's identity.
    package var wantsIdentity: Bool

    /// Maximum length of a URL in bytes.
    private static let maximumURLLength = 512

    package init(
        parameters: SessionParameters,
        ciphertext: [UInt8],
        relays: [String],
        openedBytes: UInt64? = nil,
        wantsIdentity: Bool = false
    ) {
        self.parameters = parameters
        self.ciphertext = ciphertext
        self.relays = relays
        self.openedBytes = openedBytes
        self.wantsIdentity = wantsIdentity
    }

    /// Decodes a body. Returns nil if it is malformed.
    package init?(encoded: [UInt8]) {
        guard let list = ParameterList(encoded: encoded), let parameters = SessionParameters(list),
            let ciphertext = list[.ciphertext], ciphertext.count == KeyEncapsulation.ciphertextLength,
            let relays = list[.relays].map({ Self.relays(encoded: $0) }) ?? []
        else { return nil }
        self.parameters = parameters
        self.ciphertext = ciphertext
        self.relays = relays
        if list[.opened] != nil {
            guard let bytes = try? list.integer(.opened, missing: 0) else { return nil }
            self.openedBytes = bytes
        }
        self.wantsIdentity = list[.wantsIdentity] != nil
    }

    private static func relays(encoded: [UInt8]) -> [String]? {
        var buffer = ByteBuffer(bytes: encoded)
        var relays: [String] = []
        while buffer.readableBytes > 0 {
            guard relays.count < SessionConfiguration.maximumPaths,
                let url = buffer.readPrefixedText(most: Self.maximumURLLength)
            else { return nil }
            relays.append(url)
        }
        return relays
    }

    /// The encoded body. At most ``SessionConfiguration/maximumPaths`` relays are encoded.
    package var encoded: [UInt8] {
        var list = ParameterList()
        self.parameters.write(into: &list)
        list[.ciphertext] = self.ciphertext
        if let openedBytes { list.set(.opened, to: openedBytes) }
        if self.wantsIdentity { list[.wantsIdentity] = [] }
        var buffer = ByteBuffer()
        for relay in self.relays.prefix(SessionConfiguration.maximumPaths) {
            buffer.writePrefixed(Array(relay.utf8))
        }
        list[.relays] = Array(buffer.readableBytesView)
        return list.encoded
    }
}
