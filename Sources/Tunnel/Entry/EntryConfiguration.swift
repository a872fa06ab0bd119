//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import Nostr
public import NostrClient
public import NostrCrypto
public import TunnelProtocol

/// The settings of an entry.
public struct EntryConfiguration: Sendable {
    /// Port of the reference implementation.
    public static let defaultPort = 8882

    /// Host name or address on which the proxy listens.
    public var host = "127.0.0.1"
    /// Port on which the proxy listens; 0 for a free one.
    public var port = Self.defaultPort
    /// Whether there is a proxy.
    public var servesProxy = true
    /// Ports that are forwarded to one target each.
    public var forwards: [LocalForward] = []
    /// Whether to listen on addresses that other machines can reach.
    public var allowsRemoteClients = false
    /// Relays for names that carry none. The entry stays connected to them.
    public var relays: [RelayURL] = []
    /// What clients of the proxy must present; nil if it is open to everyone.
    public var credentials: ProxyCredentials?
    /// Whether relays that names carry may have loopback and private addresses; nil to allow it if the entry listens only on
    /// loopback.
    public var allowsLocalRelays: Bool?
    /// Connections to relays.
    public var relayClient = RelayClientConfiguration()
    /// Plain NIP-74.
    public var nip74 = NIP74Configuration()
    /// Sessions.
    public var session = SessionConfiguration()
    /// Address at which exits that speak plain NIP-74 can connect to this entry (CONNECTR), which listens on the port on
    /// every address of the machine; nil if exits answer by relays.
    public var publicAddress: TargetAddress?
    /// Which protocols are spoken with exits.
    public var protocolChoice = ProtocolChoice.auto
    /// Whether streams are reported as open before the exit confirms it, which saves round trips; a failure is a reset then.
    /// The first bytes go with the offer to exits that are known to speak sessions.
    public var isOptimistic = false
    /// How long to wait for a client's first bytes, so that they go with the request.
    public static let earlyDataPatience: TimeAmount = .milliseconds(25)
    /// File that remembers the exits that speak sessions; nil to remember them in memory.
    public var pinsFile: String?
    /// Signs answers to AUTH challenges (NIP-42) of the configured relays, if they admit only known keys; nil for throwaway
    /// keys. It should not be the identity of the entry's user.
    public var relayAuthenticationKey: SecretKey?
    /// Exits by which targets on the internet are reached.
    public var exits: [NostrName] = []
    /// Whether exits that announce themselves on the configured relays are used for targets on the internet.
    public var usesPublicExits = false
    /// Identifies the user to exits that require an identity. Relays do not learn it.
    public var identity: SecretKey?
    /// Describes a remedy in logs and on pages.
    package var remedyText: @Sendable (Remedy) -> String = { $0.description }
    /// How long it is remembered that an exit speaks only NIP-74.
    public var plainMemory: TimeAmount = .minutes(10)

    /// Most events per second of unknown keys that are decrypted as answers to an offer; twice as many at once.
    static let answersPerSecond = 500

    /// Most relays of one name that are used. The exit may add as many.
    public static let maximumRelaysPerName = 8
    /// Most connections of clients at once.
    public var maximumConnections = 4_096
    /// Most exits at once.
    public var maximumExits = 256
    /// For a client to send its request.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// For a relay of the name to connect and subscribe.
    public var relayTimeout: TimeAmount = .seconds(10)
    /// After this time a request fails if all relays of the name are unreachable. Also for a relay of the exit's list to
    /// connect.
    public var relayPatience: TimeAmount = .seconds(2)
    /// How long the first request to an exit waits for its slower relays. The request goes to all relays that are ready,
    /// because it is not known by which the exit can be reached.
    public var relayGathering: TimeAmount = .seconds(1)
    /// For a relay to answer with the relay list of an exit (NIP-65).
    public var relayListTimeout: TimeAmount = .seconds(3)
    /// How long an exit's session and relays are kept after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    /// Creates a configuration with the default values.
    public init() {}
}
