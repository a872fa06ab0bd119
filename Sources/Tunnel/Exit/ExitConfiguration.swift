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
    public var secretKey: SecretKey
    public var relays: [RelayURL]
    /// Where clients reach a relay that the exit reaches by another address.
    public var advertisedRelays: [RelayURL: RelayURL] = [:]
    /// A relay that this node runs, for sessions of clients that take direct paths.
    public var directRelay: DirectRelay?
    /// Which addresses of relays that clients name are dialled; nil for none.
    public var clientRelays: DialPolicy?
    public var services: ExitServices
    /// Who may use them; nil for everyone. With a list only sessions are served, since plain NIP-74 has no identities.
    public var access: AuthorizedKeys?
    /// Where the exit goes on behalf of others; nil if it serves nothing but its own services.
    public var policy: ExitPolicy?
    /// Whether a public exit makes itself known on its relays.
    public var announces = true
    /// Which addresses of entries are dialled that ask for it (CONNECTR); nil for none. Such streams are not encrypted.
    public var reverseConnections: DialPolicy?
    /// Whether the exit's relays are published as its list (NIP-65).
    public var publishesRelays = false
    /// File that remembers which lists the exit wrote; nil for memory alone.
    public var relayListFile: String?
    public var relayClient = RelayClientConfiguration()
    public var dialect = NIP74Configuration()
    public var session = SessionConfiguration()
    /// What clients may speak.
    public var dialectChoice = DialectChoice.auto
    /// Answers AUTH on the connections of sessions, where a relay admits only authors that it knows; a throwaway key
    /// otherwise. The exit's own subscription always authenticates as the exit.
    public var relayAuthenticationKey: SecretKey?
    /// Whether first bytes inside of an offer are passed on at once. A relay that has the exit's key, or gets it later, can
    /// read them; nobody can have them passed on twice.
    public var takesEarlyData = false
    /// File that remembers the CONNECTs that were dialled; nil for memory alone, and then a restart forgets them.
    public var replayFile: String?

    /// Sessions at once.
    public var maximumSessions = 1_024
    /// Bytes of all sessions together that came and that no service has taken. Beyond it the session goes that holds most.
    public var maximumHeldBytes = 1 << 30
    /// How long a session has had no stream when another may take its place.
    public var idleSessionAge: TimeAmount = .seconds(2)
    /// Offers at once that wait for the client's first packet; beyond it the oldest goes.
    public var maximumOffers = 256
    /// Messages a second from keys that are not known, of each relay, and offers a second; twice as many at once. What is
    /// beyond is dropped unread.
    public var handshakesPerSecond = 300
    /// Client keys at once that speak NIP-74. The reference makes one for each stream.
    public var maximumPeers = 4_096
    /// Streams of sessions at once, of all clients. Above half of it each session has a share.
    public var maximumStreams = 16_384
    /// Streams of plain NIP-74 at once.
    public var maximumPlainStreams = 4_096
    /// Age from which a stream whose client never sent a byte is ended when room is needed.
    public var silentStreamAge: TimeAmount = .seconds(2)
    /// For the backend to accept a connection.
    public var dialTimeout: TimeAmount = .seconds(10)
    /// How long a client key is remembered after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    public init(secretKey: SecretKey, relays: [RelayURL], services: ExitServices) {
        self.secretKey = secretKey
        self.relays = relays
        self.services = services
    }

    /// The address of a relay for clients.
    func advertised(_ relay: RelayURL) -> RelayURL { self.advertisedRelays[relay] ?? relay }

    /// The name by which clients reach the exit.
    public var name: NostrName {
        NostrName(publicKey: self.secretKey.publicKey, relays: self.advertisedRelaysInOrder)
    }

    /// The relays as clients reach them.
    var advertisedRelaysInOrder: [RelayURL] { self.relays.map { self.advertised($0) } }
}
