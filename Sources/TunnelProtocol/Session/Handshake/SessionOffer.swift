//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
public import NostrCrypto

/// A client's offer of a session, as an exit got it: CONNECT, or its repetition OFFER, with the member that the reference
/// ignores.
public struct SessionOffer: Hashable, Sendable {
    /// The member `nws` of CONNECT and OFFER. It is all that an exit's long-term key protects, so it says little.
    public struct Terms: Hashable, Sendable {
        /// Versions of the session protocol that the client speaks.
        public var versions: [Int64]
        /// Sixteen random bytes in hex, the same in all repetitions.
        public var nonce: String
        /// What the client allows.
        public var parameters: SessionParameters
        /// Asks whether the exit still has the session of this key of its own; nil to begin one.
        public var session: PublicKey?
        /// First bytes for port ``earlyPort``; they can be replayed, and have no forward secrecy.
        public var earlyData: EarlyData?

        public init(
            versions: [Int64] = [SessionConfiguration.version],
            nonce: String,
            parameters: SessionParameters,
            session: PublicKey? = nil,
            earlyData: EarlyData? = nil
        ) {
            self.versions = versions
            self.nonce = nonce
            self.parameters = parameters
            self.session = session
            self.earlyData = earlyData
        }
    }

    /// What a client sends before it knows that the exit is there.
    public struct EarlyData: Hashable, Sendable {
        public var port: UInt16
        public var bytes: [UInt8]

        /// Most bytes of early data.
        public static let maximumLength = 4_096

        public init(port: UInt16, bytes: [UInt8]) {
            self.port = port
            self.bytes = bytes
        }
    }

    /// The UUID of CONNECT.
    public let key: String
    public let terms: Terms
    /// SHA-256 of the plaintext that carried it: what the exit signs.
    public let plaintextHash: Bytes32
    /// Date of its event.
    public let createdAt: Int64
    /// Where it came.
    public let path: PathID

    /// The plaintext of an offer: CONNECT the first time, OFFER each time after, because the reference would dial again.
    public static func plaintext(
        _ terms: Terms,
        key: String,
        destination: String,
        isRepetition: Bool
    ) -> [UInt8] {
        NIP74Message(key: key, kind: isRepetition ? .offer : .connect, destination: destination, terms: terms).encoded()
    }
}

extension SessionOffer.Terms {
    /// Reads the member; nil if it is not one of ours.
    init?(_ value: JSONValue) {
        guard let versions = value["versions"]?.elements?.compactMap(\.integer), versions.count <= 16,
            let nonce = value["nonce"]?.text, Hex.decode(nonce)?.count == 16,
            let encoded = value["parameters"]?.text.flatMap({ Hex.decode($0) }), encoded.count <= 256,
            let parameters = SessionParameters(encoded: encoded)
        else { return nil }
        self.init(versions: versions, nonce: nonce, parameters: parameters)
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
    }

    /// Writes the member's value.
    func write(into buffer: inout ByteBuffer) {
        buffer.writeString("{\"versions\":[\(self.versions.map(String.init).joined(separator: ","))]")
        buffer.writeString(",\"nonce\":\"\(self.nonce)\",\"parameters\":\"\(Hex.encode(self.parameters.encoded))\"")
        if let session { buffer.writeString(",\"session\":\"\(session.hex)\"") }
        if let earlyData {
            buffer.writeString(",\"early\":{\"port\":\(earlyData.port),\"data\":\"")
            buffer.writeBytes(Base64.encode(earlyData.bytes))
            buffer.writeStaticString("\"}")
        }
        buffer.writeStaticString("}")
    }
}
