//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

// Keys, names, relays, streams and configurations are what these modules call them; `import NostrTunnel` is enough to use them.
@_exported import NIOCore
@_exported import Nostr
@_exported import NostrClient
@_exported import NostrCrypto
@_exported import Tunnel
@_exported import TunnelProtocol
