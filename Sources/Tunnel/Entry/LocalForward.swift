//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import TunnelProtocol

/// A local port whose connections an entry forwards to one target.
public struct LocalForward: Hashable, Sendable {
    /// The local address to listen on, for example `127.0.0.1`.
    public var host: String
    /// The local port; 0 for any free port.
    public var port: Int
    /// The target of the connections.
    public var target: TargetAddress

    /// Creates a forward of `host` and `port` to `target`.
    public init(host: String, port: Int, target: TargetAddress) {
        self.host = host
        self.port = port
        self.target = target
    }
}
