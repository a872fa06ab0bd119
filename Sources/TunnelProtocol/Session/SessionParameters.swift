//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Parameters that each endpoint declares when a session begins, like the transport parameters of QUIC (RFC 9000,
/// section 18).
package struct SessionParameters: Hashable, Sendable {
    /// Initial limit, in bytes, for the data of all streams together that the sender of the parameters accepts.
    package var maximumData: UInt64
    /// Initial limit, in bytes, for the data of each stream.
    package var maximumStreamData: UInt64
    /// Maximum number of streams that the peer may have open at the same time.
    package var maximumStreams: UInt64
    /// Maximum packet size in plaintext bytes that the sender of the parameters accepts.
    package var maximumPacket: UInt64 = Self.assumedPacket
    /// The packet size that is assumed if the peer does not declare one.
    private static let assumedPacket = UInt64(SessionConfiguration.basePacket)
    /// Number of bytes of early data that the exit accepted. They are the beginning of stream 1.
    package var earlyBytes: UInt64 = 0
    /// Whether the exit requires the client's identity. A client sends its identity only to exits that require it.
    package var wantsIdentity = false

    /// Creates the parameters that correspond to a configuration.
    package init(_ configuration: SessionConfiguration) {
        self.maximumData = UInt64(configuration.sessionWindow)
        self.maximumStreamData = UInt64(configuration.initialStreamWindow)
        self.maximumStreams = UInt64(configuration.maximumStreams)
        self.maximumPacket = UInt64(SessionConfiguration.largestPacket)
    }

    /// Encodes the parameters as pairs of identifier and value, both variable-length integers.
    func encode(into buffer: inout ByteBuffer) {
        for (identifier, value) in [
            (UInt64(0x03), self.maximumPacket), (0x04, self.maximumData), (0x05, self.maximumStreamData),
            (0x08, self.maximumStreams),
        ] {
            buffer.writeVariableLengthInteger(identifier)
            buffer.writeVariableLengthInteger(value)
        }
        if self.earlyBytes > 0 {
            buffer.writeVariableLengthInteger(0x20)
            buffer.writeVariableLengthInteger(self.earlyBytes)
        }
        if self.wantsIdentity {
            buffer.writeVariableLengthInteger(0x21)
            buffer.writeVariableLengthInteger(1)
        }
    }

    /// The encoded parameters. See docs/PROTOCOL.md for the identifiers.
    package var encoded: [UInt8] {
        var buffer = ByteBuffer()
        self.encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    /// Decodes parameters. Unknown identifiers are ignored. A missing parameter is 0, except for the packet size, which
    /// then is ``SessionConfiguration/basePacket``.
    ///
    /// Returns nil if the bytes are truncated, or if the packet size is less than
    /// ``SessionConfiguration/minimumPacket``.
    package init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        // Collect the values first: optimized builds lost properties that were assigned in the loop (Swift 6.3.1).
        var values: [UInt64: UInt64] = [:]
        while buffer.readableBytes > 0 {
            guard let identifier = buffer.readVariableLengthInteger(), let value = buffer.readVariableLengthInteger()
            else { return nil }
            values[identifier] = value
        }
        // Smaller packets cannot carry the frames that a session requires.
        guard values[0x03] ?? Self.assumedPacket >= UInt64(SessionConfiguration.minimumPacket) else { return nil }
        self.maximumPacket = values[0x03] ?? Self.assumedPacket
        self.maximumData = values[0x04] ?? 0
        self.maximumStreamData = values[0x05] ?? 0
        self.maximumStreams = values[0x08] ?? 0
        self.earlyBytes = values[0x20] ?? 0
        self.wantsIdentity = values[0x21].map { $0 != 0 } ?? false
    }
}

extension SessionConfiguration {
    /// The receive window of a session in bytes: the sum of the largest possible windows of all streams. A stream whose
    /// reader stops therefore does not block other streams.
    var sessionWindow: Int { self.windowBudget + self.maximumStreams * self.initialStreamWindow }
}
