//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto

extension SealedEventMessage {
    /// - Parameter compresses: Whether to compress the content for a relay that takes that.
    func publish(
        on relay: RelayConnection,
        compresses: Bool = false,
        completion: @escaping (PublishResult) -> Void
    ) {
        var message = self
        message.publishLast(on: relay, compresses: compresses, completion: completion)
    }

    /// Publishes the message for the last time. It need not be copied.
    mutating func publishLast(
        on relay: RelayConnection,
        compresses: Bool = false,
        completion: @escaping (PublishResult) -> Void
    ) {
        relay.publish(
            self.id,
            self.takeMessage(),
            compressing: compresses ? self.content : nil,
            completion: completion
        )
    }
}

/// Encrypts and signs messages to one peer (sealing), and decrypts messages from this peer (opening).
///
/// It holds one pair of keys for plain NIP-74 and for the answers to offers. For a session, it holds one pair for each
/// generation that is not erased. The memory of removed keys is overwritten (``SecretKey``).
struct MessageSealer: Sendable {
    private struct Pair: Sendable {
        let own: SecretKey
        let peer: PublicKey
        let sealing: ConversationKey
        let opening: ConversationKey

        /// A pair for messages as NIP-44 defines them.
        init(own: SecretKey, peer: PublicKey) throws(CryptoError) {
            self.own = own
            self.peer = peer
            self.sealing = try ConversationKey(secretKey: own, publicKey: peer)
            self.opening = self.sealing
        }

        /// A pair for packets of a session.
        init(own: SecretKey, peer: PublicKey, secrets: SessionSecrets, isExit: Bool) {
            self.own = own
            self.peer = peer
            self.sealing = isExit ? secrets.exitKey : secrets.clientKey
            self.opening = isExit ? secrets.clientKey : secrets.exitKey
        }
    }

    /// A decrypted message.
    struct Message {
        let plaintext: ByteBuffer
        /// Generation of the keys with which the message was encrypted.
        let generation: Int
        /// Date of the event, in seconds since 1970.
        let createdAt: Int64
        /// Whether it was encrypted with the key of the answer to the offer: it is no packet of the session.
        var isAnswer = false
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
    /// The key that encrypted the answer to the offer. Nil for plain NIP-74.
    private var handshakeKey: ConversationKey?
    private let isExit: Bool

    /// Creates a sealer for messages as NIP-44 defines them.
    ///
    /// - Throws: If the peer's key is not on the curve.
    init(own: SecretKey, peer: PublicKey) throws(CryptoError) {
        let pair = try Pair(own: own, peer: peer)
        self.current = pair
        self.pairs = [0: pair]
        self.isExit = false
    }

    /// Creates a sealer for the packets of a session.
    ///
    /// - Parameters:
    ///   - answers: The sealer of the answer to the offer, with the same two keys.
    ///   - secrets: The secrets of the handshake.
    ///   - isExit: Whether this node is the exit.
    init(session answers: MessageSealer, secrets: SessionSecrets, isExit: Bool) {
        let pair = Pair(own: answers.own, peer: answers.peer, secrets: secrets, isExit: isExit)
        self.current = pair
        self.pairs = [0: pair]
        self.handshakeKey = answers.current.opening
        self.isExit = isExit
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
            let plaintext = try Self.open(event.content, with: pair.opening)
            return Message(plaintext: plaintext, generation: generation, createdAt: event.createdAt)
        } catch {
            guard generation == 0, let key = self.handshakeKey,
                let plaintext = try? Self.open(event.content, with: key)
            else { throw .undecryptable(error) }
            return Message(plaintext: plaintext, generation: 0, createdAt: event.createdAt, isAnswer: true)
        }
    }

    private static func open(_ content: ByteBuffer, with key: ConversationKey) throws(NIP44Error) -> ByteBuffer {
        var plaintext = ByteBuffer()
        let room = NIP44.maximumLength(ofPayload: content.readableBytes)
        try plaintext.writeWithOutputRawSpan(minimumWritableBytes: room) { output throws(NIP44Error) in
            try key.open(content.readableBytesSpan, to: &output)
        }
        return plaintext
    }

    /// Encrypts and signs a message with the current keys.
    ///
    /// - Parameter work: Minimum number of leading zero bits of the event's ID (NIP-13).
    func seal(_ plaintext: ByteBuffer, createdAt: Int64, work: Int = 0) throws -> SealedEventMessage {
        let tags = [Tag("p", ByteString(self.current.peer.hex))]
        guard work > 0 else {
            return try SealedEventMessage(
                plaintext,
                conversation: self.current.sealing,
                by: self.current.own,
                createdAt: createdAt,
                kind: .tunnelMessage,
                tags: tags
            )
        }
        let event = try Event.signed(
            by: self.current.own,
            createdAt: createdAt,
            kind: .tunnelMessage,
            tags: tags,
            content: ByteBuffer(bytes: try self.current.sealing.seal(Array(plaintext.readableBytesView))),
            work: work
        )
        let message = ClientMessage.encodeEvent(event)
        // The content, which is base64, is written as it is.
        let end = message.readableBytes - ClientMessage.lengthAfterContent
        let content = (end - event.content.readableBytes)..<end
        return SealedEventMessage(id: event.id, message: message, content: content)
    }

    /// Encrypts and signs a message given as an array.
    func seal(_ plaintext: [UInt8], createdAt: Int64) throws -> SealedEventMessage {
        try self.seal(ByteBuffer(bytes: plaintext), createdAt: createdAt)
    }

    // MARK: Keys

    /// The own key of the pair for encryption.
    var own: SecretKey { self.current.own }
    /// The peer's key of the pair for encryption.
    var peer: PublicKey { self.current.peer }
    /// The NIP-44 conversation key of own key and peer. For a session it is an input to its secrets.
    var conversation: ConversationKey { self.current.sealing }
    /// Own keys of all generations.
    var ownKeys: [PublicKey] { self.pairs.values.map(\.own.publicKey) + self.prepared.values.map(\.publicKey) }

    /// Adds an own key for a generation whose other keys are not known yet.
    mutating func prepare(_ generation: Int, own: SecretKey) { self.prepared[generation] = own }

    /// Adds the keys of a generation. They decrypt from now on.
    mutating func add(_ generation: SessionKeyExchange.Generation) {
        self.prepared[generation.number] = nil
        self.pairs[generation.number] = Pair(
            own: generation.own,
            peer: generation.peer,
            secrets: generation.secrets,
            isExit: self.isExit
        )
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
        if generation == 0 { self.handshakeKey = nil }
        return self.pairs.removeValue(forKey: generation)?.own.publicKey
    }
}
