//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto

/// An event that is ready to be published.
struct SealedMessage {
    let id: EventID
    /// The EVENT message of the event.
    let message: ByteBuffer

    func publish(on relay: RelayConnection, completion: @escaping (PublishResult) -> Void) {
        relay.publish(self.id, self.message, completion: completion)
    }
}

/// Encrypts and signs messages to one peer (sealing), and decrypts messages from this peer (opening).
///
/// It holds one pair of keys for plain NIP-74. For a session, it holds one pair for each generation that is not erased.
/// The memory of removed keys is overwritten (``SecretKey``).
struct MessageSealer {
    private struct Pair {
        let own: SecretKey
        let peer: PublicKey
        let conversation: ConversationKey

        init(own: SecretKey, peer: PublicKey) throws(CryptoError) {
            self.own = own
            self.peer = peer
            self.conversation = try ConversationKey(secretKey: own, publicKey: peer)
        }
    }

    /// A decrypted message.
    struct Message {
        let plaintext: [UInt8]
        /// Generation of the keys with which the message was encrypted.
        let generation: Int
        /// Date of the event, in seconds since 1970.
        let createdAt: Int64
    }

    /// The reason why an event was not decrypted.
    enum OpeningError: Error {
        /// The author and the recipient do not match a pair of keys.
        case wrongAuthor
        /// The payload is malformed, or its authentication code is wrong.
        case undecryptable(NIP44Error)
    }

    /// The pair for encryption.
    private var current: Pair
    private var generation = 0
    /// The pairs for decryption, by generation.
    private var pairs: [Int: Pair]
    /// Own keys for which the peer's key is not known yet, by generation.
    private var prepared: [Int: SecretKey] = [:]

    /// - Throws: If the peer's key is not on the curve.
    init(own: SecretKey, peer: PublicKey) throws(CryptoError) {
        let pair = try Pair(own: own, peer: peer)
        self.current = pair
        self.pairs = [0: pair]
    }

    // MARK: Messages

    private func pair(recipient: PublicKey, author: PublicKey) -> (generation: Int, pair: Pair)? {
        // There are at most two pairs.
        for (generation, pair) in self.pairs where pair.peer == author && pair.own.publicKey == recipient {
            return (generation, pair)
        }
        return nil
    }

    /// Returns whether a message from `author` to `recipient` can be decrypted.
    func opens(recipient: PublicKey, author: PublicKey) -> Bool {
        self.pair(recipient: recipient, author: author) != nil
    }

    /// Decrypts an event.
    func open(_ event: Event, recipient: PublicKey) throws(OpeningError) -> Message {
        guard let (generation, pair) = self.pair(recipient: recipient, author: event.pubkey) else { throw .wrongAuthor }
        do throws(NIP44Error) {
            let plaintext = try pair.conversation.open(Array(event.content.readableBytesView))
            return Message(plaintext: plaintext, generation: generation, createdAt: event.createdAt)
        } catch {
            throw .undecryptable(error)
        }
    }

    /// Encrypts and signs a message with the current keys.
    func seal(_ plaintext: [UInt8], createdAt: Int64) throws -> SealedMessage {
        let event = try Event.signed(
            by: self.current.own,
            createdAt: createdAt,
            kind: .tunnelMessage,
            tags: [Tag("p", ByteString(self.current.peer.hex))],
            content: ByteBuffer(bytes: try self.current.conversation.seal(plaintext))
        )
        return SealedMessage(id: event.id, message: ClientMessage.encodeEvent(event))
    }

    // MARK: Keys

    /// The own key of the pair for encryption.
    var own: SecretKey { self.current.own }
    /// The peer's key of the pair for encryption.
    var peer: PublicKey { self.current.peer }
    /// Own keys of all generations.
    var ownKeys: [PublicKey] { self.pairs.values.map(\.own.publicKey) + self.prepared.values.map(\.publicKey) }

    /// Generates an own key for a generation. Returns its public key.
    mutating func prepare(_ generation: Int) -> PublicKey {
        let key = SecretKey.generate()
        self.prepared[generation] = key
        return key.publicKey
    }

    /// Completes a generation with the peer's key.
    mutating func complete(_ generation: Int, peer: PublicKey) throws(CryptoError) {
        guard let own = self.prepared.removeValue(forKey: generation) else { throw .operationFailed }
        self.pairs[generation] = try Pair(own: own, peer: peer)
    }

    /// Encrypts with the keys of a complete generation from now on.
    mutating func use(_ generation: Int) {
        guard let pair = self.pairs[generation] else { return }
        self.generation = generation
        self.current = pair
    }

    /// Erases a generation other than the current one. Returns the own public key of that generation.
    mutating func erase(_ generation: Int) -> PublicKey? {
        guard generation != self.generation else { return nil }
        return self.pairs.removeValue(forKey: generation)?.own.publicKey
    }
}
