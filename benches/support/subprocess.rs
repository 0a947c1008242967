//! A second process of the same program, whose memory contains only what is measured.

use std::env;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::process::resident_memory;

/// The argument before the name of the task.
const FLAG: &str = "--subprocess";

/// Name of the task of this process if [`Subprocess::start`] started it.
pub fn task() -> Option<String> {
    env::args().skip_while(|argument| argument != FLAG).nth(1)
}

/// A running subprocess, killed on drop.
pub struct Subprocess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Closed on drop, also if this process is killed. The subprocess exits then.
    _stdin: Option<ChildStdin>,
}

impl Subprocess {
    /// Starts this program again with a task.
    pub fn start(task: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(env::args().skip(1))
            .args([FLAG, task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _stdin: child.stdin.take(), child, lines }
    }

    /// Waits for the next line of output. Returns `None` at its end.
    pub fn read_line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    /// Resident memory in bytes. `None` except on Linux.
    pub fn resident_memory(&self) -> Option<u64> {
        resident_memory(&self.child.id().to_string())
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        // The subprocess may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
