//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// What a client offers in version 1: the body of a ``VersionedOffer``.
///
/// It is encrypted to the exit's long-term key and has no forward secrecy, so it contains no more than necessary.
package struct OfferTerms: Hashable, Sendable {
    /// The first stream of a session, opened together with the offer.
    package struct Opening: Hashable, Sendable {
        package var request: StreamRequest
        /// The first data of the stream.
        package var data: [UInt8]

        /// Maximum length of the data in bytes.
        package static let maximumDataLength = 4_096

        package init(request: StreamRequest, data: [UInt8]) {
            self.request = request
            self.data = data
        }
    }

    /// The limits that the client declares.
    package var parameters: SessionParameters
    /// What the client offers, or asks.
    package var purpose: Purpose
    /// The first stream, if it is opened together with the session.
    package var opening: Opening?

    package enum Purpose: Hashable, Sendable {
        /// A new session. The value is the client's ML-KEM-768 key.
        case session(encapsulationKey: [UInt8])
        /// The question whether the exit still has the session with this key of the exit.
        case query(PublicKey)
    }

    /// The key of the session that the client asks about; nil if it offers a new one.
    package var queriedSession: PublicKey? {
        guard case .query(let key) = self.purpose else { return nil }
        return key
    }

    package init(parameters: SessionParameters, purpose: Purpose, opening: Opening? = nil) {
        self.parameters = parameters
        self.purpose = purpose
        self.opening = opening
    }

    /// Decodes a body. Returns nil if it is malformed.
    package init?(encoded: [UInt8]) {
        guard let list = ParameterList(encoded: encoded), let parameters = SessionParameters(list) else { return nil }
        self.parameters = parameters
        if let session = list[.session] {
            guard let key = Bytes32(session) else { return nil }
            self.purpose = .query(PublicKey(unchecked: key))
        } else if let key = list[.encapsulationKey], key.count == KeyEncapsulation.keyLength {
            self.purpose = .session(encapsulationKey: key)
        } else {
            return nil
        }
        if let opening = list[.opening] {
            guard let opening = Opening(encoded: opening) else { return nil }
            self.opening = opening
        }
    }

    /// The encoded body.
    package var encoded: [UInt8] {
        var list = ParameterList()
        self.parameters.write(into: &list)
        switch self.purpose {
        case .session(let key): list[.encapsulationKey] = key
        case .query(let session): list[.session] = session.bytes.bytes
        }
        if let opening { list[.opening] = opening.encoded }
        return list.encoded
    }
}

extension OfferTerms.Opening {
    fileprivate init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        guard let port = buffer.readVariableLengthInteger().flatMap(UInt16.init(exactly:)),
            let destination = buffer.readPrefixedText(most: SessionFrame.maximumTextLength),
            buffer.readableBytes <= Self.maximumDataLength
        else { return nil }
        self.init(
            request: StreamRequest(destination: destination, port: port),
            data: Array(buffer.readableBytesView)
        )
    }

    fileprivate var encoded: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeVariableLengthInteger(UInt64(self.request.port ?? 0))
        buffer.writePrefixed(Array(self.request.destination.utf8))
        buffer.writeBytes(self.data)
        return Array(buffer.readableBytesView)
    }
}
