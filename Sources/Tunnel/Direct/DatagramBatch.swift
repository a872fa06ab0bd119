//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import STUN

/// Datagrams to one address that the system sends in one piece: all have the size of the first one, and the last one may be
/// shorter (UDP segmentation offload, udp(7)).
struct DatagramBatch {
    private let address: TransportAddress
    private let remote: SocketAddress
    private let segment: Int
    private var data = ByteBuffer()
    private var count = 1
    /// Whether the last datagram was shorter.
    private var isComplete = false

    /// Maximum number of datagrams, which is the lowest limit of the supported versions of Linux, and of bytes, which must fit
    /// into the length field of a UDP header.
    static let maximum = (count: 64, bytes: 65_000)

    /// Starts a batch. Returns nil if `write` returns false, or if the address cannot be converted. The latter does not happen.
    ///
    /// - Parameters:
    ///   - size: Number of bytes of the datagram.
    ///   - address: The address.
    ///   - write: Appends the datagram, or returns false.
    init?(_ size: Int, to address: TransportAddress, write: (inout ByteBuffer) -> Bool) {
        guard let remote = address.socketAddress else { return nil }
        self.address = address
        self.remote = remote
        self.segment = size
        guard write(&self.data) else { return nil }
        assert(self.data.readableBytes == size)
    }

    /// Whether a datagram can be added.
    func hasRoom(_ size: Int, to address: TransportAddress) -> Bool {
        // A single longer datagram may be a probe that the path does not carry, so nothing is sent together with it.
        !self.isComplete && (size == self.segment || size < self.segment && self.count > 1) && size > 0
            && address == self.address && self.count < Self.maximum.count
            && self.data.readableBytes + size <= Self.maximum.bytes
    }

    /// Adds a datagram for which there is room, unless `write` returns false.
    mutating func append(_ size: Int, write: (inout ByteBuffer) -> Bool) {
        if self.count == 1 { self.data.reserveCapacity(Self.maximum.bytes) }
        let before = self.data.readableBytes
        guard write(&self.data) else { return }
        assert(self.data.readableBytes == before + size)
        self.count += 1
        self.isComplete = size < self.segment
    }

    /// The datagrams as NIO sends them.
    var envelope: AddressedEnvelope<ByteBuffer> {
        AddressedEnvelope(
            remoteAddress: self.remote,
            data: self.data,
            metadata: self.count == 1
                ? nil : .init(ecnState: .transportNotCapable, packetInfo: nil, segmentSize: self.segment)
        )
    }
}
