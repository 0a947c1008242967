//! Defines a handler with a macro from the other crate.

use std::process::ExitCode;

use unlinked_handlers::library::ResetTokenCreated;

unlinked_handlers::count_tokens!(count, ResetTokenCreated);

fn main() -> ExitCode {
    unlinked_program::run()
}
