//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

// These modules define the types of the public API. A program needs to import only `NostrTunnel`.
@_exported import NIOCore
@_exported import Nostr
@_exported import NostrClient
@_exported import NostrCrypto
@_exported import Tunnel
@_exported import TunnelProtocol
