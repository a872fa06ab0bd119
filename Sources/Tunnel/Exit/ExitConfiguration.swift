//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import Nostr
public import NostrClient
public import NostrCrypto
public import TunnelProtocol

/// The settings of an exit.
public struct ExitConfiguration: Sendable {
    /// The exit's long-term key, from which its name is made.
    public var secretKey: SecretKey
    /// The relays to connect to. Sessions use up to 16 of them.
    public var relays: [RelayURL]
    /// URLs by which clients reach relays that the exit reaches by other URLs.
    public var advertisedRelays: [RelayURL: RelayURL] = [:]
    /// The services by port.
    public var services: ExitServices
    /// The keys that may use the exit; nil for everyone. With a list only sessions are served, because plain NIP-74 proves
    /// no identity.
    public var access: AuthorizedKeys?
    /// The rules of a public exit; nil for an exit that connects only to its own services.
    public var policy: ExitPolicy?
    /// Whether a public exit announces itself on its relays.
    public var announces = true
    /// Which addresses of entries to connect to when they ask for it (CONNECTR); nil for none. Such streams are not
    /// encrypted.
    public var reverseConnections: DialPolicy?
    /// Whether the exit's relays are published as its relay list (NIP-65).
    public var publishesRelays = false
    /// File that remembers which relay lists the exit wrote; nil to remember them in memory.
    public var relayListFile: String?
    /// Connections to relays.
    public var relayClient = RelayClientConfiguration()
    /// Plain NIP-74.
    public var nip74 = NIP74Configuration()
    /// Sessions.
    public var session = SessionConfiguration()
    /// Which protocols are served.
    public var protocolChoice = ProtocolChoice.auto
    /// Signs answers to AUTH challenges (NIP-42) on the connections of sessions, for relays that admit only known keys; nil
    /// for throwaway keys. The connections of the long-term key always authenticate with that key.
    public var relayAuthenticationKey: SecretKey?
    /// Whether the first bytes of a stream may come with the offer of a session. They have no forward secrecy: whoever gets
    /// the exit's key can read them. They are passed on once.
    public var takesEarlyData = false
    /// File that remembers which requests of plain NIP-74 were served; nil to forget them with a restart.
    public var replayFile: String?
    /// Describes a remedy in logs and on pages.
    package var remedyText: @Sendable (Remedy) -> String = { $0.description }

    /// Most sessions at once.
    public var maximumSessions = 1_024
    /// Most received bytes of all sessions together that services have not taken. Beyond it the session that holds most is
    /// ended.
    public var maximumHeldBytes = 1 << 30
    /// How long a session must be without streams before another may replace it.
    public var idleSessionAge: TimeAmount = .seconds(2)
    /// Most offers at once that wait for the client's first packet. Beyond it the oldest is forgotten.
    public var maximumOffers = 256
    /// Most messages per second of unknown keys on each relay, and offers per second; twice as many at once. Others are
    /// dropped.
    public var handshakesPerSecond = 300
    /// Most client keys of plain NIP-74 at once. The reference implementation uses one for each stream.
    public var maximumPeers = 4_096
    /// Most streams of all sessions at once. Above half of it each session has a share.
    public var maximumStreams = 16_384
    /// Most streams of plain NIP-74 at once.
    public var maximumPlainStreams = 4_096
    /// Age from which a stream whose client has sent nothing is ended when room is needed.
    public var silentStreamAge: TimeAmount = .seconds(2)
    /// For a service to accept a connection.
    public var dialTimeout: TimeAmount = .seconds(10)
    /// How long a client of plain NIP-74 is remembered after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    /// Creates a configuration with default limits.
    ///
    /// - Parameters:
    ///   - secretKey: The exit's secret key. Its name contains the public key.
    ///   - relays: The relays to listen on.
    ///   - services: The services by port.
    public init(secretKey: SecretKey, relays: [RelayURL], services: ExitServices) {
        self.secretKey = secretKey
        self.relays = relays
        self.services = services
    }

    /// The URL by which clients reach a relay.
    func advertised(_ relay: RelayURL) -> RelayURL { self.advertisedRelays[relay] ?? relay }

    /// The name by which clients reach the exit.
    public var name: NostrName {
        NostrName(publicKey: self.secretKey.publicKey, relays: self.advertisedRelaysInOrder)
    }

    /// The relays as clients reach them.
    var advertisedRelaysInOrder: [RelayURL] { self.relays.map { self.advertised($0) } }
}
