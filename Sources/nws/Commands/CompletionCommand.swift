//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser

/// `nws completion`
struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "Print the completion script for a shell.",
        discussion: """
            Packages install the scripts. Without a package:

              nws completion bash > ~/.local/share/bash-completion/completions/nws
              nws completion zsh > ~/.zfunc/_nws     # with fpath+=~/.zfunc in ~/.zshrc
              nws completion fish > ~/.config/fish/completions/nws.fish
            """
    )

    enum Shell: String, CaseIterable, ExpressibleByArgument {
        case bash, zsh, fish
    }

    @Argument(help: "The shell: bash, zsh or fish.")
    var shell: Shell

    func run() {
        let shell: CompletionShell =
            switch self.shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        Console.line(NWS.completionScript(for: shell))
    }
}
