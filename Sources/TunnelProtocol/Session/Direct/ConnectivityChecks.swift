//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore
package import NostrCrypto
package import STUN

/// Finds an address at which datagrams reach the peer and come back, keeps it alive, and follows the peer when its address
/// changes (after RFC 8445, with checks inside the session's encryption). Both sides send requests to each other's candidates
/// at the same time, which opens the NATs on both sides.
///
/// The client chooses the address: the one with the shortest round trip. The exit uses the address from which the client
/// sends packets, after it has checked it, too.
///
/// It performs no I/O. The driver sends the requests and responses that ``nextAction()`` returns.
package struct ConnectivityChecks: Sendable {
    /// What the driver must do.
    package enum Action: Hashable, Sendable {
        /// Send a check to an address.
        case send(ConnectivityCheck, to: TransportAddress)
        /// Send packets to this address from now on.
        case use(TransportAddress)
        /// The address in use does not answer any more, and there is no other.
        case lost
        /// No address has answered for some time: exchange addresses again.
        case find
    }

    private let isClient: Bool
    private let configuration: Configuration
    /// Number of responses since a time.
    private var responses = (since: NIODeadline.uptimeNanoseconds(0), count: 0)
    /// Makes tokens that the peer cannot guess. If it could, it could pretend to be reachable at the address of a victim.
    private let secret: Bytes32
    private var nextToken: UInt64 = 0
    private var remotes: [CheckedAddress] = []
    private var lastRequest = NIODeadline.uptimeNanoseconds(0)
    private var actions: Deque<Action> = []
    /// The address in use.
    package private(set) var selected: TransportAddress?
    /// The address from which the newest packet of the client came (exit).
    private var wanted: TransportAddress?
    /// When addresses are exchanged again, while none works; and how often that was done since one worked.
    private var retry: (due: NIODeadline?, count: Int) = (nil, 0)
    /// Whether packets to the address in use were not acknowledged.
    private var isSuspected = false
    /// How many requests may still be sent to addresses that have not answered, and when the number was last increased.
    private var allowance: (requests: Int, at: NIODeadline)?
    /// When the address in use last changed.
    private var lastChange = NIODeadline.uptimeNanoseconds(0)
    /// When something last arrived from the address in use.
    private var lastHeard = NIODeadline.uptimeNanoseconds(0)

    /// Maximum number of addresses of the peer: its candidates, and addresses from which it has sent.
    package static let maximumRemotes = 2 * DirectCandidate.maximumCount
    /// Maximum number of requests to addresses that have not answered, and the time after which one more is allowed. The peer may
    /// have named the address of a victim.
    package static let unansweredRequests = 256
    package static let allowanceInterval: TimeAmount = .seconds(1)
    /// How long an address counts as one of the peer after a response, and when the address in use is checked again.
    package static let validity: TimeAmount = .seconds(60)
    package static let confirmation: TimeAmount = .seconds(45)
    /// Maximum number of responses in an interval. An honest peer sends at most a request each ``Configuration/pacing``.
    package static let responsesPerInterval = 32
    private static let responsesInterval: TimeAmount = .seconds(1)

    /// - Parameters:
    ///   - isClient: Whether this node is the client.
    ///   - secret: 32 random bytes.
    ///   - configuration: Timing.
    package init(isClient: Bool, secret: Bytes32, configuration: Configuration = Configuration()) {
        self.isClient = isClient
        self.secret = secret
        self.configuration = configuration
    }

    package mutating func nextAction() -> Action? { self.actions.popFirst() }

    // MARK: Addresses

    private func index(of address: TransportAddress) -> Int? { self.remotes.firstIndex { $0.address == address } }

    /// Sets the peer's candidates. Addresses that are in use or work stay, even if they are no candidates.
    package mutating func setCandidates(_ candidates: [TransportAddress], at now: NIODeadline) {
        let kept = Set(candidates.prefix(DirectCandidate.maximumCount))
        self.remotes.removeAll {
            !kept.contains($0.address) && !$0.isValid(at: now) && $0.address != self.wanted
                && $0.address != self.selected
        }
        for address in candidates.prefix(DirectCandidate.maximumCount) { self.add(address, at: now) }
    }

    /// Begins to check an address, or checks it again.
    private mutating func add(_ address: TransportAddress, at now: NIODeadline) {
        if let index = self.index(of: address) {
            // The address in use is checked in any case. Requests with a forged source must not start the count of attempts anew.
            if !self.remotes[index].isValid(at: now), address != self.selected { self.begin(index, at: now) }
            return
        }
        if self.remotes.count >= Self.maximumRemotes {
            guard
                let idle = self.remotes.firstIndex(where: {
                    !$0.isValid(at: now) && $0.due == nil && $0.address != self.wanted && $0.address != self.selected
                })
            else { return }
            self.remotes.remove(at: idle)
        }
        self.remotes.append(CheckedAddress(address: address))
        self.begin(self.remotes.count - 1, at: now)
    }

    private mutating func begin(_ index: Int, at now: NIODeadline) {
        self.remotes[index].attempts = 0
        self.remotes[index].due = now
    }

    /// Checks all addresses afresh, because this node's address has changed.
    package mutating func restart(at now: NIODeadline) {
        for index in self.remotes.indices {
            self.remotes[index].roundTrip = nil
            self.remotes[index].pending = []
            self.begin(index, at: now)
        }
        self.retry = (nil, 0)
        self.loseSelected()
    }

    /// Checks the address in use soon, because packets were not acknowledged.
    package mutating func suspect(at now: NIODeadline) {
        guard !self.isSuspected, let selected, let index = self.index(of: selected) else { return }
        self.isSuspected = true
        self.remotes[index].due = now
    }

    /// Whether a response validated the address within ``validity``.
    package func isValidated(_ address: TransportAddress, at now: NIODeadline) -> Bool {
        self.remotes.contains { $0.address == address && $0.isValid(at: now) }
    }

    /// Whether the peer has sent a request from an address.
    package func hasSent(from address: TransportAddress) -> Bool {
        self.remotes.contains { $0.address == address && $0.hasSent }
    }

    /// Whether an address is in use, valid or being checked.
    package func needs(_ address: TransportAddress, at now: NIODeadline) -> Bool {
        address == self.selected || address == self.wanted
            || self.remotes.contains { $0.address == address && ($0.isValid(at: now) || $0.due != nil) }
    }

    /// Whether an address of the peer is being checked.
    package var isChecking: Bool { self.remotes.contains { $0.due != nil } }

    // MARK: Receiving

    /// Handles a check of the peer.
    package mutating func receive(_ check: ConnectivityCheck, from address: TransportAddress, at now: NIODeadline) {
        switch check {
        case .request(let token):
            guard self.mayRespond(at: now) else { return }
            self.actions.append(.send(.response(token: token, observed: address), to: address))
            self.add(address, at: now)
            if let index = self.index(of: address) { self.remotes[index].hasSent = true }
        case .response(let token, _):
            // The response may take another way than the request, and still shows that the request's way works.
            guard let index = self.remotes.firstIndex(where: { $0.pending.contains { $0.token == token } }),
                let request = self.remotes[index].pending.first(where: { $0.token == token })
            else { return }
            let sample = now - request.sentAt
            self.remotes[index].pending = []
            self.remotes[index].attempts = 0
            self.remotes[index].roundTrip = min(self.remotes[index].roundTrip ?? sample, sample)
            self.remotes[index].due = nil
            self.remotes[index].validated = now
            // The response may come from another address than the one that it confirms.
            if self.remotes[index].address == self.selected {
                self.isSuspected = false
                self.lastHeard = now
            }
            self.choose(at: now)
        }
        if address == self.selected { self.lastHeard = now }
        self.scheduleKeepAlive(at: now)
    }

    /// Counts a response. Sessions share what this node sends to a network, so none may send many.
    private mutating func mayRespond(at now: NIODeadline) -> Bool {
        if self.responses.since + Self.responsesInterval <= now { self.responses = (now, 0) }
        guard self.responses.count < Self.responsesPerInterval else { return false }
        self.responses.count += 1
        return true
    }

    /// Records that a packet of the session arrived from an address. Only the newest shows that it comes from there: an older one
    /// may be a copy, or may have been sent from an address that the client has left.
    ///
    /// - Parameter isNewest: Whether its number is the largest so far.
    package mutating func receivedPacket(from address: TransportAddress, isNewest: Bool, at now: NIODeadline) {
        guard isNewest else { return }
        if address == self.selected { self.lastHeard = now }
        guard !self.isClient, address != self.selected else { return }
        let isNew = address != self.wanted
        self.wanted = address
        if let index = self.index(of: address), self.remotes[index].isValid(at: now) {
            self.choose(at: now)
        } else if isNew {
            self.add(address, at: now)
        }
    }

    // MARK: Choosing

    private mutating func choose(at now: NIODeadline) {
        guard let best = self.best(at: now), best != self.selected else { return }
        // A change costs what is in flight, so a peer that sends from two addresses in turn must not cause one with each packet.
        guard self.isClient || self.selected == nil || self.lastChange + self.configuration.changes <= now else {
            return
        }
        self.lastChange = now
        self.selected = best
        self.retry = (nil, 0)
        self.isSuspected = false
        self.lastHeard = now
        self.actions.append(.use(best))
        self.scheduleKeepAlive(at: now)
    }

    /// The address to use: at the client the one with the shortest round trip, at the exit the one that the client uses.
    private func best(at now: NIODeadline) -> TransportAddress? {
        let valid = self.remotes.filter { $0.isValid(at: now) || $0.address == self.selected }
        guard self.isClient else {
            // Before the client has sent packets, any address that works is good enough to begin with.
            return valid.first { $0.address == self.wanted }?.address ?? self.selected ?? valid.first?.address
        }
        let best = valid.min { ($0.roundTrip ?? .hours(1)) < ($1.roundTrip ?? .hours(1)) }
        guard let best, let current = valid.first(where: { $0.address == self.selected }) else { return best?.address }
        let limit = (current.roundTrip ?? .hours(1)).nanoseconds * Int64(100 - self.configuration.advantage) / 100
        return (best.roundTrip ?? .hours(1)).nanoseconds < limit ? best.address : current.address
    }

    private mutating func loseSelected() {
        guard self.selected != nil else { return }
        self.selected = nil
        self.isSuspected = false
        self.actions.append(.lost)
    }

    // MARK: Time

    private mutating func scheduleKeepAlive(at now: NIODeadline) {
        guard !self.isSuspected, let selected, let index = self.index(of: selected),
            self.remotes[index].pending.isEmpty
        else { return }
        self.remotes[index].due = max(now, self.nextConfirmation(of: self.remotes[index]))
    }

    /// When the address in use must be checked: nothing arrives from it, or its last response is old. Packets from it may have a
    /// forged source address.
    private func nextConfirmation(of remote: CheckedAddress) -> NIODeadline {
        min(self.lastHeard + self.configuration.keepAlive, remote.validated + Self.confirmation)
    }

    /// When ``timeout(at:)`` must be called; nil if nothing is due.
    package var nextDeadline: NIODeadline? {
        let request = self.remotes.compactMap(\.due).min().map { max($0, self.lastRequest + self.configuration.pacing) }
        return [request, self.retry.due].compactMap { $0 }.min()
    }

    /// Sends the request that is due, at most one.
    package mutating func timeout(at now: NIODeadline) {
        self.findAgain(at: now)
        guard self.lastRequest + self.configuration.pacing <= now,
            let index = self.remotes.indices.filter({ self.remotes[$0].due.map { $0 <= now } ?? false })
                .min(by: { self.urgency(of: $0) < self.urgency(of: $1) })
        else { return }
        let isSelected = self.remotes[index].address == self.selected
        if isSelected, !self.isSuspected, self.remotes[index].attempts == 0,
            self.nextConfirmation(of: self.remotes[index]) > now
        {
            return self.scheduleKeepAlive(at: now)
        }
        let isSilent = isSelected && (self.isSuspected || self.lastHeard + self.configuration.keepAlive <= now)
        let limit = isSilent ? self.configuration.unanswered : self.configuration.attempts
        guard self.remotes[index].attempts < limit else { return self.gaveUp(index, at: now) }
        guard isSelected || self.remotes[index].isValid(at: now) || self.takeAllowance(at: now) else {
            self.remotes[index].due = now + Self.allowanceInterval
            return
        }
        let token = self.makeToken()
        let wait = self.wait(for: self.remotes[index], isSilent: isSilent)
        self.remotes[index].attempts += 1
        self.remotes[index].pending.append((token, now))
        if self.remotes[index].pending.count > self.configuration.attempts {
            self.remotes[index].pending.removeFirst()
        }
        self.remotes[index].due = now + wait
        self.lastRequest = now
        self.actions.append(.send(.request(token: token), to: self.remotes[index].address))
    }

    /// The time until the next request to an address.
    private func wait(for remote: CheckedAddress, isSilent: Bool) -> TimeAmount {
        guard isSilent else { return self.configuration.repetition * (1 << remote.attempts) }
        return max(self.configuration.suspicion, (remote.roundTrip ?? .zero) * 2)
    }

    private mutating func takeAllowance(at now: NIODeadline) -> Bool {
        var (requests, at) = self.allowance ?? (Self.unansweredRequests, now)
        let intervals = (now - at).nanoseconds / Self.allowanceInterval.nanoseconds
        requests = min(Self.unansweredRequests, requests + Int(clamping: intervals))
        at = at + Self.allowanceInterval * Int(clamping: intervals)
        defer { self.allowance = (max(0, requests - 1), at) }
        return requests > 0
    }

    /// The address in use comes first, then addresses with few requests.
    private func urgency(of index: Int) -> Int {
        self.remotes[index].address == self.selected ? -1 : self.remotes[index].attempts
    }

    private mutating func gaveUp(_ index: Int, at now: NIODeadline) {
        // What worked some time ago may have been forgotten by a NAT.
        if self.remotes[index].address == self.selected { return self.restart(at: now) }
        self.remotes[index].roundTrip = nil
        self.remotes[index].pending = []
        self.remotes[index].attempts = 0
        self.remotes[index].due = nil
        guard self.selected == nil, self.retry.due == nil, self.remotes.allSatisfy({ $0.due == nil }) else { return }
        let wait = self.configuration.retry * (1 << min(self.retry.count, 8))
        self.retry = (now + min(wait, self.configuration.maximumRetry), self.retry.count + 1)
    }

    private mutating func findAgain(at now: NIODeadline) {
        guard let due = self.retry.due, due <= now else { return }
        self.retry.due = nil
        for index in self.remotes.indices { self.begin(index, at: now) }
        self.actions.append(.find)
    }

    private mutating func makeToken() -> UInt64 {
        self.nextToken += 1
        return self.secret.derivedInteger(.checkToken, self.nextToken)
    }
}
