//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("What an exit admits")
struct AdmissionTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("a flood of unknown keys on one relay leaves the other relays their rate")
    func byRelay() {
        var admission = Admission(messagesPerSecond: 10, now: Self.now)
        let (flooded, quiet) = (PathID(rawValue: 0), PathID(rawValue: 1))
        let admitted = (0..<100).filter { _ in admission.admitMessage(on: flooded, at: Self.now) }.count
        #expect(admitted == 20)
        let isAdmitted = admission.admitMessage(on: quiet, at: Self.now)
        #expect(isAdmitted)
        let isAdmitted2 = admission.admitMessage(on: flooded, at: Self.now + .seconds(1))
        #expect(isAdmitted2)
    }

    @Test("offers have a rate of their own")
    func offers() {
        var admission = Admission(messagesPerSecond: 5, now: Self.now)
        let admitted = (0..<100).filter { _ in admission.admitOffer(at: Self.now) }.count
        #expect(admitted == 10)
        let isAdmitted = admission.admitMessage(on: PathID(rawValue: 0), at: Self.now)
        #expect(isAdmitted)
    }

    @Test("a client may continue while its key is in the list and allows every port that it used")
    func continues() throws {
        let (known, other) = (SecretKey.generate().publicKey, SecretKey.generate().publicKey)
        let keys = try AuthorizedKeys(parsing: "services=\"22\" \(known.hex)")
        #expect(Admission.mayContinue(known, usedPorts: [22], access: keys, at: 0))
        #expect(!Admission.mayContinue(known, usedPorts: [22, 80], access: keys, at: 0))
        #expect(!Admission.mayContinue(known, usedPorts: [nil], access: keys, at: 0))
        #expect(!Admission.mayContinue(other, usedPorts: [], access: keys, at: 0))
    }
}
