//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// An encoder for the text format of Prometheus, version 0.0.4.
package enum PrometheusText {
    /// The HTTP content type of the format.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The type of a metric.
    package enum Kind: String, Hashable, Sendable {
        /// A counter only increases; a gauge can take any value.
        case counter, gauge
    }

    /// A sample: the value of a metric for one set of labels.
    package struct Sample: Hashable, Sendable {
        /// The name of the metric.
        package let name: String
        /// The type of the metric.
        package let kind: Kind
        /// The encoded labels with braces; empty if there are none.
        let labels: String
        /// The value.
        package let value: Double

        init(_ name: String, kind: Kind, labels: String, value: Double) {
            self.name = name
            self.kind = kind
            self.labels = labels
            self.value = value
        }

        /// Creates a sample.
        ///
        /// - Parameter dimensions: Names and values of the labels.
        package init(_ name: String, kind: Kind = .gauge, _ dimensions: [(String, String)] = [], value: Double) {
            self.init(name, kind: kind, labels: PrometheusText.labels(dimensions), value: value)
        }
    }

    /// Encodes labels with braces. Returns an empty string if there are none.
    static func labels(_ dimensions: [(String, String)]) -> String {
        guard !dimensions.isEmpty else { return "" }
        return "{" + dimensions.map { "\(Self.name($0.0))=\"\(Self.escaped($0.1))\"" }.joined(separator: ",") + "}"
    }

    private static func escaped(_ value: String) -> String {
        // By scalar: CR and LF together are one character that is not "\n".
        value.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "\\": "\\\\"
            case "\"": "\\\""
            case "\n": "\\n"
            default: String(scalar)
            }
        }.joined()
    }

    /// Replaces characters that names must not contain with underscores.
    private static func name(_ text: String) -> String {
        let allowed = text.unicodeScalars.map { scalar -> Character in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "_": Character(scalar)
            default: "_"
            }
        }
        return String(allowed)
    }

    /// Encodes samples, with TYPE and HELP lines for each metric.
    static func encode(_ samples: [Sample]) -> String {
        var lines: [String] = []
        var last: String?
        for sample in samples.sorted(by: { ($0.name, $0.labels) < ($1.name, $1.labels) }) {
            let name = Self.name(sample.name)
            if name != last {
                if let help = MetricHelp.texts[name] { lines.append("# HELP \(name) \(help)") }
                lines.append("# TYPE \(name) \(sample.kind.rawValue)")
                last = name
            }
            lines.append("\(name)\(sample.labels) \(Self.number(sample.value))")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
}
