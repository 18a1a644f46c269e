//! `meridian completion`: the script by which a shell completes our commands and options, made from the command line as it is
//! read. Touches nothing.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::failure::CliError;
use crate::output;

/// Print the script by which a shell completes commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian completion bash > /etc/bash_completion.d/meridian
  meridian completion zsh > \"${fpath[1]}/_meridian\"
  meridian completion fish > ~/.config/fish/completions/meridian.fish
  eval (meridian completion elvish | slurp)
  meridian completion powershell >> $PROFILE")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    output::print(script(args.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::Cli::command(), "meridian", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        assert_eq!(Shell::value_variants().len(), 5);
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).expect("a script is text");
            for command in crate::Cli::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(text.contains("transfer-leader") && text.contains("batch-lines"), "{shell}");
        }
    }
}
