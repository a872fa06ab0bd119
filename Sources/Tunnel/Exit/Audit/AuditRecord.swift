//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import TunnelProtocol

/// One line of an audit log: who used the exit, for what, when, and how it ended.
struct AuditRecord {
    /// What ended.
    enum Subject: String {
        case session, stream
    }

    let subject: Subject
    /// The client's session key, which connects the streams of a session.
    let client: PublicKey
    let identity: PublicKey?
    /// The comment of the identity in the access list.
    let name: String?
    /// The port of the service, or "internet". Nil for a session.
    let service: String?
    let began: Int64
    let ended: Int64
    /// Bytes to and from the client.
    let sent: Int
    let received: Int
    let reason: StreamEnd?

    /// The line as JSON, with a line break. The members that have no value are left out.
    var line: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeString("{\"event\":\"\(self.subject.rawValue)\"")
        for (name, seconds) in [("began", self.began), ("ended", self.ended)] {
            buffer.writeString(",\"\(name)\":\"\(AuditLog.date(seconds))\"")
        }
        if let identity { buffer.writeString(",\"identity\":\"\(identity.npub)\"") }
        if let name, !name.isEmpty {
            buffer.writeStaticString(",\"name\":")
            buffer.writeJSONString(Array(name.utf8))
        }
        if let service { buffer.writeString(",\"service\":\"\(service)\"") }
        buffer.writeString(",\"client\":\"\(self.client.hex)\",\"sent\":\(self.sent),\"received\":\(self.received)")
        buffer.writeString(",\"reason\":\"\(self.reason?.rawValue ?? "complete")\"}\n")
        return buffer
    }
}
