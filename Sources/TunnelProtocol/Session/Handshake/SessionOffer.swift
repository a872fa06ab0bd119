//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// An offer that an exit received in a CONNECT, or in an OFFER that repeats it.
package struct SessionOffer: Hashable, Sendable {
    /// The UUID of the CONNECT.
    package let key: String
    /// The offer.
    package let offer: VersionedOffer
    /// The date of the event, in seconds since 1970.
    package let createdAt: Int64
    /// The path on which the offer arrived.
    package let path: PathID

    /// Creates a received offer.
    package init(key: String, offer: VersionedOffer, createdAt: Int64, path: PathID) {
        self.key = key
        self.offer = offer
        self.createdAt = createdAt
        self.path = path
    }

    /// What the client offers in this implementation's version. Nil if the client does not speak it.
    package var body: [UInt8]? { self.offer.body(of: SessionConfiguration.version) }

    /// Encodes an offer as CONNECT, or as OFFER if it is a repetition. The reference implementation would connect again
    /// for each CONNECT.
    package static func plaintext(
        _ offer: VersionedOffer,
        key: String,
        destination: String,
        isRepetition: Bool
    ) -> [UInt8] {
        NIP74Message(
            key: key,
            kind: isRepetition ? .offer : .connect,
            destination: destination,
            offer: offer.encoded
        ).encoded()
    }
}
