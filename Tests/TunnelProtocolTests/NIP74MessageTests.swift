//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import TunnelProtocol

@Suite("NIP-74 messages")
struct NIP74MessageTests {
    @Test("members are encoded in the reference's order, and empty ones are omitted")
    func encoding() {
        let message = NIP74Message(key: "k", kind: .socks5Response, payload: .bytes([104, 105]), destination: "d")
        #expect(
            String(decoding: message.encoded(), as: UTF8.self)
                == #"{"key":"k","type":"SOCKS5RESPONSE","data":"aGk=","destination":"d"}"#
        )
        let bare = NIP74Message(key: "k", kind: .connect)
        #expect(String(decoding: bare.encoded(), as: UTF8.self) == #"{"key":"k","type":"CONNECT"}"#)
    }

    @Test("the largest data message fits the plaintext limit of a default strfry")
    func sizes() {
        let destination = String(repeating: "d", count: 120)
        let key = "00000000-0000-4000-8000-000000000000"
        let message = NIP74Message(
            key: key,
            kind: .socks5Response,
            payload: .bytes([UInt8](repeating: 1, count: NIP74Configuration.maximumData)),
            destination: destination
        )
        #expect(message.encoded().count <= NIP74Configuration.maximumPlaintext)
        #expect(message.encoded().count > NIP74Configuration.maximumPlaintext - 8)
    }
}
