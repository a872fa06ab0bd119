//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import HTTPTransport
public import Nostr
public import NostrClient
public import NostrCrypto
public import Tunnel
public import TunnelProtocol

// The types of the API that other modules define, so that a program needs to import only this one.

/// A secret key of Nostr.
public typealias SecretKey = NostrCrypto.SecretKey
/// A public key of Nostr.
public typealias PublicKey = NostrCrypto.PublicKey
/// The 32 bytes of a key.
public typealias Bytes32 = NostrCrypto.Bytes32
/// The URL of a relay.
public typealias RelayURL = Nostr.RelayURL
/// A name that consists of a public key and relays.
public typealias NostrName = TunnelProtocol.NostrName
/// The destination of a stream.
public typealias TargetAddress = TunnelProtocol.TargetAddress
/// The reason why a stream ended.
public typealias StreamEnd = TunnelProtocol.StreamEnd
/// The limits and timeouts of sessions.
public typealias SessionConfiguration = TunnelProtocol.SessionConfiguration
/// The limits and timeouts of plain NIP-74.
public typealias NIP74Configuration = TunnelProtocol.NIP74Configuration
/// The limits and timers of connections to relays.
public typealias RelayClientConfiguration = NostrClient.RelayClientConfiguration
/// The configuration of a client.
public typealias EntryConfiguration = Tunnel.EntryConfiguration
/// A local port that a client forwards.
public typealias LocalForward = Tunnel.LocalForward
/// The configuration of a host.
public typealias ExitConfiguration = Tunnel.ExitConfiguration
/// The services of a host.
public typealias ExitServices = Tunnel.ExitServices
/// The rules of a public exit.
public typealias ExitPolicy = Tunnel.ExitPolicy
/// The keys that have access to a host.
public typealias AuthorizedKeys = Tunnel.AuthorizedKeys
/// A service that is implemented by a function of the program.
public typealias LocalService = Tunnel.LocalService
/// The choice between sessions, plain NIP-74, or both.
public typealias ProtocolChoice = Tunnel.ProtocolChoice
/// An open stream.
public typealias TunnelStream = Tunnel.TunnelStream
/// The error for a stream that could not be opened, or that failed.
public typealias StreamFailure = Tunnel.StreamFailure
/// The relays, sessions and streams of a client or host.
public typealias TunnelStatus = Tunnel.TunnelStatus
/// The address of a service of a host.
public typealias Backend = Tunnel.Backend
/// A SOCKS5 proxy for the connections to relays.
public typealias SOCKS5Proxy = HTTPTransport.SOCKS5Proxy
/// A user name and a password that proxy clients must send.
public typealias ProxyCredentials = TunnelProtocol.ProxyCredentials
/// Which addresses may be connected to.
public typealias DialPolicy = NostrClient.DialPolicy
/// The error for an address that is not a loopback address where one is required.
public typealias NotLoopbackError = Tunnel.NotLoopbackError
/// The error of an operation with keys.
public typealias CryptoError = NostrCrypto.CryptoError
