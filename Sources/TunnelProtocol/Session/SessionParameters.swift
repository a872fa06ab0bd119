//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// What each side tells the other when a session begins (RFC 9000, section 18: transport parameters).
public struct SessionParameters: Hashable, Sendable {
    /// Most bytes of all streams together that the teller takes before it gives more credit.
    public var maximumData: UInt64
    /// The same for each stream.
    public var maximumStreamData: UInt64
    /// Streams that the teller lets be open at once.
    public var maximumStreams: UInt64
    /// Most bytes of a packet that the teller takes.
    public var maximumPacket: UInt64 = Self.assumedPacket
    /// What is taken by who does not say.
    private static let assumedPacket = UInt64(SessionConfiguration.basePacket)
    /// Bytes of the offer's early data that the exit took; they are the beginning of stream 1.
    public var earlyBytes: UInt64 = 0
    /// Whether the exit asks who the client is. A client tells nobody who does not ask.
    public var wantsIdentity = false
    /// What a configuration allows.
    public init(_ configuration: SessionConfiguration) {
        self.maximumData = UInt64(configuration.sessionWindow)
        self.maximumStreamData = UInt64(configuration.initialStreamWindow)
        self.maximumStreams = UInt64(configuration.maximumStreams)
        self.maximumPacket = UInt64(SessionConfiguration.largestPacket)
    }

    /// Identifier, then value, both variable-length integers; unknown identifiers are skipped.
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

    /// The bytes of ``encode(into:)``.
    public var encoded: [UInt8] {
        var buffer = ByteBuffer()
        self.encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    /// Reads parameters; nil if they are cut short, or want packets below
    /// ``SessionConfiguration/minimumPacket``. What is not named is zero, nothing is allowed; but for the
    /// size of packets.
    public init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        // Gathered first: fields that were set one by one in the loop were lost by optimised builds (Swift 6.3.1).
        var values: [UInt64: UInt64] = [:]
        while buffer.readableBytes > 0 {
            guard let identifier = buffer.readVariableLengthInteger(), let value = buffer.readVariableLengthInteger()
            else { return nil }
            values[identifier] = value
        }
        // Smaller ones have no room for what a session cannot do without.
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
    /// Most bytes that all streams of a session may hold here together: what the windows of all streams add up to, so
    /// that a reader that stops holds up nobody else.
    var sessionWindow: Int { self.windowBudget + self.maximumStreams * self.initialStreamWindow }
}
