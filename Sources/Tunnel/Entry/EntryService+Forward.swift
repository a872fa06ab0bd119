//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import TunnelProtocol

extension EntryService {
    /// The entry would listen on an address that other machines can reach, without being configured to do so.
    public struct NotLoopbackError: Error, CustomStringConvertible {
        public let address: String
        public var description: String { "other machines can connect to \(self.address)" }
    }

    /// A local port that is forwarded to one target.
    public struct Forward: Hashable, Sendable {
        public var host: String
        /// 0 for a free one.
        public var port: Int
        public var target: TargetAddress

        public init(host: String, port: Int, target: TargetAddress) {
            self.host = host
            self.port = port
            self.target = target
        }
    }
}
