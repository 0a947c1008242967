//! As `forgets`, and one line more, the one that the error of `forgets` asks for.

use std::process::ExitCode;

use unlinked_handlers as _;

fn main() -> ExitCode {
    unlinked_program::run()
}
