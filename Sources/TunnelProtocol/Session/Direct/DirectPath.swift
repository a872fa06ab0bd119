//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore
package import NostrCrypto
package import STUN

/// The direct path of a session: datagrams between the two nodes, without a relay. Relays only carry the frames with which the
/// nodes find each other.
///
/// It performs no I/O. It seals and opens datagrams, checks addresses (``ConnectivityChecks``), and keeps the connection IDs.
package struct DirectPath {
    /// What the driver must do.
    package enum Action: Sendable {
        /// Send a datagram. To an address that was not validated, the rate is limited.
        case send([UInt8], to: TransportAddress, isValidated: Bool)
        /// Send the peer a frame: ``SessionStateMachine/sendDirectFrame(_:at:)``.
        case frame(SessionFrame)
        /// Accept datagrams with this connection ID for this session, or do so no more.
        case accept(ConnectionID)
        case forget(ConnectionID)
        /// Packets can be sent to this address: add the path to the session. If it was available before, at another address, remove
        /// it first, because its measurements no longer apply.
        case available(TransportAddress)
        /// Packets cannot be sent: remove the path from the session, and then do as for ``find``.
        case unavailable
        /// No address works. Offer this node's addresses again, because NATs may have forgotten them, and the peer checks its own
        /// side again when it gets them.
        case find
    }

    /// The packet size in bytes that every direct path carries, and the one up to which larger packets are tried: what remains
    /// of 1,200 and 1,452 bytes (1,500 without the headers of IPv6 and UDP).
    package static let basePacket = 1_200 - DatagramHeader.length - DatagramKey.overhead
    package static let largestPacket = 1_452 - DatagramHeader.length - DatagramKey.overhead

    private var sealer: DatagramSealer
    private var checks: ConnectivityChecks
    private var ownIDs: OwnConnectionIDs
    private var peerIDs = PeerConnectionIDs()
    /// The connection ID for packets: that of the address in use.
    private var packetID: ConnectionID?
    /// The path's description for the session.
    package let description: PathDescription
    private var candidates: [DirectCandidate] = []
    private var nextSequence: UInt64 = 0
    /// The number of the peer's latest offer of addresses.
    package private(set) var peerSequence: UInt64?
    private var newestPacket: UInt64?
    private var actions: Deque<Action> = []

    /// - Parameters:
    ///   - isExit: Whether this node is the exit.
    ///   - secret: The secret of generation 0.
    ///   - random: 32 random bytes.
    package init(isExit: Bool, secret: DatagramSecret, random: Bytes32) {
        self.sealer = DatagramSealer(secret, isExit: isExit)
        self.checks = ConnectivityChecks(isClient: !isExit, secret: random)
        self.ownIDs = OwnConnectionIDs(secret: random)
        self.description = .direct(packet: Self.basePacket, largest: Self.largestPacket, skippedNumbers: random)
    }

    /// What a datagram contained.
    package enum Received: Sendable {
        /// A packet for the session.
        case packet(DatagramSealer.Opened)
        /// A check, which was handled.
        case check
        /// Nothing that the peer has sealed, or something that was received before.
        case rejected
    }

    package mutating func nextAction() -> Action? { self.actions.popFirst() }

    /// The address to which packets are sent; nil if the path is not available.
    package var remote: TransportAddress? { self.checks.selected }

    /// What is known while the path is not available.
    package enum Search: Hashable, Sendable {
        /// The peer has not sent candidates.
        case waiting
        /// The peer's addresses are being checked.
        case checking
        /// None of the peer's addresses has answered.
        case unanswered
    }

    package var search: Search {
        guard self.peerSequence != nil else { return .waiting }
        return self.checks.isChecking ? .checking : .unanswered
    }

    // MARK: Finding each other

    /// Offers addresses at which this node may be reached. The first call also offers connection IDs.
    ///
    /// - Parameters:
    ///   - candidates: The addresses. Those beyond ``DirectCandidate/maximumCount`` are left out.
    ///   - isRepeated: Whether to offer them even if they are the same as before, so that the peer checks them again.
    ///   - now: The current time.
    package mutating func offer(_ candidates: [DirectCandidate], isRepeated: Bool, at now: NIODeadline) {
        let candidates = Array(candidates.prefix(DirectCandidate.maximumCount))
        self.issueIDs(at: now)
        guard candidates != self.candidates || isRepeated else { return }
        self.candidates = candidates
        self.actions.append(.frame(.candidates(sequence: self.nextSequence, candidates)))
        self.nextSequence += 1
    }

    private mutating func issueIDs(at now: NIODeadline) {
        while let (sequence, id) = self.ownIDs.issue(at: now) {
            self.actions.append(.accept(id))
            self.actions.append(.frame(.newConnectionID(sequence: sequence, id)))
        }
    }

    /// Handles a frame of the peer (``SessionSignal/direct(_:)``).
    ///
    /// - Parameters:
    ///   - frame: The frame.
    ///   - isAllowed: Whether a datagram may be sent to an address.
    ///   - now: The current time.
    /// - Returns: False if the peer violated the protocol.
    package mutating func receive(
        _ frame: SessionFrame,
        isAllowed: (TransportAddress) -> Bool,
        at now: NIODeadline
    ) -> Bool {
        switch frame {
        case .newConnectionID(let sequence, let id):
            return self.peerIDs.insert(sequence, id)
        case .retireConnectionID(let sequence):
            guard self.ownIDs.retire(sequence, at: now) else { return false }
            self.issueIDs(at: now)
        case .candidates(let sequence, let candidates):
            guard self.peerSequence.map({ $0 < sequence }) ?? true else { return true }
            self.peerSequence = sequence
            self.checks.setCandidates(candidates.map(\.address).filter(isAllowed), at: now)
        default: return false
        }
        return true
    }

    /// This node's address has changed. The peer's addresses are checked anew, with other connection IDs, so that observers
    /// cannot link the old address with the new one.
    package mutating func networkChanged(at now: NIODeadline) {
        self.release { _ in true }
        self.checks.restart(at: now)
        self.perform(at: now)
    }

    /// The connection ID for datagrams to an address; nil if the peer must first give more.
    private mutating func connectionID(for address: TransportAddress, at now: NIODeadline) -> ConnectionID? {
        defer {
            if self.peerIDs.isScarce {
                let checks = self.checks
                self.release { $0 != address && !checks.needs($0, at: now) }
            }
        }
        return self.peerIDs.id(for: address, usesReserve: self.checks.hasSent(from: address))
    }

    private mutating func release(where isReleased: (TransportAddress) -> Bool) {
        for sequence in self.peerIDs.release(where: isReleased) {
            self.actions.append(.frame(.retireConnectionID(sequence: sequence)))
        }
    }

    // MARK: Datagrams

    /// Handles a datagram.
    package mutating func receive(
        _ datagram: ByteBuffer,
        from address: TransportAddress,
        at now: NIODeadline
    ) -> Received {
        guard let opened = self.sealer.open(datagram) else { return .rejected }
        defer { self.perform(at: now) }
        switch opened.space {
        case .packets:
            let isNewest = self.newestPacket.map { $0 < opened.number } ?? true
            if isNewest { self.newestPacket = opened.number }
            self.checks.receivedPacket(from: address, isNewest: isNewest, at: now)
            return .packet(opened)
        case .checks:
            guard let check = ConnectivityCheck(opened.plaintext) else { return .rejected }
            self.checks.receive(check, from: address, at: now)
            return .check
        }
    }

    /// Seals a packet of the session, and appends the datagram. Returns false, and appends nothing, if the path is not available or
    /// the packet cannot be sealed.
    ///
    /// It is mutating so that a caller who holds the path in a class does not copy it.
    package mutating func seal(_ packet: ByteBuffer, number: UInt64, appendingTo buffer: inout ByteBuffer) -> Bool {
        guard let packetID else { return false }
        do {
            try self.sealer.seal(packet: packet, number: number, to: packetID, appendingTo: &buffer)
            return true
        } catch {
            return false
        }
    }

    /// Checks the address in use, because packets were not acknowledged.
    package mutating func suspect(at now: NIODeadline) {
        self.checks.suspect(at: now)
        self.timeout(at: now)
    }

    private mutating func perform(at now: NIODeadline) {
        while let action = self.checks.nextAction() {
            switch action {
            case .send(let check, let address):
                // Without a connection ID, the request is repeated later.
                guard let id = self.connectionID(for: address, at: now),
                    let datagram = try? self.sealer.seal(check, to: id)
                else { continue }
                let isValidated = self.checks.isValidated(address, at: now)
                self.actions.append(.send(datagram, to: address, isValidated: isValidated))
            case .use(let address):
                self.packetID = self.connectionID(for: address, at: now)
                self.actions.append(.available(address))
            case .lost:
                self.packetID = nil
                self.actions.append(.unavailable)
            case .find: self.actions.append(.find)
            }
        }
    }

    // MARK: Keys

    /// Adds the keys of a generation. They open datagrams from now on.
    package mutating func add(_ generation: Int, _ secret: DatagramSecret) { self.sealer.add(generation, secret) }

    /// Seals with the keys of a generation from now on.
    package mutating func use(_ generation: Int) { self.sealer.use(generation) }

    /// Erases a generation other than the current one.
    package mutating func erase(_ generation: Int) { self.sealer.erase(generation) }

    // MARK: Time

    /// When ``timeout(at:)`` must be called; nil if nothing is due.
    package var nextDeadline: NIODeadline? {
        guard let check = self.checks.nextDeadline, let expiry = self.ownIDs.nextDeadline else {
            return self.checks.nextDeadline ?? self.ownIDs.nextDeadline
        }
        return min(check, expiry)
    }

    /// Performs what is due.
    package mutating func timeout(at now: NIODeadline) {
        for id in self.ownIDs.removeExpired(at: now) { self.actions.append(.forget(id)) }
        if self.ownIDs.hasIssued { self.issueIDs(at: now) }
        self.checks.timeout(at: now)
        self.perform(at: now)
    }

    /// All connection IDs of this node, to be forgotten at the end of the session.
    package var connectionIDs: [ConnectionID] { self.ownIDs.all }
}
