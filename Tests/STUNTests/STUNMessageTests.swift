//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import STUN

@Suite("STUN")
struct STUNMessageTests {
    private func bytes(_ hex: String) -> ByteBuffer {
        ByteBuffer(bytes: hex.split(separator: " ").compactMap { UInt8($0, radix: 16) })
    }

    private static let transaction = "b7 e7 a7 01 bc 34 d6 86 fa 87 df ae"

    @Test("the responses of RFC 5769 (sections 2.2 and 2.3) are decoded")
    func samples() throws {
        let four = self.bytes(
            "01 01 00 3c 21 12 a4 42 \(Self.transaction) 80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20 "
                + "00 20 00 08 00 01 a1 47 e1 12 a6 43 "
                + "00 08 00 14 2b 91 f5 99 fd 9e 90 c3 8c 74 89 f9 2a f9 ba 53 f0 6b e7 d7 80 28 00 04 c0 7d 4c 96"
        )
        let six = self.bytes(
            "01 01 00 48 21 12 a4 42 \(Self.transaction) 80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20 "
                + "00 20 00 14 00 02 a1 47 01 13 a9 fa a5 d3 f1 79 bc 25 f4 b5 be d2 b9 d9 "
                + "00 08 00 14 a3 82 95 4e 4b e6 7b f1 17 84 c9 7c 82 92 c2 75 bf e3 ed 41 80 28 00 04 c8 fb 0b 4c"
        )
        let id = try #require(STUNMessage.TransactionID(self.bytes(Self.transaction).getBytes(at: 0, length: 12) ?? []))
        let first = try #require(TransportAddress([192, 0, 2, 1], port: 32_853))
        #expect(STUNMessage(four) == .response(id, mapped: first))
        let address: [UInt8] = [
            0x20, 1, 0x0d, 0xb8, 0x12, 0x34, 0x56, 0x78, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
        ]
        #expect(STUNMessage(six) == .response(id, mapped: try #require(TransportAddress(address, port: 32_853))))
    }

    @Test("messages survive encoding, and no response is longer than the request")
    func encoding() throws {
        let id = try #require(STUNMessage.TransactionID([UInt8](1...12)))
        let request = STUNMessage.request(id)
        #expect(STUNMessage(request.encoded) == request && request.encoded.readableBytes == STUNMessage.requestLength)
        for address in [[10, 1, 2, 3], [UInt8](0..<16)] {
            let response = STUNMessage.response(id, mapped: try #require(TransportAddress(address, port: 9)))
            #expect(STUNMessage(response.encoded) == response)
            #expect(response.encoded.readableBytes <= request.encoded.readableBytes)
        }
    }

    @Test("other messages and malformed ones are refused")
    func malformed() throws {
        let id = try #require(STUNMessage.TransactionID([UInt8](1...12)))
        let request = STUNMessage.request(id).encoded
        for length in 0..<request.readableBytes {
            #expect(STUNMessage(try #require(request.getSlice(at: 0, length: length))) == nil)
        }
        var other = request
        other.setInteger(UInt16(0x0003), at: 0)
        #expect(STUNMessage(other) == nil)
        // An attribute that must be understood, and is not: CHANGE-REQUEST.
        var unknown = self.bytes("00 01 00 08 21 12 a4 42 \(Self.transaction) 00 03 00 04 00 00 00 06")
        #expect(STUNMessage(unknown) == nil)
        unknown.setInteger(UInt16(0x8003), at: 20)
        #expect(STUNMessage(unknown) != nil)
        #expect(STUNMessage(self.bytes("01 01 00 00 21 12 a4 42 \(Self.transaction)")) == nil)
        #expect(!STUNMessage.isSTUN(ByteBuffer(bytes: [0x40] + [UInt8](repeating: 0, count: 40))))
    }
}
