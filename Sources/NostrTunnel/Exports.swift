//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

// The modules whose types the API uses, so that a program needs to import only this one.
@_exported public import HTTPTransport
@_exported public import Nostr
@_exported public import NostrClient
@_exported public import NostrCrypto
@_exported public import Tunnel
@_exported public import TunnelProtocol

@_exported public import struct NIOCore.ByteBuffer
