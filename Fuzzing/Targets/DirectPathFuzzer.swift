//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import STUN
import TunnelProtocol

/// A direct path whose peer follows the input: it sends any frames, checks from any address, and damaged datagrams, while
/// strangers send anything.
struct DirectPathFuzzer {
    private var input: ArraySlice<UInt8>
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var path: DirectPath
    private var peer: DatagramSealer
    private var packetNumber: UInt64 = 0
    private var ownIDs: [ConnectionID] = []
    private var unanswered = 0
    private var started: NIODeadline

    init(_ input: [UInt8]) {
        self.input = input[...]
        let secret = DatagramSecret(bytes: Bytes32.sha256(of: [1]))
        let isExit = input.count % 2 == 0
        self.path = DirectPath(isExit: isExit, secret: secret, random: Bytes32.sha256(of: [2]))
        self.peer = DatagramSealer(secret, isExit: !isExit)
        self.started = self.now
    }

    private mutating func byte() -> UInt8 { self.input.popFirst() ?? 0 }

    private mutating func bytes(_ count: Int) -> [UInt8] {
        defer { self.input = self.input.dropFirst(count) }
        return Array(self.input.prefix(count))
    }

    private mutating func address() -> TransportAddress? {
        let last = self.byte()
        return TransportAddress([192, 0, 2, last & 15], port: UInt16(last >> 4) + 1)
    }

    mutating func run() {
        self.path.offer([], isRepeated: true, at: self.now)
        self.perform(answering: nil)
        while !self.input.isEmpty { self.step() }
    }

    private mutating func step() {
        switch self.byte() & 7 {
        case 0:
            guard let address = self.address() else { return }
            let datagram = self.bytes(Int(self.byte()))
            guard case .rejected = self.path.receive(ByteBuffer(bytes: datagram), from: address, at: self.now) else {
                fatalError("a datagram of a stranger was accepted")
            }
            precondition(self.path.nextAction() == nil, "a datagram of a stranger was answered")
        case 1: self.receiveFrames()
        case 2: self.receiveCheck(isDamaged: false)
        case 3: self.receiveCheck(isDamaged: true)
        case 4: self.receivePacket()
        case 5: self.path.networkChanged(at: self.now)
        case 6: self.path.suspect(at: self.now)
        default:
            self.now = self.now + .milliseconds(Int64(self.byte()) * 20)
            self.path.timeout(at: self.now)
        }
        self.perform(answering: nil)
    }

    private mutating func receiveFrames() {
        let buffer = ByteBuffer(bytes: self.bytes(Int(self.byte())))
        for frame in (try? SessionFrameDecoder.decode(buffer)) ?? [] {
            _ = self.path.receive(frame, isAllowed: { $0.port != 3 }, at: self.now)
        }
    }

    private mutating func receiveCheck(isDamaged: Bool) {
        guard let address = self.address(), let id = self.ownIDs.last else { return }
        let check = ConnectivityCheck.request(token: UInt64(self.byte()))
        guard var datagram = try? self.peer.seal(check, to: id) else { return }
        if isDamaged {
            datagram[Int(self.byte()) % datagram.count] ^= 1 | self.byte()
            guard case .rejected = self.path.receive(ByteBuffer(bytes: datagram), from: address, at: self.now) else {
                fatalError("a damaged datagram was accepted")
            }
            return
        }
        guard case .check = self.path.receive(ByteBuffer(bytes: datagram), from: address, at: self.now) else {
            fatalError("a check was rejected")
        }
        guard case .rejected = self.path.receive(ByteBuffer(bytes: datagram), from: address, at: self.now) else {
            fatalError("a check was accepted twice")
        }
        self.perform(answering: address)
    }

    private mutating func receivePacket() {
        guard let address = self.address(), let id = self.ownIDs.last else { return }
        let plaintext = self.bytes(Int(self.byte()))
        defer { self.packetNumber += 1 }
        var datagram = ByteBuffer()
        do {
            let packet = ByteBuffer(bytes: plaintext)
            try self.peer.seal(packet: packet, number: self.packetNumber, to: id, appendingTo: &datagram)
        } catch {
            fatalError("a packet was not sealed")
        }
        guard case .packet(let packet) = self.path.receive(datagram, from: address, at: self.now)
        else {
            fatalError("a packet was rejected")
        }
        precondition(Array(packet.plaintext.readableBytesView) == plaintext && packet.number == self.packetNumber)
    }

    /// Performs what the path asks for. Besides one answer to a request, it sends a limited number of datagrams, because the
    /// addresses may be those of a victim. Nothing is ever answered here, so none of them was confirmed.
    private mutating func perform(answering requester: TransportAddress?) {
        var answers = 0
        while let action = self.path.nextAction() {
            switch action {
            case .accept(let id): self.ownIDs.append(id)
            case .forget(let id): self.ownIDs.removeAll { $0 == id }
            case .send(let datagram, let address, let isValidated):
                precondition(!isValidated)
                precondition(datagram.count <= 1_200)
                if address == requester, answers == 0 { answers += 1 } else { self.unanswered += 1 }
            case .available, .unavailable: fatalError("an address was used that never answered")
            case .frame, .find: break
            }
        }
        let seconds = Int((self.now - self.started).nanoseconds / 1_000_000_000)
        precondition(self.unanswered <= ConnectivityChecks.unansweredRequests + seconds + 1)
        // Those in use, and those that were retired in 3 s.
        precondition(self.ownIDs.count <= 16 + 2 * 32)
    }
}

/// Messages of STUN from anybody.
enum STUNFuzzer {
    static func run(_ input: [UInt8]) {
        let datagram = ByteBuffer(bytes: input)
        guard let message = STUNMessage(datagram) else { return }
        precondition(STUNMessage.isSTUN(datagram))
        precondition(STUNMessage(message.encoded) == message)
        var discovery = MappingDiscovery()
        precondition(discovery.receive(message, at: .uptimeNanoseconds(1)) == .unexpected && discovery.mapped.isEmpty)
    }
}
