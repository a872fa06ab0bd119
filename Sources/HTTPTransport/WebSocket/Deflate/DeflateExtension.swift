//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOHTTP1

/// The negotiation of permessage-deflate (RFC 7692, section 7.1).
///
/// Neither side refers to earlier messages when it sends, and both ask the other not to.
struct DeflateExtension {
    /// Whether the peer may refer to earlier messages.
    let peerKeepsContext: Bool

    static let header = "Sec-WebSocket-Extensions"
    /// The offer of a client.
    static let offer = "\(Self.name); \(Self.serverContext); \(Self.clientContext)"

    private static let name = "permessage-deflate"
    private static let serverContext = "server_no_context_takeover"
    private static let clientContext = "client_no_context_takeover"
    private static let serverWindow = "server_max_window_bits"
    private static let clientWindow = "client_max_window_bits"

    /// Why a client must close the connection: the server's answer is not one to its offer.
    struct InvalidAnswer: Error {}

    // MARK: Server

    /// The first offer of a request that a server accepts, and its answer; nil if there is none.
    static func accept(_ request: HTTPHeaders) -> (accepted: DeflateExtension, answer: String)? {
        for item in Self.items(of: request) where item.name == Self.name {
            guard let parameters = Self.parameters(of: item) else { continue }
            var answer = "\(Self.name); \(Self.serverContext); \(Self.clientContext)"
            // This server uses no window, so that any size is large enough.
            if let bits = parameters[Self.serverWindow] {
                guard let bits, Self.isValidWindow(bits) else { continue }
                answer += "; \(Self.serverWindow)=\(bits)"
            }
            if let bits = parameters[Self.clientWindow], let bits, !Self.isValidWindow(bits) { continue }
            return (DeflateExtension(peerKeepsContext: false), answer)
        }
        return nil
    }

    // MARK: Client

    /// What a server has accepted; nil if nothing.
    static func accepted(_ response: HTTPHeaders) throws(InvalidAnswer) -> DeflateExtension? {
        let items = Self.items(of: response)
        guard let item = items.first else { return nil }
        guard items.count == 1, item.name == Self.name, let parameters = Self.parameters(of: item),
            // It was not offered.
            parameters[Self.clientWindow] == nil
        else { throw InvalidAnswer() }
        if let bits = parameters[Self.serverWindow] {
            guard let bits, Self.isValidWindow(bits) else { throw InvalidAnswer() }
        }
        // A server must not keep its context, but one that does is understood, too.
        return DeflateExtension(peerKeepsContext: parameters[Self.serverContext] == nil)
    }

    // MARK: Parsing

    private struct Item {
        var name: String
        var parameters: [(name: String, value: String?)]
    }

    /// Maximum number of offers and of their parameters that are read.
    private static let mostItems = 16
    private static let mostParameters = 8

    /// The extensions of a message. Their values contain neither commas nor semicolons, also if they are quoted.
    private static func items(of headers: HTTPHeaders) -> [Item] {
        headers[canonicalForm: Self.header].prefix(Self.mostItems).map { text in
            var pieces = text.split(separator: ";", maxSplits: Self.mostParameters, omittingEmptySubsequences: false)
                .map { Self.trimmed($0) }
            let name = pieces.removeFirst().lowercased()
            let parameters = pieces.map { piece in
                let halves = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                let value = halves.count > 1 ? Self.trimmed(halves[1]).filter { $0 != "\"" } : nil
                return (Self.trimmed(halves.first ?? "").lowercased(), value)
            }
            return Item(name: name, parameters: parameters)
        }
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        let start = text.drop { $0 == " " || $0 == "\t" }
        let end = start.reversed().prefix { $0 == " " || $0 == "\t" }.count
        return String(start.dropLast(end))
    }

    /// The parameters by their names; nil if one is unknown, repeated, or has a value that it must not have.
    private static func parameters(of item: Item) -> [String: String?]? {
        var parameters: [String: String?] = [:]
        for (name, value) in item.parameters {
            switch name {
            case Self.serverContext, Self.clientContext: guard value == nil else { return nil }
            case Self.serverWindow, Self.clientWindow: break
            default: return nil
            }
            guard parameters.updateValue(value, forKey: name) == nil else { return nil }
        }
        return parameters
    }

    private static func isValidWindow(_ bits: String) -> Bool {
        Int(bits).map { (8...15).contains($0) && String($0) == bits } ?? false
    }
}
