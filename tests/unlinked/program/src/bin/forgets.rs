//! Depends on the crate with the handlers but does not mention it, so they are not linked. It must not start.

use std::process::ExitCode;

fn main() -> ExitCode {
    unlinked_program::run()
}
