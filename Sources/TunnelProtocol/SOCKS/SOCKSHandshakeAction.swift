//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What the caller must do after a handshake has processed bytes.
package enum SOCKSHandshakeAction: Hashable, Sendable {
    /// Wait for more bytes.
    case wait
    /// Send these bytes to the client and continue.
    case reply([UInt8])
    /// Connect to this target, then send a reply that is encoded with ``SOCKSHandshake/encoded(_:)``. The value also
    /// contains the credentials that the client sent, if any.
    case connect(TargetAddress, ProxyCredentials?)
    /// Send these bytes, if there are any, and close the connection.
    case fail([UInt8], ProxyHandshakeFailure)
}

/// The reason why a SOCKS handshake failed.
package enum ProxyHandshakeFailure: String, Error, Hashable, Sendable, CaseIterable {
    /// The first byte is not a SOCKS version.
    case notSOCKS = "not_socks"
    /// The client uses SOCKS4 where only SOCKS5 is accepted.
    case unsupportedVersion = "unsupported_version"
    /// The client offers no acceptable authentication method.
    case noAcceptableMethod = "no_acceptable_method"
    /// The message is malformed.
    case malformed
    /// The credentials are wrong, or the client's SOCKS version cannot send the required ones.
    case wrongCredentials = "wrong_credentials"
    /// The command is not CONNECT.
    case unsupportedCommand = "unsupported_command"
    /// The address type is unknown.
    case unsupportedAddressType = "unsupported_address_type"
}
