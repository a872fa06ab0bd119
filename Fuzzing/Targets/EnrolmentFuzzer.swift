//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Tunnel
import TunnelProtocol

/// What a device sends to enrol, what an exit answers, lines of invites, and names as people paste them.
enum EnrolmentFuzzer {
    static func run(_ input: [UInt8]) {
        if let request = EnrolmentRequest(encoded: ByteBuffer(bytes: input)) {
            precondition(request.encoded == input)
            Self.comment(request.name)
        }
        if let answer = EnrolmentAnswer(encoded: ByteBuffer(bytes: input)) {
            precondition(EnrolmentAnswer(encoded: answer.encoded) == answer)
        }
        let text = String(decoding: input, as: UTF8.self)
        Self.comment(text)
        // Without the checksum, which no mutation would survive.
        for line in [text, Bech32.encode(prefix: InviteCode.prefix, bytes: input)] {
            guard let code = try? InviteCode(line) else { continue }
            guard let again = try? InviteCode(code.encoded) else { fatalError("an encoded invite does not decode") }
            precondition(again.name == code.name && again.expires == code.expires)
            precondition(again.secret.exposeBytes() == code.secret.exposeBytes())
        }
        if let pasted = PastedName(text) {
            precondition(!pasted.host.isEmpty)
            if let alias = Alias(pasted.host) { precondition(Alias(domain: alias.domain) == alias) }
        }
        if let alias = Alias(domain: text) { precondition((try? NostrName(alias.domain)) == nil) }
    }

    /// A name from another machine must not change the meaning of a line in an access list.
    private static func comment(_ text: String) {
        guard let key = try? SecretKey(Bytes32.sha256(of: [1])).publicKey else { return }
        let grant = AuthorizedKeys.Grant(services: [22], comment: AuthorizedKeysLine.comment(text))
        let list = try? AuthorizedKeys(parsing: AuthorizedKeysLine.key(key, grant).text + "\n")
        precondition(list?.grants == [key: grant])
    }
}
