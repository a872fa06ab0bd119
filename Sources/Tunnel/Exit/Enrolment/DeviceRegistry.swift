//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto
import TunnelProtocol

/// Where an exit saves the devices that enrol with invites. The methods may block.
package protocol DeviceRegistry: Sendable {
    /// Saves a device and removes the invite that it used. The invite is invalid from then on.
    ///
    /// - Parameters:
    ///   - device: The key of the device.
    ///   - name: A name for the device, if the invite has none. It comes from the device and may contain anything.
    ///   - derived: The derived keys of the invite (``AuthorizedKeys/Invite/derived``).
    /// - Returns: The permissions of the device.
    /// - Throws: ``EnrolmentFailure``.
    func enrol(
        _ device: PublicKey,
        name: String,
        insteadOf derived: [UInt8]
    ) throws(EnrolmentFailure) -> AuthorizedKeys.Grant
}

/// The reason why a device was not enrolled.
package enum EnrolmentFailure: Error, Hashable, Sendable {
    /// The invite was used by another device, or revoked.
    case used
    /// The invite has expired.
    case expired
    /// The token or the signature is wrong, or the request is malformed.
    case invalid
    /// The exit's list cannot be changed. The text describes the error for the exit's log.
    case notSaved(String)

    /// What the device is told.
    var end: StreamEnd {
        switch self {
        case .used: .revoked
        case .expired: .expired
        case .invalid: .notAllowed
        case .notSaved: .unreachable
        }
    }
}

extension EnrolmentFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .used: "the invite was used or revoked"
        case .expired: "the invite has expired"
        case .invalid: "the request is malformed, its token is not that of the invite, or its signature is invalid"
        case .notSaved(let reason): reason
        }
    }
}
