//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import STUN
import TunnelProtocol

/// Receives the datagrams of a session.
protocol DatagramReceiver: AnyObject {
    func receive(_ datagram: ByteBuffer, from address: TransportAddress)
    /// All datagrams that had arrived together were passed to ``receive(_:from:)``.
    func receivedAll()
    /// The addresses of this machine have changed.
    func addressesChanged()
    /// The addresses under which this machine is seen have changed.
    func mappingChanged()
    /// The sockets can take more datagrams, or cannot.
    func socketsBecameWritable(_ isWritable: Bool)
}

/// The UDP sockets of a node, one for IPv4 and one for IPv6, for the direct paths of all sessions. They must be used on the
/// node's event loop.
///
/// A datagram whose connection ID belongs to no session gets no answer, and leaves nothing behind.
final class DatagramSockets {
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger
    private var ipv4: UDPSocket?
    private var ipv6: UDPSocket?
    private var sockets: [UDPSocket] { [self.ipv4, self.ipv6].compactMap { $0 } }
    private var receivers: [ConnectionID: any DatagramReceiver] = [:]
    /// The session that received the last datagram since the last ``socketDidReceiveAll(_:)``, and the others before it.
    private var current: (id: ConnectionID, receiver: any DatagramReceiver)?
    private var active: [any DatagramReceiver] = []
    private var isClosed = false
    /// Reports changes of the network until the sockets are closed.
    private var hostWatch: HostWatch.Registration?
    private var knownAddresses: [TransportAddress] = []
    private var destinations = CheckDestinations()
    /// Learns under which addresses the sockets are seen.
    private(set) var mappings: STUNClient?
    /// Requests a port mapping from the router; nil if the configuration turns that off.
    private(set) var portMapping: PortMappingClient?

    init(loop: any EventLoop, metrics: TunnelMetrics, logger: Logger) {
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
    }

    /// Returns the sockets of a node whose configuration allows direct paths. They must be opened.
    static func make(
        _ configuration: DirectConfiguration,
        _ loop: any EventLoop,
        _ metrics: TunnelMetrics,
        _ logger: Logger
    ) -> DatagramSockets? {
        guard configuration.choice != .off else { return nil }
        let sockets = DatagramSockets(loop: loop, metrics: metrics, logger: logger)
        sockets.mappings = STUNClient(sockets, configuration, loop: loop, logger: logger)
        if configuration.mapsPort { sockets.portMapping = PortMappingClient(sockets, loop: loop, logger: logger) }
        return sockets
    }

    // MARK: Opening

    /// Whether a socket is open.
    var isOpen: Bool { self.sockets.contains(where: \.isOpen) }

    /// Opens the sockets. If neither address family is available, there are no direct paths.
    ///
    /// - Parameter port: The UDP port; 0 for any. Both families use one port if possible.
    /// - Returns: A future that succeeds when that was tried.
    @discardableResult
    func open(port: Int) -> EventLoopFuture<Void> {
        let ipv4 = UDPSocket(isIPv6: false, delegate: self, loop: self.loop, logger: self.logger)
        let ipv6 = UDPSocket(isIPv6: true, delegate: self, loop: self.loop, logger: self.logger)
        (self.ipv4, self.ipv6) = (ipv4, ipv6)
        let bound = NIOLoopBound((ipv4, ipv6), eventLoop: self.loop)
        return ipv4.open(port: port).flatMap { bound.value.1.open(port: bound.value.0.port ?? port) }
    }

    /// Tells the sessions if the addresses have changed. What a socket that was opened again has is no change, so that an
    /// unreachable address does not disturb paths that work.
    private func hostChanged() {
        let addresses = self.interfaceAddresses
        guard !self.isClosed, addresses != self.knownAddresses else { return }
        self.knownAddresses = addresses
        self.destinations.networkChanged()
        for socket in self.sockets { socket.networkChanged() }
        self.mappings?.networkChanged()
        self.portMapping?.networkChanged()
        for receiver in self.allReceivers { receiver.addressesChanged() }
    }

    /// Asks again under which addresses this machine is seen, and for a port of the router.
    ///
    /// - Parameters:
    ///   - servers: The STUN servers of relays.
    ///   - usesPublicServers: Whether to ask public STUN servers, too.
    func refreshMappings(_ servers: [SocketAddress], usesPublicServers: Bool = false) {
        self.mappings?.refresh(servers, usesPublicServers: usesPublicServers)
        self.portMapping?.refresh()
    }

    /// Tells the sessions that a STUN server has seen another address, or that the mapping of the router's port has changed.
    func mappingChanged() {
        for receiver in self.allReceivers { receiver.mappingChanged() }
    }

    /// The sessions. Each has several connection IDs.
    private var allReceivers: [any DatagramReceiver] {
        var seen: Set<ObjectIdentifier> = []
        return self.receivers.values.filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    /// The addresses of this machine's interfaces, with the ports of the sockets. Loopback and link-local addresses are left
    /// out.
    var interfaceAddresses: [TransportAddress] {
        let devices = (try? System.enumerateDevices()) ?? []
        var addresses: [TransportAddress] = []
        for device in devices {
            guard let address = device.address, let bytes = address.addressBytes,
                [.global, .privateNetwork].contains(AddressClass(address)),
                let port = self.socket(isIPv6: bytes.count == 16)?.port.flatMap(UInt16.init(exactly:)),
                let own = TransportAddress(bytes, port: port), !addresses.contains(own)
            else { continue }
            addresses.append(own)
        }
        return addresses
    }

    /// The port of the socket for IPv4; nil if it is not open.
    var ipv4Port: UInt16? { self.ipv4?.port.flatMap(UInt16.init(exactly:)) }

    private func socket(isIPv6: Bool) -> UDPSocket? { isIPv6 ? self.ipv6 : self.ipv4 }

    // MARK: Sessions

    /// Passes datagrams with a connection ID to a session.
    func register(_ id: ConnectionID, _ receiver: any DatagramReceiver) { self.receivers[id] = receiver }

    func unregister(_ id: ConnectionID) {
        self.receivers[id] = nil
        if let current, current.id == id {
            self.current = nil
            self.note(current.receiver)
        }
    }

    // MARK: Datagrams

    /// Sends a check or a STUN request to an address that may be unreachable. NIO closes a socket when the system refuses to send a
    /// datagram, so it is not sent without a route, or if a socket was closed after one to this address. Their rate is limited.
    ///
    /// - Parameter isValidated: Whether the address was validated. Such addresses are exempt from the rate limit and from the list of
    ///   refused addresses.
    func sendCheck(_ datagram: [UInt8], to address: TransportAddress, isValidated: Bool = false) {
        switch isValidated ? .allowed : self.destinations.admit(address, at: .now()) {
        case .unreachable: break
        case .rateLimited: self.metrics.rejected(.checkRateLimited)
        case .allowed: self.socket(isIPv6: address.isIPv6)?.send(datagram, to: address, isValidated: isValidated)
        }
    }

    /// Sends a datagram. Returns false if the sockets cannot take more now; the datagram is dropped if there is no socket.
    ///
    /// - Parameters:
    ///   - size: Number of bytes of the datagram.
    ///   - address: The address, which has answered.
    ///   - write: Appends the datagram. If it returns false, it has appended nothing, and this datagram is not sent.
    func send(_ size: Int, to address: TransportAddress, write: (inout ByteBuffer) -> Bool) -> Bool {
        self.socket(isIPv6: address.isIPv6)?.send(size, to: address, write: write) ?? true
    }

    /// Whether an address is one of this machine, where its own services listen.
    func isOwn(_ address: TransportAddress) -> Bool { self.knownAddresses.contains { $0.bytes == address.bytes } }

    /// Remembers a session that has received datagrams.
    private func note(_ receiver: any DatagramReceiver) {
        if !self.active.contains(where: { $0 === receiver }) { self.active.append(receiver) }
    }

    /// Closes the sockets.
    func close() {
        self.isClosed = true
        self.hostWatch = nil
        self.mappings?.stop()
        self.portMapping?.stop()
        self.receivers = [:]
        self.current = nil
        for socket in self.sockets { socket.close() }
    }
}

extension DatagramSockets: UDPSocketDelegate {
    func socketDidOpen(_ socket: UDPSocket) {
        guard !self.isClosed else { return }
        // Sessions may wait for the former socket.
        self.socket(socket, becameWritable: true)
        self.hostChanged()
        guard self.hostWatch == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.hostWatch = HostWatch.shared.observe(on: self.loop) { bound.value.hostChanged() }
    }

    func socketDidClose(_ socket: UDPSocket, after address: TransportAddress?) {
        if let address { self.destinations.refuse(address, at: .now()) }
    }

    func socket(_ socket: UDPSocket, didReceive datagram: ByteBuffer, from address: TransportAddress) {
        if STUNMessage.isSTUN(datagram) {
            if self.mappings?.receive(datagram) != true { self.metrics.rejected(.unexpectedSTUN) }
            return
        }
        guard let id = DatagramHeader.connection(of: datagram) else { return self.metrics.rejected(.unknownConnection) }
        if let current, current.id == id { return current.receiver.receive(datagram, from: address) }
        guard let receiver = self.receivers[id] else { return self.metrics.rejected(.unknownConnection) }
        if let current { self.note(current.receiver) }
        self.current = (id, receiver)
        receiver.receive(datagram, from: address)
    }

    func socketDidReceiveAll(_ socket: UDPSocket) {
        if let current { self.note(current.receiver) }
        self.current = nil
        let receivers = self.active
        self.active = []
        for receiver in receivers { receiver.receivedAll() }
    }

    func socket(_ socket: UDPSocket, becameWritable isWritable: Bool) {
        for receiver in self.allReceivers { receiver.socketsBecameWritable(isWritable) }
    }
}
