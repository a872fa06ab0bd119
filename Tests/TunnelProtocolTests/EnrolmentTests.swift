//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Enrolment")
struct EnrolmentTests {
    private let exit: SecretKey
    private let identity: SecretKey
    private let invite = InviteSecret(.sha256(of: [3]))
    private let transcript: SessionTranscript

    init() throws {
        self.exit = try SecretKey(.sha256(of: [1]))
        self.identity = try SecretKey(.sha256(of: [2]))
        self.transcript = SessionTranscript(offerHash: .sha256(of: [4]), fresh: self.exit.publicKey, body: [5])
    }

    private func request(name: String = "laptop") throws -> EnrolmentRequest {
        try EnrolmentRequest(
            token: self.invite.token(for: self.exit.publicKey),
            identity: self.identity,
            name: name,
            transcript: self.transcript
        )
    }

    @Test("a request is decoded as it was encoded, and proves the key for one session only")
    func requests() throws {
        let request = try self.request()
        let decoded = try #require(EnrolmentRequest(encoded: ByteBuffer(bytes: request.encoded)))
        #expect(decoded == request && decoded.name == "laptop")
        #expect(decoded.isProven(by: self.transcript))
        let other = SessionTranscript(offerHash: .sha256(of: [4]), fresh: self.exit.publicKey, body: [6])
        #expect(!decoded.isProven(by: other))
        #expect(InviteSecret.verifier(of: decoded.token) == self.invite.verifier(for: self.exit.publicKey))
    }

    @Test("every changed byte makes a request malformed or unproven")
    func changedRequests() throws {
        let encoded = try self.request().encoded
        let verifier = self.invite.verifier(for: self.exit.publicKey)
        for index in encoded.indices {
            var changed = encoded
            changed[index] ^= 1
            let decoded = EnrolmentRequest(encoded: ByteBuffer(bytes: changed))
            let isAccepted = decoded.map {
                $0.isProven(by: self.transcript) && InviteSecret.verifier(of: $0.token) == verifier
            }
            #expect(isAccepted != true, "byte \(index)")
        }
        #expect(EnrolmentRequest(encoded: ByteBuffer(bytes: encoded + [0])) == nil)
        #expect(EnrolmentRequest(encoded: ByteBuffer(bytes: encoded.dropLast())) == nil)
    }

    @Test("an invite is found in what people paste")
    func pastedInvites() throws {
        let relays = [try RelayURL("wss://relay.example")]
        let name = NostrName(publicKey: self.exit.publicKey, relays: relays)
        let line = InviteCode(name: name, secret: self.invite, label: "home", expires: 1).encoded
        let middle = line.index(line.startIndex, offsetBy: 70)
        let wrapped = "> \(line[..<middle])\r\n> \(line[middle...])\n"
        for text in [
            line, line.uppercased() + "\n", "\u{1B}[200~\(line)\u{1B}[201~\n", "nostr:\(line)", "\"\(line)\"",
            "Here it is: \(line).", wrapped, "İ \(line)",
        ] {
            #expect(try InviteCode(pasted: text).encoded == line, "\(text)")
        }
        #expect(throws: InviteCode.DecodingError.notInvite) { try InviteCode(pasted: "npub1abc") }
        #expect(throws: InviteCode.DecodingError.notInvite) { try InviteCode(pasted: "") }
        for text in [String(line.dropLast()), "nwsinvite1", line.replacingOccurrences(of: "q", with: "p")] {
            #expect(throws: InviteCode.DecodingError.damaged) { try InviteCode(pasted: text) }
        }
    }

    @Test("a long name is cut at a character")
    func longNames() throws {
        let request = try self.request(name: String(repeating: "ü", count: 40))
        #expect(request.name == String(repeating: "ü", count: 32))
        #expect(request.encoded.count == EnrolmentRequest.maximumLength)
    }

    @Test("an answer is decoded as it was encoded; malformed ones are rejected")
    func answers() {
        let answers: [EnrolmentAnswer] = [
            .enrolled(.init(ports: [22, 80], servesOthers: false)), .enrolled(.init(ports: [], servesOthers: true)),
            .refused(.revoked), .refused(.notAllowed),
        ]
        for answer in answers {
            let encoded = answer.encoded
            #expect(EnrolmentAnswer(encoded: encoded) == answer)
            for length in 0..<encoded.readableBytes {
                #expect(EnrolmentAnswer(encoded: encoded.getSlice(at: 0, length: length)!) == nil)
            }
            var longer = encoded
            longer.writeInteger(UInt8(0))
            #expect(EnrolmentAnswer(encoded: longer) == nil)
        }
        let many = EnrolmentAnswer.enrolled(.init(ports: Array(1...1_000), servesOthers: false)).encoded
        #expect(many.readableBytes <= EnrolmentAnswer.maximumLength)
        #expect(EnrolmentAnswer(encoded: many) == .enrolled(.init(ports: Array(1...256), servesOthers: false)))
    }

    @Test("the token does not follow from what the exit stores")
    func derivation() {
        let exit = self.exit.publicKey
        let stored = self.invite.credential(for: exit).derived + self.invite.verifier(for: exit).bytes
        #expect(!stored.windows(ofCount: 32).contains { Array($0) == self.invite.token(for: exit).bytes })
        #expect(!stored.windows(ofCount: 32).contains { Array($0) == self.invite.exposeBytes().bytes })
        #expect("\(self.invite)" == "<redacted>")
    }

    private func code(relays: [String], label: String = "home", expires: Int64? = 1_800_000_000) throws -> InviteCode {
        InviteCode(
            name: NostrName(publicKey: self.exit.publicKey, relays: try relays.map { try RelayURL($0) }),
            secret: self.invite,
            label: label,
            expires: expires
        )
    }

    @Test("an invite is read as it was written, also in upper case and with line breaks")
    func codes() throws {
        for (label, expires) in [("home", Int64(1_800_000_000)), ("", nil)] {
            let code = try self.code(relays: ["wss://a.example", "ws://10.0.0.1:7777"], label: label, expires: expires)
            let text = code.encoded
            for variant in [
                text, text.uppercased(), " \(text)\n", String(text.prefix(40)) + "\n  " + text.dropFirst(40),
            ] {
                let decoded = try InviteCode(variant)
                #expect(decoded.name == code.name)
                #expect(decoded.secret.exposeBytes() == self.invite.exposeBytes())
                #expect(decoded.label == label && decoded.expires == expires)
            }
        }
    }

    @Test("a damaged invite, and what is none, are told apart")
    func damagedCodes() throws {
        let text = try self.code(relays: ["wss://a.example"]).encoded
        func error(_ line: String) -> InviteCode.DecodingError? {
            do {
                _ = try InviteCode(line)
                return nil
            } catch {
                return error
            }
        }
        #expect(error("") == .notInvite)
        #expect(error("npub1abc") == .notInvite)
        #expect(error(String(text.dropLast())) == .damaged)
        #expect(error(text.replacing("q", with: "p", maxReplacements: 1)) == .damaged)
        #expect(error(Bech32.encode(prefix: InviteCode.prefix, bytes: [0, 32])) == .malformed)
        #expect(error(Bech32.encode(prefix: InviteCode.prefix, bytes: [])) == .malformed)
    }
}

extension Array {
    fileprivate func windows(ofCount count: Int) -> [ArraySlice<Element>] {
        self.count < count ? [] : (0...(self.count - count)).map { self[$0..<($0 + count)] }
    }
}
