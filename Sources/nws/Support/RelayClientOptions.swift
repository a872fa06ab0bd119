//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import NIOSSL
import NostrClient

/// Options about connections to relays.
struct RelayClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "PEM file of certificates to trust for wss:// relays, instead of the system's.",
            valueName: "file"
        )
    )
    var caFile: String?

    func configuration() throws -> RelayClientConfiguration {
        var configuration = RelayClientConfiguration()
        if let path = self.caFile {
            do {
                let certificates = try NIOSSLCertificate.fromPEMFile(path)
                guard !certificates.isEmpty else {
                    throw CommandError.configuration("--ca-file: there is no certificate in \(path)")
                }
                configuration.tls.trustRoots = .certificates(certificates)
            } catch let error as CommandError {
                throw error
            } catch {
                throw CommandError.configuration("--ca-file: cannot read certificates from \(path)")
            }
        }
        return configuration
    }
}
