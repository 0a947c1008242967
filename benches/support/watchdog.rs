//! A time limit for the whole bench.

use std::process;
use std::thread;
use std::time::Duration;

use super::args;

/// Ends the process with an error if it runs for more than 3 minutes as a test or 30 minutes as a bench.
///
/// A bench waits for servers, mails and other processes. Without a limit, a lost answer would block continuous integration.
pub fn start() {
    let limit = Duration::from_secs(60 * if args::is_smoke_test() { 3 } else { 30 });
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("error: this bench did not finish within {limit:?}; it hangs after the last line it printed");
        process::exit(1);
    });
}
