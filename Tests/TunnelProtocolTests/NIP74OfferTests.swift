//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Session offers inside NIP-74")
struct NIP74OfferTests {
    private static func kinds(_ tunnel: SimulatedTunnel) -> [NIP74Message.Kind] {
        tunnel.published.filter(\.byEntry).compactMap { NIP74Message(plaintext: $0.plaintext)?.kind }
    }

    @Test("the exit reports every repeated offer and opens no stream")
    func repeats() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.offer(1)
        tunnel.advance(.milliseconds(1_000))
        #expect(tunnel.offers.count == 4)
        #expect(Set(tunnel.offers.map(\.key)) == ["offer-1"])
        // CONNECT is sent only once, because the reference exit connects to its backend for each one.
        #expect(Self.kinds(tunnel) == [.connect, .offer, .offer, .offer])
        #expect(tunnel.exitStreams.isEmpty)
        #expect(tunnel.entryStreams[id]?.opened == false)
    }

    @Test("once a session starts, its offer is not repeated and plain NIP-74 for it is refused")
    func settled() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.offer(1)
        tunnel.entry.offerSettled("offer-1", at: tunnel.moment)
        tunnel.exit.offerSettled("offer-1", at: tunnel.moment)
        let before = tunnel.published.count
        tunnel.advance(.seconds(20))
        #expect(tunnel.published.count == before)
        #expect(tunnel.entryStreams[id]?.ended == nil)
        #expect(tunnel.entry.isIdle)
        #expect(tunnel.exit.isIdle)
        // The client no longer sends plain NIP-74 for this stream, so such messages are not from the client.
        tunnel.inject(NIP74Message(key: "offer-1", kind: .data, payload: .bytes([1])), toExit: true)
        tunnel.inject(NIP74Message(key: "offer-1", kind: .connect), toExit: true)
        #expect(tunnel.exitStreams.isEmpty)
        #expect(tunnel.reports == [.afterAcceptance, .duplicateConnect])
    }

    @Test("an unanswered offer falls back to plain NIP-74 after two seconds, and the exit connects once")
    func fallsBack() throws {
        var tunnel = SimulatedTunnel()
        let id = tunnel.offer(1)
        tunnel.advance(.milliseconds(1_990))
        #expect(tunnel.entryStreams[id]?.opened == false)
        tunnel.advance(.milliseconds(20))
        #expect(tunnel.entryStreams[id]?.opened == true)
        #expect(tunnel.reports == [.fellBackToPlain])
        #expect(tunnel.exitStreams.isEmpty)
        tunnel.sendAll([1, 2, 3], on: id, fromEntry: true, finish: false)
        let exitID = try #require(tunnel.exitStreams.keys.first)
        #expect(tunnel.exitStreams[exitID]?.data == [1, 2, 3])
        #expect(tunnel.exitStreams[exitID]?.request?.connect?.key == "offer-1")
        tunnel.advance(.seconds(30))
        #expect(tunnel.exitStreams.count == 1)
    }

    @Test("data that a sorting relay delivers before the offer also selects plain NIP-74")
    func dataFirst() throws {
        var tunnel = SimulatedTunnel()
        tunnel.inject(NIP74Message(key: "offer-1", kind: .data, payload: .bytes([7])), toExit: true)
        _ = tunnel.offer(1)
        #expect(tunnel.offers.isEmpty)
        #expect(tunnel.exitStreams.values.map(\.data) == [[7]])
    }

    @Test("an exit that only supports plain NIP-74 is recognised by its first message")
    func plainExit() {
        var tunnel = SimulatedTunnel()
        tunnel.dropsMessages = true
        let id = tunnel.offer(1)
        tunnel.inject(NIP74Message(key: "offer-1", kind: .socks5Response, payload: .bytes([9])), toExit: false)
        #expect(tunnel.entryStreams[id]?.opened == true)
        #expect(tunnel.entryStreams[id]?.data == [9])
        #expect(tunnel.reports == [.fellBackToPlain])
    }

    @Test("if plain NIP-74 is not allowed, plain data is ignored and the offer times out")
    func noDowngrade() {
        var tunnel = SimulatedTunnel()
        tunnel.dropsMessages = true
        let id = tunnel.offer(1, mayFallBack: false)
        tunnel.inject(NIP74Message(key: "offer-1", kind: .socks5Response, payload: .bytes([9])), toExit: false)
        #expect(tunnel.entryStreams[id]?.opened == false)
        #expect(tunnel.entryStreams[id]?.data == [])
        #expect(tunnel.reports == [.downgradeRefused])
        tunnel.advance(.seconds(11))
        #expect(tunnel.entryStreams[id]?.ended == .some(.sessionRequired))
    }

    @Test("CONNECT is repeated until a relay delivers it, then OFFER is repeated instead")
    func unheard() {
        var tunnel = SimulatedTunnel()
        tunnel.verdict = { _, _ in .rejected(.noSubscriber) }
        _ = tunnel.offer(1)
        tunnel.advance(.seconds(1))
        #expect(Self.kinds(tunnel).allSatisfy { $0 == .connect })
        tunnel.verdict = { _, _ in .accepted(SimulatedTunnel.path) }
        tunnel.advance(.seconds(1))
        #expect(!tunnel.offers.isEmpty)
        #expect(Self.kinds(tunnel).last == .offer)
    }

    @Test("offers are limited in number, rejected when stale, and forgotten after a while")
    func bounds() {
        var configuration = NIP74Configuration()
        configuration.offers = 2
        var tunnel = SimulatedTunnel(configuration: configuration)
        let offer = SimulatedTunnel.versionedOffer.encoded
        for key in ["a", "b", "c"] { tunnel.inject(NIP74Message(key: key, kind: .offer, offer: offer), toExit: true) }
        #expect(tunnel.offers.map(\.key) == ["a", "b"])
        #expect(tunnel.reports == [.tooManyStreams])
        tunnel.advance(.seconds(16))
        #expect(tunnel.exit.isIdle)
        tunnel.inject(NIP74Message(key: "d", kind: .data, payload: .bytes([1])), toExit: true)
        #expect(tunnel.exitStreams.isEmpty)
        tunnel.exit.receive(
            NIP74Message(key: "e", kind: .connect, offer: offer).encoded(),
            createdAt: tunnel.moment.seconds - 121,
            generation: 0,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.reports.last == .staleConnect)
        #expect(tunnel.outdatedOffers.map(\.key) == ["e"])
        // A refusal of a query would end the session.
        let terms = OfferTerms(
            parameters: SessionParameters(SessionConfiguration()),
            purpose: .query(SecretKey.generate().publicKey)
        )
        let body = VersionedOffer.Body(version: SessionConfiguration.version, bytes: terms.encoded)
        let nonce = [UInt8](repeating: 1, count: VersionedOffer.nonceLength)
        tunnel.exit.receive(
            NIP74Message(key: "f", kind: .offer, offer: VersionedOffer(nonce: nonce, bodies: [body]).encoded).encoded(),
            createdAt: tunnel.moment.seconds - 121,
            generation: 0,
            path: SimulatedTunnel.path,
            at: tunnel.moment
        )
        tunnel.settle()
        #expect(tunnel.reports.filter { $0 == .staleConnect }.count == 2)
        #expect(tunnel.outdatedOffers.map(\.key) == ["e"])
    }

    @Test("an outdated offer is refused with an explanation if one of the clocks is probably wrong")
    func explained() {
        for (date, correction, isExplained) in [
            (-3_600, 0, true), (3_600, 0, true), (-3_601, 0, false), (3_601, 0, false), (-7_200, -7_200, true),
            (-7_200, -3_700, false), (80_000, 79_500, true), (.min, 0, false), (.max, 0, false),
        ] as [(Int64, Int64, Bool)] {
            let now: Int64 = 1_700_000_000
            let (sum, overflows) = now.addingReportingOverflow(date)
            let explained = NIP74Configuration.isExplained(overflows ? date : sum, at: now, correction: correction)
            #expect(explained == isExplained, "\(date), \(correction)")
        }
    }

    @Test("a CONNECT with an offer that the exit does not understand is not dialled")
    func notUnderstood() throws {
        for member in [#"1"#, #"{}"#, #""""#, #""AA==""#, #""not base64""#] {
            var tunnel = SimulatedTunnel()
            tunnel.injectText(#"{"key":"k","type":"CONNECT","nws":\#(member)}"#)
            #expect(tunnel.exitStreams.isEmpty)
            #expect(tunnel.offers.isEmpty)
            #expect(tunnel.reports == [.malformedMessage])
        }
        // A later version is reported, so that the exit can refuse it.
        var tunnel = SimulatedTunnel()
        let later = VersionedOffer(
            nonce: [UInt8](repeating: 0, count: VersionedOffer.nonceLength),
            bodies: [.init(version: 2, bytes: [1])]
        )
        tunnel.inject(NIP74Message(key: "k", kind: .connect, offer: later.encoded), toExit: true)
        #expect(tunnel.exitStreams.isEmpty)
        #expect(tunnel.offers.map(\.body) == [nil])
    }
}
