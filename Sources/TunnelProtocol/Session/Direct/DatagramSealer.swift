//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// Seals and opens the datagrams of a session's direct path, with the keys of each generation. Not for concurrent use.
package struct DatagramSealer {
    private struct Keys {
        let sealing: [DatagramKey]
        let opening: [DatagramKey]

        init(_ secret: DatagramSecret, isExit: Bool) {
            self.sealing = DatagramSpace.allCases.map { secret.key(isFromExit: isExit, space: $0.rawValue) }
            self.opening = DatagramSpace.allCases.map { secret.key(isFromExit: !isExit, space: $0.rawValue) }
        }
    }

    /// A datagram that the peer sealed.
    package struct Opened: Sendable {
        package let space: DatagramSpace
        package let number: UInt64
        package let generation: Int
        package let plaintext: ByteBuffer
    }

    private let isExit: Bool
    private let sealingHeader: HeaderProtectionKey
    private let openingHeader: HeaderProtectionKey
    private var keys: [Int: Keys]
    private var generation = 0
    /// The packet number after the largest one received, by space.
    private var expected: [UInt64]
    private var checks = ReceivedNumbers()
    private var nextCheck: UInt64 = 0

    /// - Parameters:
    ///   - secret: The secret of generation 0.
    ///   - isExit: Whether this node is the exit.
    package init(_ secret: DatagramSecret, isExit: Bool) {
        self.isExit = isExit
        self.sealingHeader = secret.headerKey(isFromExit: isExit)
        self.openingHeader = secret.headerKey(isFromExit: !isExit)
        self.keys = [0: Keys(secret, isExit: isExit)]
        self.expected = DatagramSpace.allCases.map { _ in 0 }
    }

    // MARK: Keys

    /// Adds the keys of a generation. They open datagrams from now on.
    package mutating func add(_ generation: Int, _ secret: DatagramSecret) {
        self.keys[generation] = Keys(secret, isExit: self.isExit)
    }

    /// Seals with the keys of a generation from now on.
    package mutating func use(_ generation: Int) {
        if self.keys[generation] != nil { self.generation = generation }
    }

    /// Erases a generation other than the current one.
    package mutating func erase(_ generation: Int) {
        if generation != self.generation { self.keys[generation] = nil }
    }

    // MARK: Datagrams

    /// Number of bytes by which a datagram is longer than its plaintext.
    package static let overhead = DatagramHeader.length + DatagramKey.overhead

    /// Seals a packet of the session, and appends the datagram. If this throws, the buffer is as before.
    ///
    /// - Parameters:
    ///   - packet: The packet.
    ///   - number: Its number, which must not have been used before.
    ///   - connection: The receiver's connection ID.
    ///   - buffer: Receives the datagram.
    package func seal(
        packet: ByteBuffer,
        number: UInt64,
        to connection: ConnectionID,
        appendingTo buffer: inout ByteBuffer
    ) throws(CryptoError) {
        try self.seal(packet, .packets, number, to: connection, appendingTo: &buffer)
    }

    /// Seals a check.
    package mutating func seal(_ check: ConnectivityCheck, to connection: ConnectionID) throws(CryptoError) -> [UInt8] {
        defer { self.nextCheck += 1 }
        var buffer = ByteBuffer()
        try self.seal(check.encoded, .checks, self.nextCheck, to: connection, appendingTo: &buffer)
        return Array(buffer.readableBytesView)
    }

    private func seal(
        _ plaintext: ByteBuffer,
        _ space: DatagramSpace,
        _ number: UInt64,
        to connection: ConnectionID,
        appendingTo buffer: inout ByteBuffer
    ) throws(CryptoError) {
        guard let keys = self.keys[self.generation] else { throw .operationFailed }
        let header = DatagramHeader(
            connection: connection,
            space: space,
            keyPhase: UInt8(self.generation & 1),
            truncatedNumber: UInt32(truncatingIfNeeded: number)
        )
        let start = buffer.readableBytes
        buffer.reserveCapacity(minimumWritableBytes: Self.overhead + plaintext.readableBytes)
        header.write(to: &buffer)
        buffer.writeImmutableBuffer(plaintext)
        buffer.writeRepeatingByte(0, count: DatagramKey.overhead)
        do {
            var bytes = buffer.mutableReadableBytesSpan
            var datagram = bytes._mutatingExtracting(droppingFirst: start)
            try keys.sealing[Int(space.rawValue)].seal(&datagram, headerLength: DatagramHeader.length, number: number)
            guard DatagramHeader.protect(&datagram, with: self.sealingHeader) else { throw CryptoError.operationFailed }
        } catch {
            buffer.moveWriterIndex(to: buffer.readerIndex + start)
            throw .operationFailed
        }
    }

    /// Opens a datagram. Returns nil if it was not sealed by the peer, or is a check that was received before.
    package mutating func open(_ datagram: ByteBuffer) -> Opened? {
        guard let (header, bytes) = DatagramHeader.unprotect(datagram, with: self.openingHeader) else { return nil }
        let space = Int(header.space.rawValue)
        let number = DatagramHeader.number(header.truncatedNumber, expected: self.expected[space])
        let sealed = datagram.readableBytesSpan.extracting(droppingFirst: DatagramHeader.length)
        // Generations that are in use at the same time follow each other, so their key phases differ.
        for (generation, keys) in self.keys where UInt8(generation & 1) == header.keyPhase {
            var plaintext = ByteBuffer()
            var isAuthentic = false
            plaintext.writeWithOutputRawSpan(minimumWritableBytes: sealed.byteCount) {
                isAuthentic = unsafe keys.opening[space].open(sealed, header: bytes.span.bytes, number: number, to: &$0)
            }
            guard isAuthentic else { continue }
            if header.space == .checks { guard self.checks.insert(number) else { return nil } }
            self.expected[space] = max(self.expected[space], number + 1)
            return Opened(space: header.space, number: number, generation: generation, plaintext: plaintext)
        }
        return nil
    }
}
