//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrCrypto

/// What an entry remembers about the protocols of exits.
final class ExitMemory {
    /// Most exits remembered as speaking only plain NIP-74.
    private static let maximumPlainExits = 1_024

    private let pins: ExitPins
    private let choice: ProtocolChoice
    /// How long it is remembered that an exit speaks only plain NIP-74.
    private let plainMemory: TimeAmount
    private let logger: Logger
    private var plainUntil: [PublicKey: NIODeadline] = [:]

    init(_ pins: ExitPins, choice: ProtocolChoice, plainMemory: TimeAmount, logger: Logger) {
        self.pins = pins
        self.choice = choice
        self.plainMemory = plainMemory
        self.logger = logger
    }

    /// Whether the exit is known to support sessions. Such an exit is never downgraded to plain NIP-74.
    func isPinned(_ exit: PublicKey) -> Bool { self.pins.contains(exit) }

    /// The protocol with which to start with an exit.
    func opening(with exit: PublicKey) -> Negotiation.Opening {
        switch self.choice {
        case .nip74:
            if self.isPinned(exit) {
                self.logger.warning(
                    "exit speaks sessions, but this entry is configured to speak plain NIP-74",
                    metadata: ["exit": "\(exit.npub)"]
                )
            }
            return .plain
        case .session: return .offer(mayFallBack: false)
        case .auto:
            if self.isPinned(exit) { return .offer(mayFallBack: false) }
            if let until = self.plainUntil[exit], until > .now() { return .plain }
            return .offer(mayFallBack: true)
        }
    }

    /// Whether plain NIP-74 was spoken long enough that a session should be offered again.
    func shouldOfferAgain(plainSince since: NIODeadline) -> Bool {
        self.choice != .nip74 && since + self.plainMemory <= .now()
    }

    /// The exit answered in plain NIP-74.
    func spokePlain(_ exit: PublicKey) {
        guard self.choice == .auto, !self.isPinned(exit) else { return }
        if self.plainUntil.count >= Self.maximumPlainExits {
            self.plainUntil = self.plainUntil.filter { $0.value > .now() }
            if self.plainUntil.count >= Self.maximumPlainExits { self.plainUntil = [:] }
        }
        self.plainUntil[exit] = .now() + self.plainMemory
    }

    /// The exit accepted a session.
    func spokeSession(_ exit: PublicKey) {
        self.plainUntil[exit] = nil
        do {
            if try !self.pins.insert(exit) {
                self.logger.warning("too many exits to remember that this one speaks sessions")
            }
        } catch {
            self.logger.warning("cannot remember that the exit speaks sessions", metadata: ["error": "\(error)"])
        }
    }
}
