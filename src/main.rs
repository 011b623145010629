//! Parse, dispatch, return the exit code; nothing else.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(evalkit::cli::run(std::env::args_os()).code())
}
