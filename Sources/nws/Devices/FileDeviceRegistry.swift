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
        do {
            for file in self.files where file.exists {
                if let grant = try Self.enrol(device, name: name, insteadOf: derived, in: file) { return grant }
            }
        } catch let failure as EnrolmentFailure {
            throw failure
        } catch {
            throw .notSaved("\(error)")
        }
        throw .used
    }

    /// Returns nil if the file does not contain the invite.
    private static func enrol(
        _ device: PublicKey,
        name: String,
        insteadOf derived: [UInt8],
        in file: AuthorizedKeysFile
    ) throws -> AuthorizedKeys.Grant? {
        let now = Int64(Date().timeIntervalSince1970)
        return try file.edit { lines in
            for (index, line) in lines.enumerated() {
                guard case .invite(let invite)? = AuthorizedKeysFile.parse(line), invite.derived == derived else {
                    continue
                }
                guard invite.expires.map({ now < $0 }) ?? true else { throw EnrolmentFailure.expired }
                var comment = AuthorizedKeysLine.comment(invite.comment.isEmpty ? name : invite.comment)
                if comment.isEmpty { comment = Self.fallbackName }
                let grant = AuthorizedKeys.Grant(services: invite.services, added: now, comment: comment)
                lines[index] = ""
                // The device may have an older permission, which this one replaces.
                if let old = AuthorizedKeysFile.index(of: device, in: lines) { lines.remove(at: old) }
                lines.removeAll { $0.isEmpty }
                lines.append(AuthorizedKeysLine.key(device, grant).text)
                return grant
            }
            return nil
        }
    }
}
