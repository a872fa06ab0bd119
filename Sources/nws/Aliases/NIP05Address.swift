//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import HTTPTransport
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// An address such as `alice@example.com`, which a web server maps to a public key (NIP-05).
struct NIP05Address {
    /// The part before `@`: lower-case letters, digits, and `-`, `_`, `.`.
    let user: String
    /// The web server.
    let domain: String

    /// The address.
    var text: String { "\(self.user)@\(self.domain)" }

    /// Returns nil if the text is not an address.
    init?(_ text: String) {
        var text = text.trimmingCharacters(in: .whitespacesAndNewlines).lowercased()
        if text.hasPrefix("nostr:") { text.removeFirst("nostr:".count) }
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, parts[1].contains("."),
            !parts[1].hasSuffix(".nostr"),
            parts[0].utf8.allSatisfy({ Self.isAllowed($0) || $0 == UInt8(ascii: "_") }),
            (try? RelayURL("https://\(parts[1])"))?.requestTarget == "/"
        else { return nil }
        self.user = String(parts[0])
        self.domain = String(parts[1])
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }

    private struct Document: Decodable {
        var names: [String: String]
        var relays: [String: [String]]?
    }

    /// Asks the web server for the key and its relays.
    func resolve(_ options: RelayClientOptions) async throws -> NostrName {
        func fail(_ reason: String) -> CommandError { .failure("\(self.text): \(reason)") }
        // `RelayURL` checks the host; `https` is read as `wss`, which uses the same port.
        let url: RelayURL
        do {
            url = try RelayURL("https://\(self.domain)/.well-known/nostr.json?name=\(self.user)")
        } catch {
            throw fail("\(error)")
        }
        let body: ByteBuffer
        do {
            body = try await DocumentFetcher.fetch(url, configuration: options.configuration())
        } catch let error as CommandError {
            throw error
        } catch {
            throw fail("cannot fetch https://\(self.domain)/.well-known/nostr.json: \(DocumentFetcher.reason(error))")
        }
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(body.readableBytesView)) else {
            throw fail("the document of \(self.domain) does not have the format of NIP-05")
        }
        guard let hex = document.names[self.user] else { throw fail("\(self.domain) knows no such name") }
        guard hex.utf8.count == 64, let key = PublicKey(userText: hex) else {
            throw fail("\(self.domain) answers with an invalid key")
        }
        let relays = (document.relays?[hex] ?? []).prefix(NIP19.maximumRelays).compactMap { try? RelayURL($0) }
        return NostrName(publicKey: key, relays: relays)
    }
}
