//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrCrypto

/// Stores which protocol each exit is known to support.
final class ExitMemory {
    /// Maximum number of exits for which the use of plain NIP-74 is stored.
    private static let maximumPlainExits = 1_024

    private let pins: ExitPins
    private let choice: ProtocolChoice
    /// How long plain NIP-74 is used with an exit that answered with it, until a session is offered again.
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

    /// Returns the protocol to start with.
    func opening(with exit: PublicKey) -> Negotiation.Opening {
        switch self.choice {
        case .nip74:
            if self.isPinned(exit) {
                self.logger.warning(
                    "exit supports sessions, but this entry is configured to use only plain NIP-74",
                    metadata: ["exit": "\(exit.npub)"]
                )
            }
            return .plain
        case .session: return .offer(mayFallBack: false)
        case .auto:
            if self.isPinned(exit) { return .offer(mayFallBack: false) }
            if let until = self.plainUntil[exit], until > .now() { return .plain }
            // An exit that the list has no room for must not be downgraded either.
            return .offer(mayFallBack: !self.pins.isFull)
        }
    }

    /// Returns whether plain NIP-74 has been used for so long that a session should be offered again.
    func shouldOfferAgain(plainSince since: NIODeadline) -> Bool {
        self.choice != .nip74 && since + self.plainMemory <= .now()
    }

    /// Records that the exit answered in plain NIP-74.
    func recordPlain(_ exit: PublicKey) {
        guard self.choice == .auto, !self.isPinned(exit) else { return }
        if self.plainUntil.count >= Self.maximumPlainExits {
            self.plainUntil = self.plainUntil.filter { $0.value > .now() }
            if self.plainUntil.count >= Self.maximumPlainExits { self.plainUntil = [:] }
        }
        self.plainUntil[exit] = .now() + self.plainMemory
    }

    /// Records that the exit accepted a session.
    func recordSession(_ exit: PublicKey) {
        self.plainUntil[exit] = nil
        do {
            if try !self.pins.insert(exit) {
                self.logger.warning(
                    "the list of pinned exits is full (\(ExitPins.maximumCount)): exits that are not in it are reached only with sessions",
                    metadata: ["remedy": "nws pins list, nws pins remove NPUB"]
                )
            }
        } catch {
            self.logger.warning("cannot pin the exit, which supports sessions", metadata: ["error": "\(error)"])
        }
    }
}
