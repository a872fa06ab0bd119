//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// The keys of a link: one pair for NIP-74, and for a session one of each generation that is not erased yet.
///
/// What is dropped here is overwritten (``SecretKey``).
struct LinkKeys {
    /// An own key and a key of the peer, and what both together seal with.
    struct Pair {
        let own: SecretKey
        let peer: PublicKey
        let conversation: ConversationKey

        /// - Throws: If the peer's key is not on the curve.
        init(own: SecretKey, peer: PublicKey) throws(CryptoError) {
            self.own = own
            self.peer = peer
            self.conversation = try ConversationKey(secretKey: own, publicKey: peer)
        }
    }

    /// What is sealed with.
    private(set) var current: Pair
    private var generation = 0
    /// What is opened with, by generation.
    private var pairs: [Int: Pair]
    /// Own keys whose counterpart is not known yet.
    private var prepared: [Int: SecretKey] = [:]

    init(_ pair: Pair) {
        self.current = pair
        self.pairs = [0: pair]
    }

    /// The pair between `recipient`, ours, and `author`.
    func pair(recipient: PublicKey, author: PublicKey) -> (generation: Int, pair: Pair)? {
        // Two at most, and the newest is the likeliest.
        for (generation, pair) in self.pairs where pair.peer == author && pair.own.publicKey == recipient {
            return (generation, pair)
        }
        return nil
    }

    /// A fresh own key of a generation.
    mutating func prepare(_ generation: Int) -> SecretKey {
        let key = SecretKey.generate()
        self.prepared[generation] = key
        return key
    }

    /// The peer's key of a generation.
    mutating func complete(_ generation: Int, peer: PublicKey) throws(CryptoError) {
        guard let own = self.prepared.removeValue(forKey: generation) else { throw .operationFailed }
        self.pairs[generation] = try Pair(own: own, peer: peer)
    }

    mutating func seal(under generation: Int) {
        guard let pair = self.pairs[generation] else { return }
        self.generation = generation
        self.current = pair
    }

    /// Forgets a generation. Returns our key of it.
    mutating func erase(_ generation: Int) -> PublicKey? {
        guard generation != self.generation else { return nil }
        return self.pairs.removeValue(forKey: generation)?.own.publicKey
    }

    /// Our keys of all generations.
    var ownKeys: [PublicKey] { self.pairs.values.map(\.own.publicKey) + self.prepared.values.map(\.publicKey) }
}
