//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// For whom a name is looked up. Lookups are shared evenly: first among known clients and, for all others, the domains that
/// they ask for; then among the clients of a domain. A stranger can make any number of keys, but needs a domain with slow
/// name servers for each further share.
package struct LookupClient: Hashable, Sendable {
    private let name: String
    private let isKnown: Bool

    /// - Parameters:
    ///   - name: Identifies the client.
    ///   - isKnown: Whether the client cannot have many names.
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
