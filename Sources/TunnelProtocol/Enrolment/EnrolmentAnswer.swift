//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The exit's answer to an ``EnrolmentRequest``.
package enum EnrolmentAnswer: Hashable, Sendable {
    /// The exit knows the device from now on.
    case enrolled(Services)
    /// The exit does not enrol the device.
    case refused(StreamEnd)

    /// The services that a device may use.
    package struct Services: Hashable, Sendable {
        /// The ports, in ascending order.
        package var ports: [UInt16]
        /// Whether the exit also serves ports that are not listed.
        package var servesOthers: Bool

        /// At most ``EnrolmentAnswer/maximumPorts`` ports are sent.
        package init(ports: [UInt16], servesOthers: Bool) {
            self.ports = ports
            self.servesOthers = servesOthers
        }
    }

    /// Maximum number of ports in an answer.
    package static let maximumPorts = 256
    /// Maximum length of an encoded answer in bytes.
    package static let maximumLength = 8 + 1 + 2 + 2 * Self.maximumPorts

    /// The answer as bytes: 0, whether there are more services, and the ports with their number; or the reason of a refusal.
    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        switch self {
        case .refused(let reason): buffer.writeVariableLengthInteger(reason.code)
        case .enrolled(let services):
            buffer.writeVariableLengthInteger(0)
            buffer.writeInteger(UInt8(services.servesOthers ? 1 : 0))
            let ports = services.ports.prefix(Self.maximumPorts)
            buffer.writeInteger(UInt16(ports.count))
            for port in ports { buffer.writeInteger(port) }
        }
        return buffer
    }

    /// Decodes an answer. Returns nil if it is malformed.
    package init?(encoded: ByteBuffer) {
        var buffer = encoded
        guard let code = buffer.readVariableLengthInteger() else { return nil }
        guard code == 0 else {
            guard buffer.readableBytes == 0 else { return nil }
            self = .refused(StreamEnd(code: code))
            return
        }
        guard let others = buffer.readInteger(as: UInt8.self), others <= 1,
            let count = buffer.readInteger(as: UInt16.self), count <= Self.maximumPorts
        else { return nil }
        var ports: [UInt16] = []
        for _ in 0..<count {
            guard let port = buffer.readInteger(as: UInt16.self) else { return nil }
            ports.append(port)
        }
        guard buffer.readableBytes == 0 else { return nil }
        self = .enrolled(Services(ports: ports, servesOthers: others == 1))
    }
}
