//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto
package import TunnelProtocol

extension EntryService {
    /// Enrols this device with an exit. The invite must be in ``EntryConfiguration/invites``.
    ///
    /// - Parameters:
    ///   - exit: The exit, with its relays.
    ///   - invite: The secret of the invite.
    ///   - identity: The key by which the exit is to know the device.
    ///   - deviceName: The name that the device suggests for itself.
    /// - Returns: The exit's answer.
    /// - Throws: ``StreamFailure`` if there is no session or no answer.
    package func enrol(
        with exit: NostrName,
        invite: InviteSecret,
        identity: SecretKey,
        deviceName: String
    ) async throws -> EnrolmentAnswer {
        // An nprofile has room for all relays.
        let stream = try await self.open(TargetAddress(host: .domain(exit.nprofile), port: Enrolments.port))
        guard let transcript = try await self.transcript(of: exit.publicKey) else {
            throw StreamFailure(.sessionRequired)
        }
        let request = try EnrolmentRequest(
            token: invite.token(for: exit.publicKey),
            identity: identity,
            name: deviceName,
            transcript: transcript
        )
        try await stream.write(request.encoded)
        try await stream.finish()
        var answer = ByteBuffer()
        for try await var bytes in stream {
            guard answer.readableBytes + bytes.readableBytes <= EnrolmentAnswer.maximumLength else { break }
            answer.writeBuffer(&bytes)
        }
        guard let answer = EnrolmentAnswer(encoded: answer) else { throw StreamFailure(.protocolViolation) }
        return answer
    }
}
