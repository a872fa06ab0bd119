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

    init(files: [String]) {
        self.files = files
        self.stamps = Self.stamps(files)
        self.added = LayeredArguments.lastAdded
    }

    /// Begins a reload if a file has changed. Returns whether it did.
    ///
    /// Only one reload runs at a time. Call ``endReload()`` when it has finished.
    ///
    /// - Parameter isForced: Whether to reload although no file has changed. If a reload is running, another one follows it.
    mutating func beginReload(isForced: Bool) -> Bool {
        guard !self.isBusy else {
            self.isForcedLater = self.isForcedLater || isForced
            return false
        }
        let stamps = Self.stamps(self.files)
        guard isForced || self.isForcedLater || stamps != self.stamps else { return false }
        self.stamps = stamps
        self.isForcedLater = false
        self.isBusy = true
        return true
    }

    mutating func endReload() { self.isBusy = false }

    /// Changes the files that are watched. Call this before they are read, so that no change is missed.
    mutating func watch(_ files: [String]) {
        self.files = files
        // Files that were watched before keep the state of the beginning of the reload.
        self.stamps = Self.stamps(files).merging(self.stamps) { _, before in before }.filter { files.contains($0.key) }
    }

    /// Records the configuration that was applied.
    ///
    /// - Returns: The changed options that require a restart.
    mutating func applied(_ layered: LayeredArguments) -> [String] {
        let changed = Set(self.added.keys).union(layered.added.keys).filter { self.added[$0] != layered.added[$0] }
        self.added = layered.added
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
