//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// The machine on which the benchmark runs.
struct Machine: Encodable {
    let processor: String
    let cores: Int
    let system: String
    let memoryGiB: Int
    let date: String

    init() {
        let information = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = information.split(separator: "\n").first { $0.hasPrefix("model name") }
        self.processor = model?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
        self.cores = ProcessInfo.processInfo.activeProcessorCount
        self.system = ProcessInfo.processInfo.operatingSystemVersionString
        self.memoryGiB = Int(ProcessInfo.processInfo.physicalMemory >> 30)
        self.date = ISO8601DateFormatter().string(from: Date())
    }

    var description: String {
        "\(self.processor), \(self.cores) cores, \(self.memoryGiB) GiB, \(self.system), \(self.date)"
    }
}
