//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOHTTP1
import Nostr
import NostrCrypto
import SettingsFiles
import Tunnel
import TunnelProtocol

/// A parser or state machine that handles untrusted input.
///
/// Each target must handle any input without a trap, and checks properties such as round trips with `precondition`.
public enum FuzzTarget: String, CaseIterable, Sendable {
    case clientMessage = "client-message"
    case relayMessage = "relay-message"
    case relayInformation = "relay-information"
    case payload
    case names
    case plainMessage = "plain-message"
    case sessionAnswer = "session-answer"
    case sessionOffer = "session-offer"
    case sessionFrames = "session-frames"
    case session
    case enrolment
    case directPath = "direct-path"
    case stun
    case portMapping = "port-mapping"
    case socks
    case socksClient = "socks-client"
    case httpProxy = "http-proxy"
    case httpResponse = "http-response"
    case upgrade
    case webSocket = "websocket"
    case settings
    case configuration

    /// Runs the target on one input. Traps if a check fails.
    public func run(_ input: [UInt8]) {
        switch self {
        case .clientMessage: Self.clientMessage(input)
        case .relayMessage: _ = try? RelayMessage.parse(ByteBuffer(bytes: input))
        case .relayInformation: Self.relayInformation(input)
        case .payload: Self.payload(input)
        case .names: Self.names(input)
        case .plainMessage: Self.plainMessage(input)
        case .sessionAnswer: Self.sessionAnswer(input)
        case .sessionOffer: Self.sessionOffer(input)
        case .sessionFrames: SessionFuzzer.frames(input)
        case .session:
            var life = SessionLifeFuzzer(input)
            life.run()
        case .enrolment: EnrolmentFuzzer.run(input)
        case .directPath:
            var fuzzer = DirectPathFuzzer(input)
            fuzzer.run()
        case .stun: STUNFuzzer.run(input)
        case .portMapping: PortMappingFuzzer.run(input)
        case .socks: Self.socks(input)
        case .socksClient: Self.socksClient(input)
        case .httpProxy: HTTPProxyFuzzer.run(input)
        case .httpResponse: HTTPResponseFuzzer.run(input)
        case .upgrade: UpgradeFuzzer.run(input)
        case .webSocket: WebSocketFuzzer.run(input)
        case .settings: Self.settings(input)
        case .configuration: Self.configuration(input)
        }
    }

    /// An answer that parses must survive encoding.
    private static func sessionAnswer(_ input: [UInt8]) {
        switch SessionAnswer(plaintext: input) {
        case .accepted(let acceptance): precondition(AcceptanceTerms(encoded: acceptance.body) == acceptance.terms)
        case .refused(let refusal): precondition(refusal.encoded == input)
        case nil: break
        }
        if let terms = AcceptanceTerms(encoded: input) {
            precondition(AcceptanceTerms(encoded: terms.encoded) == terms)
        }
    }

    /// An offer that parses keeps its bytes, and its body survives encoding.
    private static func sessionOffer(_ input: [UInt8]) {
        if let offer = VersionedOffer(encoded: input) {
            precondition(offer.encoded == input)
            for body in offer.bodies { _ = OfferTerms(encoded: body.bytes) }
        }
        if let terms = OfferTerms(encoded: input) { precondition(OfferTerms(encoded: terms.encoded) == terms) }
    }

    /// An event that parses must survive encoding and parsing again.
    private static func clientMessage(_ input: [UInt8]) {
        guard let message = try? ClientMessage.parse(ByteBuffer(bytes: input), maximumFilters: 32) else { return }
        guard case .event(let received) = message else { return }
        let event = received.event
        guard let again = try? Event(json: event.json) else { fatalError("an encoded event does not parse") }
        precondition(again.id == event.id && again.content == event.content && again.tags == event.tags)
        precondition(again.createdAt == event.createdAt && again.kind == event.kind && again.pubkey == event.pubkey)
        precondition((try? again.verify()) == nil || (try? event.verify()) != nil)
    }

    /// Parses the input as a relay's information document (NIP-11) and as the `Date` header of its response.
    private static func relayInformation(_ input: [UInt8]) {
        _ = try? RelayInformation(json: ByteBuffer(bytes: input))
        var response = HTTPResponse.text(.ok, "")
        response.headers.add(name: "Date", value: String(decoding: input, as: UTF8.self))
        _ = response.date
    }

    private static let conversation = try? ConversationKey(
        secretKey: SecretKey(Bytes32.sha256(of: [1])),
        publicKey: SecretKey(Bytes32.sha256(of: [2])).publicKey
    )

    /// Encrypted input must decrypt to itself; raw and damaged payloads must not decrypt.
    private static func payload(_ input: [UInt8]) {
        guard let conversation = Self.conversation else { fatalError("cannot derive the conversation key") }
        precondition((try? conversation.open(input)) == nil)
        precondition(Base64.decode(input).map { Base64.encode($0).count == input.count } ?? true)
        Self.hostilePadding(input, conversation)
        guard !input.isEmpty, let sealed = try? conversation.seal(input) else { return }
        precondition((try? conversation.open(sealed)) == input)
        precondition(Base64.decode(sealed).map(Base64.encode) == sealed)
        var damaged = sealed
        damaged[Int(input[0]) % damaged.count] ^= 1
        // The last base64 character may have unused bits; flipping one of them changes nothing.
        precondition((try? conversation.open(damaged)).map { $0 == input } ?? true)
    }

    /// A peer that has the key can send any padding; only correct padding may decrypt.
    ///
    /// The input is used in two ways. First, all of it is the padded plaintext. Second, its first 5 bytes describe a
    /// padded plaintext with the 6-byte length prefix, which would be too long for an input: 4 bytes are the length,
    /// and the fifth is the (signed) difference from the correct padded length.
    private static func hostilePadding(_ input: [UInt8], _ conversation: ConversationKey) {
        if let first = input.first, input.count >= 2 {
            let length = Int(first) << 8 | Int(input[1])
            let isWell = length > 0 && input.count == 2 + NIP44.paddedLength(length)
            precondition(Self.opens(input, to: isWell ? Array(input.dropFirst(2).prefix(length)) : nil, conversation))
        }
        guard input.count >= 5 else { return }
        let length = input[0..<4].reduce(0) { $0 << 8 | Int($1) }
        guard length <= 1 << 18 else { return }
        let count = NIP44.paddedLength(length) + Int(Int8(bitPattern: input[4]))
        let isWell = length > NIP44.maximumShortPlaintextLength && count == NIP44.paddedLength(length)
        let body = [UInt8](repeating: 7, count: max(0, count))
        precondition(
            Self.opens([0, 0] + input[0..<4] + body, to: isWell ? Array(body.prefix(length)) : nil, conversation)
        )
    }

    private static func opens(_ padded: [UInt8], to plaintext: [UInt8]?, _ conversation: ConversationKey) -> Bool {
        guard let sealed = try? conversation.seal(padded: padded, nonce: Bytes32.sha256(of: [3])) else { return false }
        return (try? conversation.open(sealed)) == plaintext
    }

    private static func names(_ input: [UInt8]) {
        let text = String(decoding: input, as: UTF8.self)
        if let name = try? NostrName(text) {
            let encoded = name.encoded
            guard let again = try? NostrName(encoded) else { fatalError("the encoded name \(encoded) does not decode") }
            precondition(again.publicKey == name.publicKey)
        }
        _ = NostrName.looksLikeName(text)
        if let item = try? NIP19(text) { precondition((try? NIP19(item.encoded)) != nil) }
        if let url = try? RelayURL(text) { precondition((try? RelayURL(url.text)) == url) }
        _ = PublicKey(userText: text)
    }

    private static func plainMessage(_ input: [UInt8]) {
        guard let message = NIP74Message(plaintext: ByteBuffer(bytes: input)) else { return }
        precondition(NIP74Message(plaintext: ByteBuffer(bytes: message.encoded())) != nil)
    }

    private static func socks(_ input: [UInt8]) {
        guard let first = input.first else { return }
        for credentials in [nil, ProxyCredentials(user: [97], password: [98])] {
            // The result must not depend on the size of the pieces.
            let results = [1, 3, input.count].map { size -> String in
                var handshake = SOCKSHandshake(firstByte: first, credentials: credentials)
                for start in stride(from: 0, to: input.count, by: size) {
                    let piece = input[start..<min(start + size, input.count)]
                    var action = handshake.receive(ByteBuffer(bytes: piece))
                    while case .reply = action { action = handshake.receive(ByteBuffer()) }
                    if action != .wait { return "\(action)" }
                }
                return ""
            }
            precondition(Set(results).count == 1, "\(results)")
        }
    }

    /// Parses a proxy's replies byte by byte. A completed handshake must have consumed all bytes that it received.
    private static func socksClient(_ input: [UInt8]) {
        for isolation in ["", "lane"] {
            var handshake = SOCKS5ClientHandshake(host: "relay.example", port: 443, isolation: isolation)
            var buffer = ByteBuffer()
            answer: for byte in input {
                buffer.writeInteger(byte)
                while true {
                    guard let step = try? handshake.advance(&buffer) else { break answer }
                    switch step {
                    case .wait: continue answer
                    case .send: continue
                    case .connected:
                        precondition(buffer.readableBytes == 0)
                        break answer
                    }
                }
            }
        }
    }

    /// Parses the input as an environment file and a configuration file; every setting must have a line number.
    private static func configuration(_ input: [UInt8]) {
        guard let text = String(validating: input, as: UTF8.self) else { return }
        _ = try? EnvironmentFile(parsing: text, name: "x", isOwn: { $0.hasPrefix("N") })
        guard let settings = try? ConfigurationFile.parse(text, path: "x") else { return }
        for setting in settings { precondition(setting.line >= 1) }
    }

    private static func settings(_ input: [UInt8]) {
        let text = String(decoding: input, as: UTF8.self)
        _ = try? AuthorizedKeys(parsing: text)
        _ = try? ExitPolicy.Rule(text)
        _ = IPNetwork(text)
    }
}
