//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What to do after bytes came in.
public enum SOCKSHandshakeAction: Hashable, Sendable {
    /// Nothing until more come.
    case wait
    /// Write these, go on.
    case reply([UInt8])
    /// The client asked for a connection. Answer with ``SOCKS5Reply/encoded``.
    case connect(TargetAddress, ProxyCredentials?)
    /// Write these, if any, and close.
    case fail([UInt8], ProxyHandshakeFailure)
}

/// Why a handshake failed.
public enum ProxyHandshakeFailure: String, Error, Hashable, Sendable, CaseIterable {
    /// The first byte is not a version of SOCKS.
    case notSOCKS = "not_socks"
    /// SOCKS4.
    case unsupportedVersion = "unsupported_version"
    /// The client offers no method that we take.
    case noAcceptableMethod = "no_acceptable_method"
    case malformed
    case wrongCredentials = "wrong_credentials"
    /// BIND or UDP ASSOCIATE.
    case unsupportedCommand = "unsupported_command"
    case unsupportedAddressType = "unsupported_address_type"
}
