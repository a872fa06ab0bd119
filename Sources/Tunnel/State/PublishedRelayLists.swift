//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The event IDs of the relay lists (NIP-65) that an exit has published.
///
/// The exit treats a list with another ID as published by another program that uses the same key, and does not replace
/// it.
///
/// The file contains one ID per line, the newest last. Without a file, the IDs are kept only in memory.
struct PublishedRelayLists {
    /// Maximum number of IDs. Several are kept because a relay may not have the newest list.
    private static let maximumCount = 16

    private let path: String?
    private var ids: [EventID] = []

    /// Reads the file.
    ///
    /// - Throws: The system's error if the file exists but cannot be read.
    init(path: String?) throws {
        self.path = path
        guard let path, FileManager.default.fileExists(atPath: path) else { return }
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        // Skip invalid lines. A list of this exit then counts as foreign and is not replaced, which does no damage.
        self.ids = text.split(whereSeparator: \.isNewline).suffix(Self.maximumCount)
            .compactMap { Bytes32(hex: String($0)).map { EventID($0) } }
    }

    func contains(_ id: EventID) -> Bool { self.ids.contains(id) }

    /// Records the ID of a list. Call this method before publishing the list.
    ///
    /// - Throws: The system's error.
    mutating func insert(_ id: EventID) throws {
        guard !self.ids.contains(id) else { return }
        let ids = (self.ids + [id]).suffix(Self.maximumCount)
        if let path {
            let text = ids.map { $0.bytes.hex + "\n" }.joined()
            try StateFile.save(Array(text.utf8), to: path)
        }
        self.ids = Array(ids)
    }
}
