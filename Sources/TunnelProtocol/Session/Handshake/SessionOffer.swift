//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
package import NostrCrypto

/// A session offer that an exit received in a CONNECT, or in an OFFER that repeats it.
package struct SessionOffer: Hashable, Sendable {
    /// The terms of a session: the member `nws` of CONNECT and OFFER. It is encrypted to the exit's long-term key and
    /// has no forward secrecy, so it contains no more than necessary. Other implementations ignore it.
    package struct Terms: Hashable, Sendable {
        /// The versions of the session protocol that the client supports.
        package var versions: [Int64]
        /// 16 random bytes in hexadecimal. All repetitions of an offer contain the same value.
        package var nonce: String
        /// The limits that the client declares.
        package var parameters: SessionParameters { didSet { self.encodedParameters = self.parameters.encoded } }
        /// The parameters as they were received. A proof covers these bytes, which may contain parameters that this
        /// version does not know.
        package fileprivate(set) var encodedParameters: [UInt8]
        /// The exit's session key, to ask whether the exit still has that session. Nil to offer a new session.
        package var session: PublicKey?
        /// The first data of a stream. It can be replayed and has no forward secrecy.
        package var earlyData: EarlyData?
        /// Proves that the exit knows the client. An exit with an access list ignores offers without a valid one.
        package var proof: OfferProof?

        /// Creates terms.
        package init(
            versions: [Int64] = [SessionConfiguration.version],
            nonce: String,
            parameters: SessionParameters,
            session: PublicKey? = nil,
            earlyData: EarlyData? = nil
        ) {
            self.versions = versions
            self.nonce = nonce
            self.parameters = parameters
            self.encodedParameters = parameters.encoded
            self.session = session
            self.earlyData = earlyData
        }
    }

    /// Data that a client sends together with the offer of a session.
    package struct EarlyData: Hashable, Sendable {
        /// The port of the exit's service.
        package var port: UInt16
        /// The data.
        package var bytes: [UInt8]

        /// Maximum length of early data in bytes.
        package static let maximumLength = 4_096

        /// Creates early data.
        package init(port: UInt16, bytes: [UInt8]) {
            self.port = port
            self.bytes = bytes
        }
    }

    /// The UUID of the CONNECT.
    package let key: String
    /// The terms that the client offers.
    package let terms: Terms
    /// SHA-256 of the plaintext that contained the offer. The exit signs it.
    package let plaintextHash: Bytes32
    /// The date of the event, in seconds since 1970.
    package let createdAt: Int64
    /// The path on which the offer arrived.
    package let path: PathID

    /// Creates a received offer.
    package init(key: String, terms: Terms, plaintextHash: Bytes32, createdAt: Int64, path: PathID) {
        self.key = key
        self.terms = terms
        self.plaintextHash = plaintextHash
        self.createdAt = createdAt
        self.path = path
    }

    /// Encodes an offer as CONNECT, or as OFFER if it is a repetition. The reference implementation would connect again
    /// for each CONNECT.
    package static func plaintext(
        _ terms: Terms,
        key: String,
        destination: String,
        isRepetition: Bool
    ) -> [UInt8] {
        NIP74Message(key: key, kind: isRepetition ? .offer : .connect, destination: destination, terms: terms).encoded()
    }
}

extension SessionOffer.Terms {
    /// Decodes the member `nws`. Returns nil if it is malformed.
    init?(_ value: JSONValue) {
        guard let elements = value["versions"]?.elements, elements.count <= 16,
            let nonce = value["nonce"]?.text, Hex.decode(nonce)?.count == 16,
            let encoded = value["parameters"]?.text.flatMap({ Hex.decode($0) }), encoded.count <= 256,
            let parameters = SessionParameters(encoded: encoded)
        else { return nil }
        let versions = elements.compactMap(\.integer)
        guard versions.count == elements.count else { return nil }
        self.init(versions: versions, nonce: nonce, parameters: parameters)
        self.encodedParameters = encoded
        if let text = value["session"]?.text {
            guard let key = Bytes32(hex: text) else { return nil }
            self.session = PublicKey(unchecked: key)
        }
        if let early = value["early"] {
            guard let port = early["port"]?.integer.flatMap(UInt16.init(exactly:)),
                let bytes = early["data"]?.stringBytes.flatMap({ Base64.decode($0) }),
                bytes.count <= SessionOffer.EarlyData.maximumLength
            else { return nil }
            self.earlyData = SessionOffer.EarlyData(port: port, bytes: bytes)
        }
        if let text = value["proof"]?.text {
            guard let proof = Hex.decode(text).flatMap({ OfferProof(encoded: $0) }) else { return nil }
            self.proof = proof
        }
    }

    /// Writes the value of the member `nws` as JSON.
    func write(into buffer: inout ByteBuffer) {
        buffer.writeString("{\"versions\":[\(self.versions.map(String.init).joined(separator: ","))]")
        buffer.writeString(",\"nonce\":\"\(self.nonce)\",\"parameters\":\"\(Hex.encode(self.parameters.encoded))\"")
        if let session { buffer.writeString(",\"session\":\"\(session.hex)\"") }
        if let earlyData {
            buffer.writeString(",\"early\":{\"port\":\(earlyData.port),\"data\":\"")
            buffer.writeBytes(Base64.encode(earlyData.bytes))
            buffer.writeStaticString("\"}")
        }
        if let proof { buffer.writeString(",\"proof\":\"\(Hex.encode(proof.encoded))\"") }
        buffer.writeStaticString("}")
    }
}
