//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The address of a relay, normalised, so that two spellings of one relay are equal.
///
/// Lower-case scheme and host, no default port, no slash for an empty path. `https` and `http` are read as `wss` and
/// `ws`, a missing scheme as `wss`. User names, fragments, spaces, control characters and other schemes are refused.
public struct RelayURL: Hashable, Sendable {
    /// Longest URL in bytes.
    public static let maximumLength = 512

    /// Whether the connection is under TLS.
    public let isSecure: Bool
    /// Name or address, lower case; an IPv6 address without its brackets.
    public let host: String
    /// The port, the scheme's default filled in.
    public let port: Int
    /// Path and query for the HTTP request, beginning with a slash.
    public let requestTarget: String
    /// The normalised URL.
    public let text: String

    /// Why text is not the URL of a relay.
    public enum ParsingError: Error, Hashable, Sendable {
        case tooLong
        /// A space, a control character, or one outside ASCII.
        case invalidCharacter
        /// A scheme that is neither ws nor wss.
        case unsupportedScheme
        /// No host, or one that cannot be.
        case invalidHost
        case invalidPort
        /// `user@` or `#part`, which a relay's URL cannot have.
        case userInfoOrFragment
    }

    public init(_ text: String) throws(ParsingError) {
        guard text.utf8.count <= Self.maximumLength else { throw .tooLong }
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !text.utf8.contains(UInt8(ascii: "\\")) else {
            throw .invalidCharacter
        }
        var rest = Substring(text)
        let hasScheme = rest.range(ofScheme: "://")
        if let (scheme, after) = hasScheme {
            switch scheme.lowercased() {
            case "wss", "https": self.isSecure = true
            case "ws", "http": self.isSecure = false
            default: throw .unsupportedScheme
            }
            rest = after
        } else {
            self.isSecure = true
        }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        let authority = rest[..<end]
        let tail = rest[end...]
        guard !authority.contains("@"), !tail.contains("#") else { throw .userInfoOrFragment }

        var hostText: Substring
        var portText: Substring?
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { throw .invalidHost }
            hostText = authority[authority.index(after: authority.startIndex)..<close]
            let after = authority[authority.index(after: close)...]
            if !after.isEmpty {
                guard after.hasPrefix(":") else { throw .invalidHost }
                portText = after.dropFirst()
            }
            guard hostText.contains(":"), hostText.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else {
                throw .invalidHost
            }
        } else {
            let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2 else { throw .invalidHost }
            hostText = parts[0]
            portText = parts.count == 2 ? parts[1] : nil
            let allowed = hostText.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "." || $0 == "_" }
            guard !hostText.isEmpty, allowed, !hostText.hasPrefix("."), !hostText.contains("..") else {
                throw .invalidHost
            }
            if hasScheme == nil {
                // Any word would pass for a host without this.
                guard hostText.contains(".") || hostText.lowercased() == "localhost" else { throw .unsupportedScheme }
            }
        }
        self.host = hostText.lowercased()
        let defaultPort = self.isSecure ? 443 : 80
        if let portText, !portText.isEmpty {
            guard portText.utf8.count <= 5, portText.utf8.allSatisfy({ $0 &- UInt8(ascii: "0") < 10 }),
                let port = Int(portText), (1...65_535).contains(port)
            else { throw .invalidPort }
            self.port = port
        } else {
            self.port = defaultPort
        }
        let path = tail == "/" ? "" : String(tail)
        self.requestTarget = path.isEmpty ? "/" : path.hasPrefix("/") ? path : "/" + path
        let shownHost = self.host.contains(":") ? "[\(self.host)]" : self.host
        let shownPort = self.port == defaultPort ? "" : ":\(self.port)"
        self.text = "\(self.isSecure ? "wss" : "ws")://\(shownHost)\(shownPort)\(path)"
        // A scheme that was left out makes it longer.
        guard self.text.utf8.count <= Self.maximumLength else { throw .tooLong }
    }

    /// `host:port` as the Host field of HTTP writes it.
    public var authority: String {
        let shownHost = self.host.contains(":") ? "[\(self.host)]" : self.host
        return self.port == (self.isSecure ? 443 : 80) ? shownHost : "\(shownHost):\(self.port)"
    }
}

extension RelayURL: CustomStringConvertible {
    public var description: String { self.text }
}

extension RelayURL.ParsingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooLong: "longer than \(RelayURL.maximumLength) characters"
        case .invalidCharacter: "it has a space, a control character or one outside ASCII"
        case .unsupportedScheme: "a relay's URL begins with ws:// or wss://"
        case .invalidHost: "the host is missing or malformed"
        case .invalidPort: "the port is not a number from 1 to 65535"
        case .userInfoOrFragment: "user@ and #fragment have no place in a relay's URL"
        }
    }
}

extension Substring {
    /// What stands before and behind the first `separator`, if what is before looks like a scheme.
    fileprivate func range(ofScheme separator: String) -> (Substring, Substring)? {
        guard let colon = self.firstIndex(of: ":"), self[colon...].hasPrefix(separator) else { return nil }
        let scheme = self[..<colon]
        guard !scheme.isEmpty, scheme.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "+" || $0 == "-" || $0 == "." })
        else { return nil }
        return (scheme, self[colon...].dropFirst(separator.count))
    }
}

extension Sequence<RelayURL> {
    /// The URLs without later repetitions, in order.
    public func removingDuplicates() -> [RelayURL] {
        var seen: Set<RelayURL> = []
        return self.filter { seen.insert($0).inserted }
    }
}
