//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

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
    /// Whether the sender of the parameters understands the frames of direct paths.
    package var takesDatagrams = false
    /// The packet size that is assumed if the peer does not declare one.
    private static let assumedPacket = UInt64(SessionConfiguration.basePacket)
    /// Creates the parameters that correspond to a configuration.
    package init(_ configuration: SessionConfiguration) {
        self.maximumData = UInt64(configuration.unusedSessionWindow ?? configuration.sessionWindow)
        self.maximumStreamData = UInt64(configuration.initialStreamWindow)
        self.maximumStreams = UInt64(configuration.maximumStreams)
        self.maximumPacket = UInt64(SessionConfiguration.largestPacket)
        self.takesDatagrams = configuration.usesDatagrams
    }

    /// Adds the parameters to a list.
    func write(into list: inout ParameterList) {
        list.set(.maximumPacket, to: self.maximumPacket)
        list.set(.maximumData, to: self.maximumData)
        list.set(.maximumStreamData, to: self.maximumStreamData)
        list.set(.maximumStreams, to: self.maximumStreams)
        if self.takesDatagrams { list[.direct] = [] }
    }

    /// Reads the parameters from a list. A missing one is 0, except for the packet size, which then is
    /// ``SessionConfiguration/basePacket``.
    ///
    /// Returns nil if a value is malformed, or if the packet size is less than ``SessionConfiguration/minimumPacket``.
    init?(_ list: ParameterList) {
        guard let packet = try? list.integer(.maximumPacket, missing: Self.assumedPacket),
            // Smaller packets cannot carry the frames that a session requires.
            packet >= UInt64(SessionConfiguration.minimumPacket),
            let data = try? list.integer(.maximumData, missing: 0),
            let streamData = try? list.integer(.maximumStreamData, missing: 0),
            let streams = try? list.integer(.maximumStreams, missing: 0)
        else { return nil }
        self.maximumPacket = packet
        self.maximumData = data
        self.maximumStreamData = streamData
        self.maximumStreams = streams
        self.takesDatagrams = list[.direct] != nil
    }
}

extension SessionConfiguration {
    /// The receive window of a session in bytes: the sum of the largest possible windows of all streams. A stream whose
    /// reader stops therefore does not block other streams.
    var sessionWindow: Int { self.windowBudget + self.maximumStreams * self.initialStreamWindow }
}
