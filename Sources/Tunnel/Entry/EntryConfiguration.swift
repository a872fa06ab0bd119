//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import Nostr
public import NostrClient
public import NostrCrypto
public import TunnelProtocol

/// Where an entry listens and what it allows.
public struct EntryConfiguration: Sendable {
    /// The reference's port.
    public static let defaultPort = 8882

    /// Name or address to listen on.
    public var host = "127.0.0.1"
    /// 0 takes a free one.
    public var port = Self.defaultPort
    /// Whether there is a proxy at all.
    public var servesProxy = true
    /// Ports that lead to one target each.
    public var forwards: [EntryService.Forward] = []
    /// Whether to listen where other machines can connect.
    public var allowsRemoteClients = false
    /// For names that carry none.
    public var relays: [RelayURL] = []
    /// A relay that this node runs, for sessions with exits that dial relays of clients.
    public var directRelay: DirectRelay?
    /// What SOCKS clients must present; nil lets everyone in.
    public var credentials: ProxyCredentials?
    /// Whether relays in names may be on loopback and private addresses. By default only where the entry itself listens
    /// on loopback.
    public var allowsLocalRelays: Bool?
    public var relayClient = RelayClientConfiguration()
    public var dialect = NIP74Configuration()
    public var session = SessionConfiguration()
    /// `HOST:PORT` by which exits that speak plain NIP-74 connect to this entry (CONNECTR), which listens there on every
    /// address of the machine; nil to have them answer by relays.
    public var publicAddress: TargetAddress?
    /// What is spoken with exits.
    public var dialectChoice = DialectChoice.auto
    /// Whether clients are told that their stream is open before the exit said so, which saves round trips; a failure then
    /// is a reset. With an exit that is pinned, first bytes go inside of the offer.
    public var isOptimistic = false
    /// How long a client is waited for to send its first bytes, so that they go with the request.
    public static let earlyDataPatience: TimeAmount = .milliseconds(25)
    /// File that remembers the exits that speak sessions; nil for memory alone.
    public var pinsFile: String?
    /// Answers AUTH where a relay admits only authors that it knows; a throwaway key for each connection otherwise. Never
    /// the identity of whoever uses the entry.
    public var relayAuthenticationKey: SecretKey?
    /// Exits by which places on the internet are reached. Empty, and without public ones, such requests fail.
    public var exits: [NostrName] = []
    /// Whether exits that announce themselves on the configured relays are used for that.
    public var usesPublicExits = false
    /// Proves to exits that ask who is there. Relays never see it.
    public var identity: SecretKey?
    /// How long it is remembered that an exit speaks only NIP-74.
    public var plainMemory: TimeAmount = .minutes(10)

    /// Events a second from unknown keys that are looked at as answers to an offer; twice as many at once.
    static let answersPerSecond = 500

    /// Most relays of one name that are used.
    public static let maximumRelaysPerName = 8
    /// SOCKS connections at once.
    public var maximumConnections = 4_096
    /// Exits talked to at once.
    public var maximumExits = 256
    /// For a SOCKS client to say what it wants.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// For a relay of the name to be connected and subscribed.
    public var relayTimeout: TimeAmount = .seconds(10)
    /// After this, a request fails as soon as every relay of the name is known to be unreachable.
    public var relayPatience: TimeAmount = .seconds(2)
    /// How long the first request to an exit waits for the slower ones of its relays: nobody knows by which the exit
    /// can be reached, and CONNECT goes to all that are ready.
    public var relayGathering: TimeAmount = .seconds(1)
    /// For the list of relays of a bare npub (NIP-65).
    public var relayListTimeout: TimeAmount = .seconds(3)
    /// How long the key and the connections for an exit are kept after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    public init() {}
}
