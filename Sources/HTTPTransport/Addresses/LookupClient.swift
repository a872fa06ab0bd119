//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// For whom a name is looked up. Each known client has one share of the lookups. All other clients share by the domain that
/// they ask for, and within a domain by client: a stranger can make any number of keys, but needs a domain with slow name
/// servers for each further share.
package struct LookupClient: Hashable, Sendable {
    private let name: String
    let isKnown: Bool

    /// - Parameters:
    ///   - name: Identifies the client.
    ///   - isKnown: Whether the name is a proven identity. A stranger can make any number of names.
    package init(_ name: String, isKnown: Bool) {
        self.name = name
        self.isKnown = isKnown
    }

    /// The share of a lookup.
    enum Share: Hashable, Sendable {
        case client(LookupClient)
        case domain(String)
    }

    func share(for host: String) -> Share {
        guard !self.isKnown else { return .client(self) }
        let labels = host.lowercased().split(separator: ".")
        return .domain(labels.suffix(2).joined(separator: "."))
    }
}
