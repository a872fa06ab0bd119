//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Detects whether the configuration has changed since it was last read.
struct ConfigurationChanges {
    private var files: [String]
    private var stamps: [String: String]
    private var added: [String: [String]]
    private var isBusy = false
    private var isForcedLater = false
    /// Whether the last reload failed. The reason may be a file that is not watched yet.
    private var hasFailed = false

    init(files: [String]) {
        self.files = files
        self.stamps = Self.stamps(files)
        self.added = LayeredArguments.lastAdded
    }

    /// Begins a reload if one is due: a file has changed, or the last reload failed. Returns whether it did.
    ///
    /// Only one reload runs at a time. Call ``endReload(hasFailed:)`` when it has finished.
    ///
    /// - Parameter isForced: Whether to reload although no file has changed. If a reload is running, another one follows it.
    mutating func beginReload(isForced: Bool) -> Bool {
        guard !self.isBusy else {
            self.isForcedLater = self.isForcedLater || isForced
            return false
        }
        let stamps = Self.stamps(self.files)
        guard isForced || self.isForcedLater || self.hasFailed || stamps != self.stamps else { return false }
        self.stamps = stamps
        self.isForcedLater = false
        self.isBusy = true
        return true
    }

    mutating func endReload(hasFailed: Bool) {
        self.isBusy = false
        self.hasFailed = hasFailed
    }

    /// Records the configuration that was applied.
    ///
    /// - Returns: The changed options that require a restart.
    mutating func applied(_ layered: LayeredArguments, files: [String]) -> [String] {
        let changed = Set(self.added.keys).union(layered.added.keys).filter { self.added[$0] != layered.added[$0] }
        self.added = layered.added
        self.files = files
        // Keep the stamps from before the files were read, so that later changes are still detected.
        let known = self.stamps
        self.stamps = Self.stamps(files).merging(known) { _, before in before }
            .filter { files.contains($0.key) }
        return changed.subtracting(layered.reloadable).sorted().map { "--\($0)" }
    }

    private static func stamps(_ files: [String]) -> [String: String] {
        var stamps: [String: String] = [:]
        for file in files {
            let attributes = try? FileManager.default.attributesOfItem(atPath: file)
            let changed = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
            stamps[file] = "\(changed) \(attributes?[.size] ?? 0) \(attributes?[.systemFileNumber] ?? 0)"
        }
        return stamps
    }
}
