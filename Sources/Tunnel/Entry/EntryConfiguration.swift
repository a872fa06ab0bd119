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
    /// The default port, which is also that of the reference implementation.
    public static let defaultPort = 8882

    /// Host name or address on which the proxy listens.
    public var host = "127.0.0.1"
    /// Port on which the proxy listens; 0 for any free port.
    public var port = Self.defaultPort
    /// Whether the entry runs a proxy.
    public var servesProxy = true
    /// Local ports, each of which is forwarded to one target.
    public var forwards: [LocalForward] = []
    /// Whether to listen on addresses that other machines can reach.
    public var allowsRemoteClients = false
    /// Relays for names that contain none. The entry stays connected to them.
    public var relays: [RelayURL] = []
    /// The credentials that clients of the proxy must send; nil if the proxy requires none.
    public var credentials: ProxyCredentials?
    /// Whether relays that names, relay lists and exits name may have loopback and private addresses. Nil to allow this only
    /// for relays in names, and only without a proxy: the user has then chosen the names, but any web page can make a
    /// browser use a proxy.
    public var allowsLocalRelays: Bool?
    /// Settings of the connections to relays.
    public var relayClient = RelayClientConfiguration()
    /// Settings of plain NIP-74.
    public var nip74 = NIP74Configuration()
    /// Settings of sessions.
    public var session = SessionConfiguration()
    /// The address at which exits can connect to this entry for plain NIP-74 streams (CONNECTR); nil to use only
    /// relays. The entry listens on its port on every address of the machine.
    public var publicAddress: TargetAddress?
    /// The protocols that are used with exits.
    public var protocolChoice = ProtocolChoice.auto
    /// Whether a stream is reported as open before the exit confirms it, which saves round trips. If opening then
    /// fails, the stream is reset. To exits that are known to support sessions, the first bytes are sent together with
    /// the offer.
    public var isOptimistic = false
    /// How long to wait for a client's first bytes, so that they can be sent together with the request.
    public static let earlyDataTimeout: TimeAmount = .milliseconds(25)
    /// The file for the exits that are known to support sessions; nil to keep them only in memory.
    public var pinsFile: String?
    /// The folder for the tickets that exits sent; nil to keep them only in memory.
    public var ticketFolder: String?
    /// The key that authenticates the entry to the configured relays (NIP-42), for relays that accept only known keys;
    /// nil for temporary keys. It should not be the identity of the entry's user.
    public var relayAuthenticationKey: SecretKey?
    /// The exits for targets on the internet.
    public var exits: [NostrName] = []
    /// Whether exits that announce themselves on the configured relays are used for targets on the internet.
    public var usesPublicExits = false
    /// The secret key that identifies the user to exits that require an identity. Relays cannot see this identity.
    public var identity: SecretKey?
    /// The keys by which exits know this device, if it has a key for each of them. They take the place of ``identity``, and
    /// ``identityExits`` does not apply to them.
    public var identities: [PublicKey: SecretKey] = [:]
    /// The names that the user gave to exits. A target such as `home.nostr` stands for the exit with the alias `home`.
    public var aliases: [Alias: NostrName] = [:]
    /// The ports of the services that exits offered to this device, for the entry's own page.
    package var services: [PublicKey: [UInt16]] = [:]
    /// The secrets of invites, with which this device enrols with exits.
    package var invites: [PublicKey: InviteSecret] = [:]
    /// The exits that may learn the user's identity. An exit can test whether a proof in an offer belongs to a public key that
    /// it guesses, so a proxy, which any web page can use, must not send one to every exit. Nil for every exit that a request
    /// names.
    public var identityExits: Set<PublicKey>?
    /// Direct paths to exits.
    public var direct = DirectConfiguration()
    /// Returns the description of a remedy for log messages and pages.
    package var remedyText: @Sendable (Remedy) -> String = { $0.description }
    /// Called when an exit with an alias names relays that the alias does not contain, with all relays that it uses. The exit's
    /// signature covers them. Called on the event loop; must not block.
    package var relaysChanged: (@Sendable (PublicKey, [RelayURL]) -> Void)?
    /// How long plain NIP-74 is used with an exit that answered with it, until a session is offered again.
    public var plainMemory: TimeAmount = .minutes(10)

    /// How long an exit may take to answer an offer with a ticket, until a session is offered with the client's identity.
    static let ticketTimeout: TimeAmount = .seconds(1)

    /// How long after the fallback to plain NIP-74 an exit that has sent nothing is reported.
    static let silenceReport: TimeAmount = .seconds(10)

    /// Maximum number of events per second from unknown keys that are decrypted as answers to an offer. Bursts may be
    /// twice as large.
    static let answersPerSecond = 500

    /// Maximum number of relays of a name that are used. The exit may add the same number of relays.
    public static let maximumRelaysPerName = 8
    /// Maximum number of client connections.
    public var maximumConnections = 4_096
    /// Maximum number of exits in use.
    public var maximumExits = 256
    /// Timeout for a client to send its request.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// How long a request waits for a relay of the name to be connected and subscribed.
    public var relayTimeout: TimeAmount = .seconds(10)
    /// How long a request waits if all relays of the name are unreachable. It is also the timeout for connecting to
    /// relays that are queried for an exit's relay list, and to the relays in this list.
    public var relayConnectTimeout: TimeAmount = .seconds(2)
    /// How long the first request to an exit that may speak only plain NIP-74 waits for slower relays. The request is sent
    /// to all relays that are ready, because it is not known on which of them the exit listens.
    public var relayGathering: TimeAmount = .seconds(1)
    /// How long such a request waits for slower relays after the first one is ready.
    public var slowerRelayTimeout: TimeAmount = .milliseconds(300)
    /// Timeout for a query for the relay list of an exit (NIP-65), or for announcements.
    public var relayListTimeout: TimeAmount = .seconds(3)
    /// How long an exit's session and relays are kept after its last stream.
    public var lingering: TimeAmount = .seconds(60)

    /// Creates a configuration with the default values.
    public init() {}
}
