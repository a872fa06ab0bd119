//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOPosix
import Tunnel

/// Checks whether services of an exit accept connections.
enum ServiceCheck {
    /// Timeout for each service.
    private static let timeout: TimeAmount = .seconds(2)

    /// The services that do not accept a connection, in the order of their ports.
    static func silentServices(_ services: ExitServices) async -> [(port: UInt16, backend: Backend)] {
        await withTaskGroup(of: (port: UInt16, backend: Backend)?.self) { group in
            for (port, backend) in services.byPort {
                group.addTask { await Self.answers(backend) ? nil : (port, backend) }
            }
            var silent: [(port: UInt16, backend: Backend)] = []
            for await service in group { if let service { silent.append(service) } }
            return silent.sorted { $0.port < $1.port }
        }
    }

    /// Whether a service does not accept a connection.
    static func isSilent(_ backend: Backend) async -> Bool { await !Self.answers(backend) }

    private static func answers(_ backend: Backend) async -> Bool {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(Self.timeout)
        do {
            let channel: any Channel
            switch backend {
            case .tcp(let host, let port):
                let addresses = try await HostResolver.own.resolve(host: host, port: port, on: loop).get()
                channel = try await bootstrap.connect(toFirstOf: addresses, on: loop).get()
            case .unix(let path): channel = try await bootstrap.connect(unixDomainSocketPath: path).get()
            case .local: return true
            }
            try? await channel.close()
            return true
        } catch {
            return false
        }
    }
}
