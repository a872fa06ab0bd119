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
    /// The exit's long-term secret key. The exit's name contains the public key.
    public var secretKey: SecretKey
    /// The relays to connect to. Sessions use up to 16 of them.
    public var relays: [RelayURL]
    /// URLs by which clients reach relays, by the URLs that the exit itself uses. Only for relays whose URLs differ.
    public var advertisedRelays: [RelayURL: RelayURL] = [:]
    /// The services by port.
    public var services: ExitServices
    /// The keys that may use the exit; nil to allow everyone. With a list of keys the exit serves only sessions,
    /// because plain NIP-74 does not authenticate clients.
    public var access: AuthorizedKeys?
    /// Where devices that enrol with invites are saved; nil to enrol none.
    package var registry: (any DeviceRegistry)?
    /// The rules of a public exit; nil for an exit that connects only to its own services.
    public var policy: ExitPolicy?
    /// Whether a public exit announces itself on its relays.
    public var announces = true
    /// The addresses to which the exit connects if an entry requests it (CONNECTR); nil for none. These connections are
    /// not encrypted.
    public var reverseConnections: DialPolicy?
    /// Whether the exit's relays are published as its relay list (NIP-65).
    public var publishesRelays = false
    /// The file for the IDs of the relay lists that the exit has published; nil to keep them only in memory.
    public var relayListFile: String?
    /// Settings of the connections to relays.
    public var relayClient = RelayClientConfiguration()
    /// Settings of plain NIP-74.
    public var nip74 = NIP74Configuration()
    /// Settings of sessions.
    public var session = SessionConfiguration()
    /// The protocols that the exit serves.
    public var protocolChoice = ProtocolChoice.auto
    /// The key that authenticates the connections of sessions to relays (NIP-42), for relays that accept only known
    /// keys; nil for temporary keys. The connections of the long-term key always authenticate with that key.
    public var relayAuthenticationKey: SecretKey?
    /// Whether the exit accepts early data: the first bytes of a stream, sent together with the offer of a session.
    /// Early data has no forward secrecy: anyone who obtains the exit's key can decrypt it. It is delivered at most
    /// once.
    public var takesEarlyData = false
    /// The file for served requests, so that plain NIP-74 requests and early data cannot be replayed after a restart;
    /// nil to keep them only in memory.
    public var replayFile: String?
    /// The file to which the exit appends one JSON line for each session and stream; nil for none.
    public var auditFile: String?
    /// The file for the tickets that clients use for their next session; nil to keep them only in memory.
    public var ticketFile: String?
    /// File with the clients that were removed from the access list, so that they learn the reason of a refusal. Nil to keep
    /// them only in memory.
    public var revokedFile: String?
    /// Direct paths to clients.
    public var direct = DirectConfiguration()
    /// Returns the description of a remedy for log messages and pages.
    package var remedyText: @Sendable (Remedy) -> String = { $0.description }

    /// Maximum number of sessions.
    public var maximumSessions = 1_024
    /// Maximum memory in bytes for received data of all sessions that is not yet written to services. Beyond it, the
    /// sessions that use the most are ended.
    public var maximumHeldBytes = 1 << 30
    /// If the maximum number of sessions is reached, a new session replaces one that has been idle for at least this
    /// time.
    public var idleSessionAge: TimeAmount = .seconds(2)
    /// Maximum number of accepted offers that wait for the client's first packet. Beyond it, the oldest offer
    /// of the client or relay with most of them is discarded.
    public var maximumOffers = 256
    /// Maximum number of messages per second from unknown keys on all relays together. Bursts may be twice as large. Of
    /// messages that no stream follows, a tenth of this number is taken. Further messages wait, and those with the least
    /// proof of work are dropped. With an access list, seven times this number is decrypted.
    public var handshakesPerSecond = 300
    /// Maximum number of streams that one client with a proven identity opens per second. Bursts may be twice as large. Others
    /// may open a tenth of this number, and half of it together; their bursts may be five times as large.
    public var connectsPerSecondPerClient = 2_000
    /// Maximum number of client keys of plain NIP-74. The reference implementation uses one key for each stream.
    public var maximumPeers = 4_096
    /// Maximum number of streams of all sessions together. If half of them or more are in use, each session is
    /// limited to its share.
    public var maximumStreams = 16_384
    /// Maximum number of streams of plain NIP-74.
    public var maximumPlainStreams = 4_096
    /// Minimum age at which a plain NIP-74 stream whose client has sent no data may be ended to make room for another
    /// one.
    public var silentStreamAge: TimeAmount = .seconds(2)
    /// Timeout for connecting to one address of a service or target.
    public var dialTimeout: TimeAmount = .seconds(10)
    /// How long a client of plain NIP-74, and an unused connection to a relay, is kept.
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

    /// The URLs by which clients reach the relays.
    var advertisedRelaysInOrder: [RelayURL] { self.relays.map { self.advertised($0) } }

    /// The comment of an identity in the access list.
    func comment(of identity: PublicKey?) -> String? {
        identity.flatMap { self.access?.grants[$0]?.comment }
    }
}
