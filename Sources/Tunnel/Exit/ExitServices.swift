//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// The address of a service behind an exit.
public enum Backend: Hashable, Sendable {
    /// A host name or IP address, and a port.
    case tcp(host: String, port: Int)
    /// The path of a Unix domain socket.
    case unix(path: String)
    /// A service in the program's own code.
    case local(LocalService)
}

extension Backend: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tcp(let host, let port): TargetAddress.text(host: host, port: port)
        case .unix(let path): "unix:\(path)"
        case .local: "local"
        }
    }
}

/// The services of an exit, by the port that clients request.
public struct ExitServices: Hashable, Sendable {
    /// Each port's backend.
    public var byPort: [UInt16: Backend]
    /// The backend of all other ports; nil to refuse them.
    public var fallback: Backend?
    /// Ports for which the exit terminates TLS.
    public var tlsPorts: Set<UInt16> = []

    /// Ports whose services get a header of the PROXY protocol, version 2, that names the client (``ProxyProtocolHeader``).
    /// Nil stands for ``fallback``.
    public var proxyProtocolPorts: Set<UInt16?> = []

    /// Creates services by port.
    ///
    /// - Parameters:
    ///   - byPort: Each port's backend.
    ///   - fallback: The backend of all other ports; nil to refuse them.
    public init(_ byPort: [UInt16: Backend] = [:], fallback: Backend? = nil) {
        self.byPort = byPort
        self.fallback = fallback
    }

    /// Whether every port is refused.
    public var isEmpty: Bool { self.byPort.isEmpty && self.fallback == nil }

    /// Whether the exit terminates TLS for a port.
    ///
    /// - Parameter port: Nil if the client's protocol cannot name a port, as in plain NIP-74.
    public func endsTLS(_ port: UInt16?) -> Bool {
        guard let port else { return self.tlsPorts.count == 1 && self.byPort.count <= 1 }
        return self.tlsPorts.contains(port)
    }

    /// Whether the service of a port gets a header that names the client.
    ///
    /// - Parameter port: Nil if the client's protocol cannot name a port, as in plain NIP-74.
    func usesProxyProtocol(_ port: UInt16?) -> Bool {
        guard let port else {
            if self.fallback != nil { return self.proxyProtocolPorts.contains(nil) }
            return self.proxyProtocolPorts.contains(self.byPort.count == 1 ? self.byPort.first?.key : 80)
        }
        return self.proxyProtocolPorts.contains(self.byPort[port] == nil ? nil : port)
    }

    /// The backend of a port; nil if there is none.
    ///
    /// - Parameter port: Nil if the client's protocol cannot name a port, as in plain NIP-74. The result is then the
    ///   fallback, or else the only service, or else the service at port 80.
    public func backend(for port: UInt16?) -> Backend? {
        guard let port else {
            return self.fallback ?? (self.byPort.count == 1 ? self.byPort.first?.value : self.byPort[80])
        }
        return self.byPort[port] ?? self.fallback
    }
}

extension ExitServices: CustomStringConvertible {
    /// The services in the format of the command-line option: `22=127.0.0.1:22 *=127.0.0.1:8080`.
    public var description: String {
        func suffix(_ port: UInt16?) -> String { self.proxyProtocolPorts.contains(port) ? ",proxy-protocol" : "" }
        let services = self.byPort.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)\(suffix($0.key))" }
        return (services + (self.fallback.map { ["*=\($0)\(suffix(nil))"] } ?? [])).joined(separator: " ")
    }
}

extension ExitServices {
    /// The error for TLS on a port whose service is in the program's own code.
    struct TLSForLocalServiceError: Error, CustomStringConvertible {
        let port: UInt16
        var description: String {
            "port \(self.port): TLS cannot be terminated for a service in the program's own code"
        }
    }

    /// - Throws: ``TLSForLocalServiceError``
    func checkTLS() throws(TLSForLocalServiceError) {
        for (port, backend) in self.byPort where self.endsTLS(port) {
            if case .local = backend { throw TLSForLocalServiceError(port: port) }
        }
    }
}
