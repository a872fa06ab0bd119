//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import NIOCore
import TunnelProtocol

/// Connects to entries that request it (CONNECTR), and serves the stream of each connection.
final class ReverseConnector {
    private let context: ExitContext
    private let connector: StreamConnector
    private let connections: ConnectionSet

    init(connector: StreamConnector, context: ExitContext) {
        self.context = context
        self.connector = connector
        self.connections = ConnectionSet(limit: context.configuration.maximumPlainStreams)
    }

    /// Connects to an entry. The caller must have checked that the request may be served.
    func connect(_ address: (host: String, port: UInt16), for request: ReverseRequest, of client: StreamClient) {
        guard let policy = self.context.configuration.reverseConnections else { return }
        self.connector.connectToEntry(
            address,
            policy: policy,
            key: request.connect.key,
            of: client,
            in: self.connections
        ) { [weak self] in self?.join($0, request, of: client) }
    }

    private func join(_ stream: ReverseStream, _ request: ReverseRequest, of client: StreamClient) {
        let id = ReverseStream.stream
        guard self.context.configuration.access == nil else { return stream.reset(id, .notAllowed) }
        let asked = StreamRequest(destination: request.destination, port: nil)
        switch self.connector.connect(asked, of: client, carrier: stream, id: id) {
        case .accepted(let endpoint):
            self.context.metrics.streamsOpened.increment()
            stream.setEndpoint(endpoint)
        case .refused(let reason):
            self.context.metrics.ended(reason)
            stream.reset(id, reason)
        }
    }

    func closeAll() { self.connections.closeAll() }
}
