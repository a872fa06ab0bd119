//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The URL of a relay in normalized form, so that different spellings of the same URL are equal.
///
/// Scheme and host are lower case. The scheme's default port and the slash of an empty path are removed. `https` is
/// read as `wss` and `http` as `ws`. A URL without a scheme is read as `wss` if its host contains a dot or is
/// `localhost`. Other schemes, user names, fragments, backslashes, spaces, control characters and non-ASCII characters
/// are errors.
public struct RelayURL: Hashable, Sendable {
    /// Maximum length of a URL in bytes.
    public static let maximumLength = 512

    /// Whether the connection uses TLS.
    public let isSecure: Bool
    /// The host name or IP address in lower case; an IPv6 address without brackets.
    public let host: String
    /// The port; the scheme's default if the URL has none.
    public let port: Int
    /// The path and query for the HTTP request. Starts with a slash.
    public let requestTarget: String
    /// The normalized URL.
    public let text: String

    /// The reason why a text is not a valid relay URL.
    public enum ParsingError: Error, Hashable, Sendable {
        /// The URL is longer than ``RelayURL/maximumLength``.
        case tooLong
        /// The URL contains a space, a backslash, a control character or a non-ASCII character.
        case invalidCharacter
        /// The scheme is not ws, wss, http or https. Or it is missing, and the host contains no dot and is not
        /// `localhost`.
        case unsupportedScheme
        /// The host is missing or malformed.
        case invalidHost
        /// The port is not a number from 1 to 65535.
        case invalidPort
        /// The URL contains `user@` or `#fragment`.
        case userInfoOrFragment
    }

    /// Parses and normalizes a URL.
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
                // Without a scheme, require a dot, so that an arbitrary word is not taken for a host.
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
        // The normalized text is longer than the input if the scheme was missing.
        guard self.text.utf8.count <= Self.maximumLength else { throw .tooLong }
    }

    /// The value of the HTTP Host header: the host, and the port if it is not the scheme's default.
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
        case .tooLong: "the URL is longer than \(RelayURL.maximumLength) characters"
        case .invalidCharacter: "the URL contains a space, a backslash, a control character or a non-ASCII character"
        case .unsupportedScheme: "the URL must start with ws:// or wss://"
        case .invalidHost: "the host is missing or malformed"
        case .invalidPort: "the port must be a number from 1 to 65535"
        case .userInfoOrFragment: "the URL must not contain user@ or #fragment"
        }
    }
}

extension Substring {
    /// The text before and after the first `separator`; nil if the text before it is not a URL scheme.
    fileprivate func range(ofScheme separator: String) -> (Substring, Substring)? {
        guard let colon = self.firstIndex(of: ":"), self[colon...].hasPrefix(separator) else { return nil }
        let scheme = self[..<colon]
        guard !scheme.isEmpty, scheme.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "+" || $0 == "-" || $0 == "." })
        else { return nil }
        return (scheme, self[colon...].dropFirst(separator.count))
    }
}

extension Sequence<RelayURL> {
    /// The URLs in order, without repetitions of earlier ones.
    public func removingDuplicates() -> [RelayURL] {
        var seen: Set<RelayURL> = []
        return self.filter { seen.insert($0).inserted }
    }
}
