//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// The part of an offer that proves to the exit that it knows the client (docs/PROTOCOL.md).
package struct OfferProof: Hashable, Sendable {
    /// The kind of the credential (``Credential/Kind``). An exit ignores a proof of an unknown kind.
    package let kind: UInt8
    /// When the offer was made, in seconds since 1970. All repetitions of an offer contain the same date.
    package let date: Int64
    /// Finds the credential in the exit's list.
    package let hint: UInt64
    /// The message authentication code over the offer.
    package let code: Bytes32

    /// Length of an encoded proof in bytes.
    package static let encodedLength = 1 + 8 + 8 + Bytes32.count

    /// Creates a proof from its parts.
    package init(kind: UInt8, date: Int64, hint: UInt64, code: Bytes32) {
        self.kind = kind
        self.date = date
        self.hint = hint
        self.code = code
    }

    /// Decodes a proof. Returns nil if the length is wrong.
    package init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        guard encoded.count == Self.encodedLength, let kind = buffer.readInteger(as: UInt8.self),
            let date = buffer.readInteger(as: Int64.self), let hint = buffer.readInteger(as: UInt64.self),
            let bytes = buffer.readBytes(length: Bytes32.count), let code = Bytes32(bytes)
        else { return nil }
        self.init(kind: kind, date: date, hint: hint, code: code)
    }

    /// The encoded proof: kind, date, hint and code, each with a fixed width in network byte order.
    package var encoded: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.kind)
        buffer.writeInteger(self.date)
        buffer.writeInteger(self.hint)
        buffer.writeBytes(self.code.bytes)
        return Array(buffer.readableBytesView)
    }
}

extension SessionOffer.Terms {
    /// Adds a proof.
    ///
    /// - Parameters:
    ///   - credential: What the client shares with the exit.
    ///   - exit: The exit's long-term public key.
    ///   - client: The client's session key, which signs the offer.
    ///   - uuid: The UUID of the CONNECT.
    ///   - date: Seconds since 1970.
    package mutating func prove(
        with credential: Credential,
        exit: PublicKey,
        client: PublicKey,
        uuid: String,
        at date: Int64
    ) {
        let hint = credential.hint(at: date)
        let message = self.provenMessage(
            kind: credential.kind.rawValue,
            date: date,
            hint: hint,
            exit: exit,
            client: client,
            uuid: uuid
        )
        self.proof = OfferProof(
            kind: credential.kind.rawValue,
            date: date,
            hint: hint,
            code: credential.proof(of: message)
        )
    }

    /// Returns whether the proof of this offer was made with a credential. False without a proof.
    package func isProven(by credential: Credential, exit: PublicKey, client: PublicKey, uuid: String) -> Bool {
        guard let proof, proof.kind == credential.kind.rawValue else { return false }
        let message = self.provenMessage(
            kind: proof.kind,
            date: proof.date,
            hint: proof.hint,
            exit: exit,
            client: client,
            uuid: uuid
        )
        return credential.isValid(proof.code, of: message)
    }

    /// Everything in the offer that has a meaning, so that no part of it can be used in another offer. Each field is
    /// preceded by its length.
    private func provenMessage(
        kind: UInt8,
        date: Int64,
        hint: UInt64,
        exit: PublicKey,
        client: PublicKey,
        uuid: String
    ) -> [UInt8] {
        var numbers = ByteBuffer()
        numbers.writeInteger(kind)
        numbers.writeInteger(date)
        numbers.writeInteger(hint)
        var early: [UInt8] = []
        if let earlyData { early = [UInt8(earlyData.port >> 8), UInt8(earlyData.port & 0xff)] + earlyData.bytes }
        var buffer = ByteBuffer()
        for field in [
            Array("nws/session/1/offer".utf8), Array(numbers.readableBytesView), exit.bytes.bytes, client.bytes.bytes,
            Array(uuid.utf8), self.versions.flatMap { Array("\($0),".utf8) }, Array(self.nonce.utf8),
            self.encodedParameters, self.session?.bytes.bytes ?? [], early,
        ] {
            buffer.writeVariableLengthInteger(UInt64(field.count))
            buffer.writeBytes(field)
        }
        return Array(buffer.readableBytesView)
    }
}

extension SessionAcceptance {
    /// The message with which the exit proves that it knows the client's credential.
    ///
    /// - Parameters:
    ///   - fresh: The exit's session key.
    ///   - offerHash: SHA-256 of the offer's plaintext.
    package static func provenMessage(
        exit: PublicKey,
        client: PublicKey,
        fresh: PublicKey,
        offerHash: Bytes32
    ) -> [UInt8] {
        Array("nws/session/1/acceptance".utf8) + exit.bytes.bytes + client.bytes.bytes + fresh.bytes.bytes
            + offerHash.bytes
    }
}
