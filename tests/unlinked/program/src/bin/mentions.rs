//! The program `forgets` with the line that its error requests for. It starts.

use std::process::ExitCode;

use unlinked_handlers as _;

fn main() -> ExitCode {
    unlinked_program::run()
}
