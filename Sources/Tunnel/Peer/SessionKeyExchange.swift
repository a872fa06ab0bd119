//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// The secrets of a session: how they are agreed on in the handshake, and how they are renewed.
///
/// Each generation depends on a Diffie-Hellman secret of fresh session keys, on a fresh ML-KEM-768 secret, and on the
/// previous generation. The exit signs each generation with its long-term key.
struct SessionKeyExchange {
    /// The long-term key that authenticates the exit.
    enum Authority {
        case exit(SecretKey)
        case client(of: PublicKey)
    }

    /// The keys of a generation, ready for use.
    struct Generation {
        let number: Int
        let own: SecretKey
        let peer: PublicKey
        let secrets: SessionSecrets
    }

    /// An update that the client has started.
    private struct Started {
        let message: KeyUpdate
        let own: SecretKey
        let decapsulationKey: DecapsulationKey
    }

    private let authority: Authority
    /// The secrets of the newest generation.
    private var secrets: SessionSecrets
    private var generation = 0
    /// The transcripts of the generations that are in use.
    private var transcripts: [Int: SessionTranscript]
    private var started: Started?

    /// - Parameters:
    ///   - secrets: The secrets of the handshake.
    ///   - transcript: The transcript of the handshake.
    init(_ authority: Authority, secrets: SessionSecrets, transcript: SessionTranscript) {
        self.authority = authority
        self.secrets = secrets
        self.transcripts = [0: transcript]
    }

    /// The secret of the datagrams of generation 0; nil if another generation is in use.
    var firstDatagramSecret: DatagramSecret? { self.generation == 0 ? self.secrets.datagrams : nil }

    /// The transcript of a generation. Nil if the generation is not in use.
    func transcript(of generation: Int) -> SessionTranscript? { self.transcripts[generation] }

    // MARK: Updates

    /// Starts an update (client). Returns the session key of the next generation, and the message for the exit.
    mutating func begin(_ generation: Int) throws(CryptoError) -> (own: SecretKey, message: KeyUpdate) {
        let own = SecretKey.generate()
        let decapsulationKey = try DecapsulationKey()
        let message = KeyUpdate(
            generation: generation,
            key: own.publicKey,
            content: .client(encapsulationKey: try decapsulationKey.encapsulationKey)
        )
        self.started = Started(message: message, own: own, decapsulationKey: decapsulationKey)
        return (own, message)
    }

    /// Answers the client's message (exit).
    ///
    /// - Throws: If a key of the client is invalid.
    mutating func answer(_ client: KeyUpdate) throws(CryptoError) -> (Generation, message: KeyUpdate) {
        guard case .client(let encapsulationKey) = client.content, case .exit(let longTermKey) = self.authority else {
            throw .operationFailed
        }
        let own = SecretKey.generate()
        let agreement = try ConversationKey(secretKey: own, publicKey: client.key)
        let encapsulated = try KeyEncapsulation.encapsulate(to: encapsulationKey)
        // The signature is not part of the transcript.
        func message(_ signature: SchnorrSignature) -> KeyUpdate {
            KeyUpdate(
                generation: client.generation,
                key: own.publicKey,
                content: .exit(ciphertext: encapsulated.ciphertext, signature)
            )
        }
        let transcript = try self.nextTranscript(client, message(SchnorrSignature(r: .zero, s: .zero)))
        let signature = try longTermKey.sign(transcript.exitSignedHash)
        self.become(client.generation, transcript, agreement, encapsulated.secret)
        let generation = Generation(number: client.generation, own: own, peer: client.key, secrets: self.secrets)
        return (generation, message(signature))
    }

    /// Completes the update with the exit's message (client).
    ///
    /// - Throws: If the exit's signature or a key is invalid.
    mutating func complete(_ exit: KeyUpdate) throws(CryptoError) -> Generation {
        guard let started, started.message.generation == exit.generation,
            case .exit(let ciphertext, let signature) = exit.content, case .client(let longTermKey) = self.authority
        else { throw .operationFailed }
        let transcript = try self.nextTranscript(started.message, exit)
        guard longTermKey.verify(signature, of: transcript.exitSignedHash) else { throw .operationFailed }
        let agreement = try ConversationKey(secretKey: started.own, publicKey: exit.key)
        let secret = try started.decapsulationKey.decapsulate(ciphertext)
        self.become(exit.generation, transcript, agreement, secret)
        self.started = nil
        return Generation(number: exit.generation, own: started.own, peer: exit.key, secrets: self.secrets)
    }

    private func nextTranscript(_ client: KeyUpdate, _ exit: KeyUpdate) throws(CryptoError) -> SessionTranscript {
        guard let transcript = self.transcripts[self.generation] else { throw .operationFailed }
        return transcript.updated(client: client.transcribed, exit: exit.transcribed)
    }

    private mutating func become(
        _ generation: Int,
        _ transcript: SessionTranscript,
        _ agreement: ConversationKey,
        _ secret: SharedSecret
    ) {
        self.secrets = SessionSecrets(
            agreement: agreement,
            encapsulated: secret,
            previous: self.secrets,
            transcript: transcript.hash
        )
        self.generation = generation
        self.transcripts[generation] = transcript
    }

    /// Forgets a generation that is no longer used.
    mutating func erase(_ generation: Int) {
        if generation != self.generation { self.transcripts[generation] = nil }
    }
}
