//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Where the program is installed.
enum Installation {
    /// The absolute path of the running program.
    static var path: String {
        let own = Bundle.main.executablePath ?? ProcessArguments.all.first ?? "nws"
        return own.hasPrefix("/") ? own : FileManager.default.currentDirectoryPath + "/" + own
    }

    /// How the user started this program.
    static var typed: String {
        let first = ProcessArguments.all.first ?? "nws"
        return first.contains("/") ? first : "nws"
    }

    /// How other programs start this one: `nws` if the search path leads to it, else its path.
    static var command: String {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        let own = URL(filePath: self.path).resolvingSymlinksInPath().path
        for folder in folders {
            let candidate = String(folder) + "/nws"
            guard FileManager.default.isExecutableFile(atPath: candidate) else { continue }
            return URL(filePath: candidate).resolvingSymlinksInPath().path == own ? "nws" : self.path
        }
        return self.path
    }
}
