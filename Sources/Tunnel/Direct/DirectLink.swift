//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import STUN
import TunnelProtocol

/// The direct path of a session: connects the protocol (``DirectPath``) with the sockets and the session's engine.
final class DirectLink {
    private let link: SessionLink
    private let sockets: DatagramSockets
    private let configured: [DirectCandidate]
    /// Returns the relays of the session.
    private let relays: () -> [RelayConnection]
    private let publicRelays: Set<RelayURL>
    /// Whether addresses of private networks are offered to the peer, and taken from it.
    private let isTrusted: Bool
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger
    private var path: DirectPath
    private var timer: LinkTimer?
    private var isStopped = false
    /// When addresses were offered, at most ``offerLimit``.
    private var offers: [NIODeadline] = []
    private var pendingOffer: Scheduled<Void>?
    private var offersAgain = false
    /// When this node's mappings were last looked up, and the minimum time until an offer of the peer causes that again.
    private var lastRefresh: NIODeadline?
    private static let refreshing: TimeAmount = .seconds(1)
    /// When a direct path was last reported in the log.
    private var lastReport: NIODeadline?

    /// Maximum number of offers of addresses in a time, and the pause for the answers of several STUN servers.
    private static let offerLimit = (count: 8, time: TimeAmount.minutes(2))
    private static let gathering: TimeAmount = .milliseconds(50)
    /// Minimum time between two reports at the level of information.
    private static let reporting: TimeAmount = .seconds(10)
    /// Number of bytes of the session's datagrams in both directions.
    private var bytes: Int64 = 0
    /// The address from which a datagram last arrived, which is allowed.
    private var lastSource: TransportAddress?
    /// Packets that have arrived, for the session.
    private var packets: [DatagramSealer.Opened] = []

    /// - Parameters:
    ///   - link: The session.
    ///   - isExit: Whether this node is the exit.
    ///   - secret: The secret of generation 0.
    ///   - isTrusted: Whether each side knows the other's identity.
    ///   - sockets: The sockets, which are open.
    ///   - configuration: The configured addresses.
    ///   - relays: Returns the relays of the session.
    init(
        _ link: SessionLink,
        isExit: Bool,
        secret: DatagramSecret,
        isTrusted: Bool,
        sockets: DatagramSockets,
        configuration: DirectConfiguration,
        relays: @escaping () -> [RelayConnection],
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger
    ) {
        self.link = link
        self.sockets = sockets
        self.configured = configuration.addresses.map { DirectCandidate(.mapped, $0.address) }
        self.relays = relays
        self.publicRelays = configuration.publicRelays
        self.isTrusted = isTrusted
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.path = DirectPath(isExit: isExit, secret: secret, random: .random())
        self.timer = LinkTimer(loop: loop) { [weak self] in self?.timeout() }
    }

    /// Offers the addresses of this node to the peer.
    func start() {
        self.refreshMappings()
        self.offer(isRepeated: true, in: .zero)
    }

    private func refreshMappings() {
        self.lastRefresh = .now()
        let relays = self.relays()
        let servers = relays.flatMap(\.stunServers)
        let usesPublicServers = servers.isEmpty && relays.contains { self.publicRelays.contains($0.url) }
        self.sockets.refreshMappings(servers, usesPublicServers: usesPublicServers)
    }

    /// Asks STUN servers again, and offers the addresses of this node together with their first answers.
    private func offerAgain() {
        self.refreshMappings()
        self.offer(isRepeated: true, in: Self.gathering)
    }

    /// Offers the addresses after a pause, together with further changes until then, and at a limited rate: each offer is an event
    /// of a relay.
    private func offer(isRepeated: Bool, in pause: TimeAmount) {
        self.offersAgain = self.offersAgain || isRepeated
        guard self.pendingOffer == nil else { return }
        let now = NIODeadline.now()
        self.offers.removeAll { $0 + Self.offerLimit.time <= now }
        let allowed = self.offers.count < Self.offerLimit.count ? now : self.offers[0] + Self.offerLimit.time
        let due = max(now + pause, allowed)
        guard due > now else { return self.offerNow() }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.pendingOffer = self.loop.scheduleTask(deadline: due) { bound.value.offerNow() }
    }

    private func offerNow() {
        self.pendingOffer = nil
        let isRepeated = self.offersAgain
        self.offersAgain = false
        self.offers.append(.now())
        self.update { $0.offer(self.candidates, isRepeated: isRepeated, at: $1) }
    }

    /// The addresses of this node for the peer.
    private var candidates: [DirectCandidate] {
        func allowed(_ addresses: [TransportAddress]) -> [TransportAddress] {
            addresses.filter {
                let kind = Self.addressClass($0)
                return kind == .global || self.isTrusted && kind == .privateNetwork
            }
        }
        let own = allowed(self.sockets.interfaceAddresses)
        let forwarded = allowed([self.sockets.portMapping?.mapping?.address].compactMap { $0 })
        let seen = allowed(self.sockets.mappings?.mapped ?? []).filter { !own.contains($0) && !forwarded.contains($0) }
        return self.configured + forwarded.map { DirectCandidate(.mapped, $0) }
            + seen.map { DirectCandidate(.serverReflexive, $0) }
            + own.map { DirectCandidate(.host, $0) }
    }

    /// Handles a frame of the peer.
    func receive(_ frame: SessionFrame) {
        var isValid = true
        let known = self.path.peerSequence
        self.update { isValid = $0.receive(frame, isAllowed: self.isAllowed, at: $1) }
        // The peer looks for a path, so it needs to know where this node is seen now.
        let isDue = self.lastRefresh.map { $0 + Self.refreshing <= .now() } ?? true
        if self.path.peerSequence != known, self.path.remote == nil, isDue { self.refreshMappings() }
        if !isValid { self.link.update { $0.close(.protocolViolation, at: $1) } }
    }

    /// Whether a peer may have datagrams sent to an address. Addresses of this machine are used only if this node offers one
    /// itself, so that no peer reaches the machine's own services.
    private func isAllowed(_ address: TransportAddress) -> Bool {
        guard !self.sockets.isOwn(address) || self.configured.contains(where: { $0.address.bytes == address.bytes })
        else { return false }
        return switch Self.addressClass(address) {
        case .global: true
        case .privateNetwork: self.isTrusted
        case .loopback: self.configured.contains { Self.addressClass($0.address) == .loopback }
        case .linkLocal, .metadata, .multicast, .reserved: false
        }
    }

    private static func addressClass(_ address: TransportAddress) -> AddressClass {
        address.socketAddress.map { AddressClass($0) } ?? .reserved
    }

    // MARK: Keys

    func add(_ generation: Int, _ secret: DatagramSecret) { self.path.add(generation, secret) }
    func use(_ generation: Int) { self.path.use(generation) }
    func erase(_ generation: Int) { self.path.erase(generation) }

    // MARK: Path

    private func update(_ input: (inout DirectPath, NIODeadline) -> Void) {
        guard !self.isStopped else { return }
        input(&self.path, .now())
        self.performActions()
    }

    private func performActions() {
        while !self.isStopped, let action = self.path.nextAction() { self.perform(action) }
        if let deadline = self.path.nextDeadline { self.timer?.set(deadline) }
    }

    private func timeout() { self.update { $0.timeout(at: $1) } }

    private func perform(_ action: DirectPath.Action) {
        switch action {
        case .send(let datagram, let address, let isValidated):
            self.sockets.sendCheck(datagram, to: address, isValidated: isValidated)
        case .frame(let frame): self.link.update { $0.sendDirectFrame(frame, at: $1) }
        case .accept(let id): self.sockets.register(id, self)
        case .forget(let id): self.sockets.unregister(id)
        case .available(let address):
            self.logger.log(
                level: self.reportLevel,
                "direct path found",
                metadata: ["peer": "\(self.link.peer)", "address": "\(address.text)"]
            )
            self.link.update { $0.removePath(.direct, at: $1) }
            self.link.update { $0.addPath(.direct, self.path.description, at: $1) }
        case .unavailable:
            self.logger.log(
                level: self.reportLevel,
                "direct path lost; relays carry the session",
                metadata: ["peer": "\(self.link.peer)"]
            )
            self.link.update { $0.removePath(.direct, at: $1) }
            self.offerAgain()
        case .find: self.offerAgain()
        }
    }

    /// The level of a report about the path. The peer can cause any number of them.
    private var reportLevel: Logger.Level {
        let now = NIODeadline.now()
        guard self.lastReport.map({ $0 + Self.reporting <= now }) ?? true else { return .debug }
        self.lastReport = now
        return .info
    }

    /// Sends a packet of the session. Returns false if the sockets cannot take more now.
    func send(_ packet: ByteBuffer, number: UInt64) -> Bool {
        guard let remote = self.path.remote else { return true }
        let size = packet.readableBytes + DatagramSealer.overhead
        return self.sockets.send(size, to: remote) {
            guard self.path.seal(packet, number: number, appendingTo: &$0) else { return false }
            self.bytes += Int64(size)
            return true
        }
    }

    /// Checks the path, because packets were not acknowledged.
    func suspect() { self.update { $0.suspect(at: $1) } }

    // MARK: Status

    var status: DirectStatus {
        guard let remote = self.path.remote else {
            switch self.path.search {
            case .waiting: return .none(.waiting)
            case .checking: return .none(.looking)
            case .unanswered:
                let behavior = self.sockets.mappings?.behavior(isIPv6: false)
                return .none(behavior == .endpointDependent ? .symmetric : .unanswered)
            }
        }
        let measured = self.link.engine.pathStatus.first { $0.path == .direct }
        return .path(
            DirectStatus.Path(
                address: remote.text,
                roundTrip: measured?.roundTrip.map { Double($0.nanoseconds) / 1_000_000 },
                sentPackets: measured?.sent ?? 0,
                lostPackets: measured?.lost ?? 0,
                bytes: self.bytes
            )
        )
    }

    // MARK: End

    func stop() {
        self.isStopped = true
        self.timer?.cancel()
        self.pendingOffer?.cancel()
        for id in self.path.connectionIDs { self.sockets.unregister(id) }
    }
}

extension DirectLink: DatagramReceiver {
    func receive(_ datagram: ByteBuffer, from address: TransportAddress) {
        if address != self.lastSource {
            guard self.isAllowed(address) else { return self.metrics.rejected(.sourceNotAllowed) }
            self.lastSource = address
        }
        guard !self.isStopped else { return }
        switch self.path.receive(datagram, from: address, at: .now()) {
        case .packet(let packet):
            self.bytes += Int64(datagram.readableBytes)
            self.packets.append(packet)
        case .check: break
        case .rejected: self.metrics.rejected(.undecryptable)
        }
    }

    /// Performs what the datagrams caused, and passes the packets to the session together, which then answers and delivers once.
    func receivedAll() {
        guard !self.isStopped else { return }
        self.performActions()
        guard !self.packets.isEmpty else { return }
        let packets = self.packets
        self.packets = []
        self.link.update { $0.receive(packets, at: $1) }
    }

    func addressesChanged() {
        self.update { $0.networkChanged(at: $1) }
        self.offerAgain()
    }

    func mappingChanged() { self.offer(isRepeated: false, in: Self.gathering) }

    func socketsBecameWritable(_ isWritable: Bool) { self.link.setWritable(.direct, isWritable) }
}
