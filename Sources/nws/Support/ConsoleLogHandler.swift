//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging

/// Writes log messages to standard error, one per line.
///
/// A line is text (time, level, message, and `key=value` pairs in alphabetical order) or a JSON object.
struct ConsoleLogHandler: LogHandler {
    /// The format of log messages.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case text, json
    }

    let format: Format
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info
    var metadataProvider: Logger.MetadataProvider?

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var merged = self.metadata
        if let metadata = event.metadata { merged.merge(metadata) { _, new in new } }
        if event.level >= .warning {
            ProcessMetrics.note(event.message.description, details: merged.mapValues { "\($0)" })
        }
        if self.format == .json {
            LogOutput.standardError.write(Console.printable(Self.json(event, merged)))
            return
        }
        let pairs = merged.sorted { $0.key < $1.key }.map { "\($0.key)=\(Self.quoted("\($0.value)"))" }
        let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let parts = [time, event.level.rawValue, Console.printable(event.message.description)] + pairs
        LogOutput.standardError.write(parts.joined(separator: " "))
    }

    private static func json(_ event: LogEvent, _ metadata: Logger.Metadata) -> String {
        var fields = metadata.mapValues { "\($0)" }
        fields["time"] = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        fields["level"] = event.level.rawValue
        fields["message"] = event.message.description
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Encoding strings cannot fail.
        return (try? encoder.encode(fields)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    /// Quotes values that are empty or contain spaces, quotes or equals signs.
    private static func quoted(_ text: String) -> String {
        let text = Console.printable(text)
        // By scalar: a quote and a combining character together are one character that is not a quote.
        let special: Set<Unicode.Scalar> = [" ", "\"", "="]
        guard text.isEmpty || text.unicodeScalars.contains(where: special.contains) else { return text }
        return "\"" + text.unicodeScalars.map { $0 == "\"" ? "'" : String($0) }.joined() + "\""
    }
}

extension Logger {
    /// Creates a logger that writes to standard error.
    static func console(_ label: String, _ level: Logger.Level, format: ConsoleLogHandler.Format = .text) -> Logger {
        var logger = Logger(label: label) { _ in ConsoleLogHandler(format: format) }
        logger.logLevel = level
        return logger
    }
}
