//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import CoreMetrics
import NIOConcurrencyHelpers
import Synchronization

/// A swift-metrics backend that exports counters and gauges in the text format of Prometheus.
///
/// Updating a counter or gauge is a lock-free atomic operation. Creating metrics and reading all values takes a lock.
package final class PrometheusRegistry: MetricsFactory, Sendable {
    /// The name and encoded labels of a time series.
    struct Key: Hashable, Comparable {
        let name: String
        let labels: String

        static func < (left: Key, right: Key) -> Bool { (left.name, left.labels) < (right.name, right.labels) }
    }

    private struct State {
        var counters: [Key: AtomicCounter] = [:]
        var gauges: [Key: Gauge] = [:]
    }

    /// Maximum number of counters, and of gauges. Further ones work but are not exported.
    ///
    /// The libraries create a few hundred, and none with labels from network input.
    static let maximumSeries = 10_000

    private let state = NIOLockedValueBox(State())

    /// Creates a registry without metrics.
    package init() {}

    // MARK: MetricsFactory

    /// Returns the counter with this name and these labels, and creates it if necessary.
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let key = Key(name: label, labels: PrometheusText.labels(dimensions))
        return self.state.withLockedValue { state in
            if let counter = state.counters[key] { return counter }
            let counter = AtomicCounter()
            if state.counters.count < Self.maximumSeries { state.counters[key] = counter }
            return counter
        }
    }

    /// Returns the gauge with this name and these labels, and creates it if necessary. It keeps only the last value.
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        let key = Key(name: label, labels: PrometheusText.labels(dimensions))
        return self.state.withLockedValue { state in
            if let gauge = state.gauges[key] { return gauge }
            let gauge = Gauge()
            if state.gauges.count < Self.maximumSeries { state.gauges[key] = gauge }
            return gauge
        }
    }

    /// Returns a timer that does nothing. Timers are not exported.
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        NOOPMetricsHandler.instance
    }

    /// Does nothing. Counters are kept until the process ends.
    package func destroyCounter(_ handler: any CounterHandler) {}
    /// Does nothing. Gauges are kept until the process ends.
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    /// Does nothing.
    package func destroyTimer(_ handler: any TimerHandler) {}

    // MARK: Reading

    /// The sum of a counter over all label values.
    package func total(_ name: String) -> Int64 {
        self.state.withLockedValue { state in
            state.counters.reduce(0) { $1.key.name == name ? $0 + $1.value.value : $0 }
        }
    }

    /// The values of a counter by one of its labels, without those that are zero.
    package func totals(_ name: String, by label: String) -> [String: Int64] {
        let start = label + "=\""
        return self.state.withLockedValue { state in
            var totals: [String: Int64] = [:]
            for (key, counter) in state.counters where key.name == name && counter.value > 0 {
                guard let range = key.labels.firstRange(of: start) else { continue }
                totals[String(key.labels[range.upperBound...].prefix { $0 != "\"" }), default: 0] += counter.value
            }
            return totals
        }
    }

    /// Encodes all metrics, and the samples `more`, as text for Prometheus, sorted by name.
    package func text(and more: [PrometheusText.Sample] = []) -> String {
        var samples = more
        self.state.withLockedValue { state in
            samples += state.counters.map {
                PrometheusText.Sample($0.key.name, kind: .counter, labels: $0.key.labels, value: Double($0.value.value))
            }
            samples += state.gauges.map {
                PrometheusText.Sample($0.key.name, kind: .gauge, labels: $0.key.labels, value: $0.value.value)
            }
        }
        return PrometheusText.encode(samples)
    }
}

/// A counter that can be updated from several threads.
final class AtomicCounter: CounterHandler {
    private let count = Atomic<Int64>(0)

    var value: Int64 { self.count.load(ordering: .relaxed) }

    func increment(by amount: Int64) { self.count.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { self.count.store(0, ordering: .relaxed) }
}

/// A recorder that keeps only the last value.
final class Gauge: RecorderHandler {
    private let bits = Atomic<UInt64>(0)

    var value: Double { Double(bitPattern: self.bits.load(ordering: .relaxed)) }

    func record(_ value: Int64) { self.record(Double(value)) }
    func record(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }
}
