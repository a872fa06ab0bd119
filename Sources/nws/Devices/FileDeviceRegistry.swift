//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NostrCrypto
import Tunnel

/// Saves the devices that enrol in the files that an exit reads its access list from.
struct FileDeviceRegistry: DeviceRegistry {
    let files: [AuthorizedKeysFile]

    /// The name of a device that has no valid one.
    private static let fallbackName = "device"

    func enrol(
        _ device: PublicKey,
        name: String,
        insteadOf derived: [UInt8]
    ) throws(EnrolmentFailure) -> AuthorizedKeys.Grant {
        var grant: AuthorizedKeys.Grant?
        do {
            for file in self.files where file.exists {
                let found = try Self.enrol(device, name: name, insteadOf: derived, adding: grant == nil, in: file)
                grant = grant ?? found
            }
        } catch let failure as EnrolmentFailure {
            throw failure
        } catch {
            throw .notSaved("\(error)")
        }
        guard let grant else { throw .used }
        return grant
    }

    /// Removes the invite from a file, and adds the device if the file contained it. An older permission of the device is
    /// removed from every file.
    ///
    /// - Parameter adds: Whether the device is not in another file already.
    /// - Returns: The permissions of the device; nil if the file does not contain the invite.
    private static func enrol(
        _ device: PublicKey,
        name: String,
        insteadOf derived: [UInt8],
        adding adds: Bool,
        in file: AuthorizedKeysFile
    ) throws -> AuthorizedKeys.Grant? {
        let now = Int64(Date().timeIntervalSince1970)
        return try file.edit { lines in
            var invite: AuthorizedKeys.Invite?
            for line in lines {
                if case .invite(let found)? = AuthorizedKeysFile.parse(line), found.derived == derived {
                    invite = found
                }
            }
            guard invite != nil || !adds else { return nil }
            if let expires = invite?.expires, now >= expires { throw EnrolmentFailure.expired }
            lines.removeAll { line in
                switch AuthorizedKeysFile.parse(line) {
                case .invite(let found): found.derived == derived
                case .key(let key, _): key == device
                case nil: false
                }
            }
            guard adds, let invite else { return nil }
            var comment = AuthorizedKeysLine.comment(invite.comment.isEmpty ? name : invite.comment)
            if comment.isEmpty { comment = Self.fallbackName }
            let grant = AuthorizedKeys.Grant(services: invite.services, added: now, comment: comment)
            lines.append(AuthorizedKeysLine.key(device, grant).text)
            return grant
        }
    }
}
