//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import PortMapping
import STUN

/// A router that answers anything at any time. The input is a row of answers; the first byte of each is its length, and the
/// second one the seconds before it.
enum PortMappingFuzzer {
    /// Maximum number of requests in the first minutes: those of both protocols, and two for each answer.
    private static let burst = 20

    static func run(_ input: [UInt8]) {
        guard let client = TransportAddress([192, 168, 1, 2], port: 4_433),
            let nonce = PortMappingNonce(random: [UInt8](repeating: 9, count: 12))
        else { fatalError("an address or a nonce is not valid") }
        var mapper = PortMapper(client: client, nonce: nonce)
        var now = NIODeadline.uptimeNanoseconds(1)
        var requests = 0
        var answers = 0
        mapper.refresh(at: now)
        var rest = input[...]
        while let length = rest.popFirst(), let pause = rest.popFirst() {
            now = now + .seconds(Int64(pause))
            let before = mapper.mapping?.address
            let hasTimedOut = mapper.timeout(at: now)
            precondition(mapper.mapping == nil || !hasTimedOut)
            let hasChanged = mapper.receive(ByteBuffer(bytes: rest.prefix(Int(length))), at: now)
            rest = rest.dropFirst(Int(length))
            answers += 1
            if hasChanged { precondition(mapper.mapping != nil && mapper.mapping?.address != before || hasTimedOut) }
            mapper.refresh(at: now)
            while let request = mapper.nextRequest() {
                precondition([2, 12, 60].contains(request.readableBytes))
                requests += 1
            }
            // A router cannot make the node send without end.
            precondition(requests <= Self.burst + 4 * answers)
            precondition(mapper.nextDeadline.map { $0 > now } ?? true)
        }
        mapper.stop()
        precondition(mapper.mapping == nil && mapper.nextDeadline == nil)
    }
}
