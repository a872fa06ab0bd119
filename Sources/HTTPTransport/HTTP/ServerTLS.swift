//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
package import NIOSSL

/// A server's certificate and key, which can be renewed while it runs: new connections get the new ones.
public final class ServerTLS: Sendable {
    private let context: NIOLockedValueBox<NIOSSLContext>

    /// Reads PEM files.
    ///
    /// - Parameters:
    ///   - certificateFile: The chain, the server's own first.
    ///   - keyFile: The key of the first.
    /// - Throws: If a file cannot be read, or they do not belong together.
    public convenience init(certificateFile: String, keyFile: String) throws {
        try self.init(
            chain: try NIOSSLCertificate.fromPEMFile(certificateFile),
            key: try NIOSSLPrivateKey(file: keyFile, format: .pem)
        )
    }

    /// Takes PEM texts: the chain, the server's own first, and its key.
    package convenience init(certificates: [String], key: String) throws {
        try self.init(
            chain: try certificates.map { try NIOSSLCertificate(bytes: Array($0.utf8), format: .pem) },
            key: try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem)
        )
    }

    private init(chain: [NIOSSLCertificate], key: NIOSSLPrivateKey) throws {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = .tlsv12
        self.context = NIOLockedValueBox(try NIOSSLContext(configuration: configuration))
    }

    /// Takes the certificate of another.
    public func replace(with other: ServerTLS) {
        let context = other.context.withLockedValue { $0 }
        self.context.withLockedValue { $0 = context }
    }

    package func makeHandler() -> NIOSSLServerHandler {
        NIOSSLServerHandler(context: self.context.withLockedValue { $0 })
    }
}
