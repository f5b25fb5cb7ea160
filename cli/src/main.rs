//! The `capscache` command.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    capscache_cli::main()
}
