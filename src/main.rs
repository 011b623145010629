//! Parse, dispatch, return the exit code; nothing else.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(evalkit::command_line(std::env::args_os()).code())
}
