//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Collects the figures of a run; prints them as a table and writes them as JSON.
final class Report {
    struct Row: Encodable {
        let group: String
        let name: String
        let unit: String
        let value: Distribution
        /// The name of the figure with which this one is compared.
        let reference: String?
        /// The speed divided by that of the reference; 1 means that both are equally fast.
        let ratio: Double?
    }

    private struct File: Encodable {
        let machine: Machine
        let rows: [Row]
    }

    private(set) var rows: [Row] = []
    private var group = ""

    /// Starts a group of rows and prints its title.
    func begin(_ group: String) {
        self.group = group
        say("\n\(group)")
    }

    /// Adds a row with several readings of a figure and prints it.
    func add(_ name: String, _ unit: String, _ values: [Double], reference: String? = nil, ratio: Double? = nil) {
        let row = Row(
            group: self.group,
            name: name,
            unit: unit,
            value: Distribution(values),
            reference: reference,
            ratio: ratio
        )
        self.rows.append(row)
        say(Self.line(row))
    }

    /// The median of the last row with this name, or nil if there is none.
    func median(_ name: String) -> Double? { self.rows.last { $0.name == name }?.value.median }

    private static func line(_ row: Row) -> String {
        var line = "  " + row.name.padding(toLength: 52, withPad: " ", startingAt: 0)
        line += Self.number(row.value.median) + " " + row.unit.padding(toLength: 12, withPad: " ", startingAt: 0)
        if row.value.count > 1 { line += " (\(Self.trimmed(row.value.least)) – \(Self.trimmed(row.value.most)))" }
        if let ratio = row.ratio, let reference = row.reference {
            line += "  \(String(format: "%.2f", ratio)) × \(reference)"
        }
        return line
    }

    private static func trimmed(_ value: Double) -> String { Self.number(value).trimmingCharacters(in: .whitespaces) }

    private static func number(_ value: Double) -> String {
        let format = value >= 1_000 ? "%10.0f" : value >= 10 ? "%10.1f" : "%10.3f"
        return String(format: format, value)
    }

    func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(File(machine: Machine(), rows: self.rows)).write(to: URL(fileURLWithPath: path))
    }
}
