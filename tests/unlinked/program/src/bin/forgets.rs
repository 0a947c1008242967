//! Depends on the handlers and does not mention them: they are not linked, and it must not start.

use std::process::ExitCode;

fn main() -> ExitCode {
    unlinked_program::run()
}
