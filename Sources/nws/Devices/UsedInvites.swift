//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import NostrCrypto
import Tunnel
import TunnelProtocol

/// The invites of an exit that this device has used, and that the exit has not refused. If the answer of the exit was lost, the
/// device finds out later whether it was enrolled.
///
/// Without this record, a device that was enrolled earlier would report success for an invite that another device has used.
struct UsedInvites {
    private let path: String

    /// Maximum number of invites that are remembered.
    private static let maximumCount = 16

    /// - Parameter key: The file with the key of this device for the exit.
    init(beside key: KeyFile) { self.path = key.path + ".invite" }

    private var verifiers: [String] {
        let data = FileManager.default.contents(atPath: self.path) ?? Data()
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Records that this device uses an invite. Returns whether it has used the invite before.
    func markUsed(_ invite: InviteCode) throws -> Bool {
        let verifiers = self.verifiers
        let verifier = Self.verifier(of: invite)
        guard !verifiers.contains(verifier) else { return true }
        try self.save((verifiers + [verifier]).suffix(Self.maximumCount))
        return false
    }

    /// Forgets an invite, because the exit has refused it.
    func remove(_ invite: InviteCode) throws {
        let verifier = Self.verifier(of: invite)
        try self.save(self.verifiers.filter { $0 != verifier })
    }

    private static func verifier(of invite: InviteCode) -> String {
        invite.secret.verifier(for: invite.name.publicKey).hex
    }

    private func save(_ verifiers: [String]) throws {
        do throws(IOError) {
            try StateFile.save(Array(verifiers.joined(separator: "\n").utf8), to: self.path)
        } catch {
            throw CommandError.failure(
                "cannot write \(self.path): \(unsafe String(cString: strerror(error.errnoCode)))"
            )
        }
    }
}
