//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import Nostr
public import NostrClient
public import NostrCrypto
public import TunnelProtocol

/// What an exit serves and where it listens.
public struct ExitConfiguration: Sendable {
    /// Name or address and port of the service.
    public struct Backend: Hashable, Sendable, CustomStringConvertible {
        public let host: String
        public let port: Int

        public init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        public var description: String {
            self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
        }
    }

    public var secretKey: SecretKey
    public var relays: [RelayURL]
    public var backend: Backend
    public var relayClient = RelayClientConfiguration()
    public var dialect = NIP74Configuration()

    /// Client keys at once. The reference makes one for each stream.
    public var maximumPeers = 4_096
    /// Streams at once, of all clients.
    public var maximumStreams = 4_096
    /// Age from which a stream whose client never sent a byte is ended when room is needed.
    public var silentStreamAge: TimeAmount = .seconds(2)
    /// For the backend to accept a connection.
    public var dialTimeout: TimeAmount = .seconds(10)
    /// How long a client key is remembered after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    public init(secretKey: SecretKey, relays: [RelayURL], backend: Backend) {
        self.secretKey = secretKey
        self.relays = relays
        self.backend = backend
    }
}
