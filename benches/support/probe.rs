//! A second process of the same program, whose memory holds nothing but what is measured.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The argument before the name of what the second process is for.
const PROBE: &str = "--probe";

/// What this process is for, if it is a second one.
pub fn asked() -> Option<String> {
    env::args().skip_while(|argument| argument != PROBE).nth(1)
}

/// A second process. It ends with this.
pub struct Probe {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Closed when this is dropped, which is what a probe waits for.
    _stdin: Option<ChildStdin>,
}

impl Probe {
    /// Starts one.
    pub fn start(name: &str) -> Self {
        let program = env::current_exe().unwrap();
        let mut command = Command::new(program);
        let mut child = command
            .args(env::args().skip(1))
            .args([PROBE, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _stdin: child.stdin.take(), child, lines }
    }

    /// The next line it prints.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    /// How much memory it takes up.
    pub fn resident(&self) -> Option<u64> {
        resident_of(&self.child.id().to_string())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How much memory this process takes up, in bytes. `None` where there is no Linux to ask.
pub fn resident() -> Option<u64> {
    resident_of("self")
}

fn resident_of(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok().map(|kib: u64| kib << 10)
}

/// How many files this process may have open.
pub fn file_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    match line.split_whitespace().next() {
        Some("unlimited") => usize::MAX,
        limit => limit.and_then(|limit| limit.parse().ok()).unwrap_or(0),
    }
}

/// Starts the program anew with as many open files as the system allows, which the first program of a shell may not have.
#[cfg(unix)]
pub fn raise_file_limit() {
    use std::os::unix::process::CommandExt as _;

    const RAISED: &str = "BENCH_FILE_LIMIT_RAISED";
    if env::var_os(RAISED).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let script = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#;
    // Returns only if there is no shell: then the limit stays as it is.
    let _ = Command::new("sh").args(["-c", script]).arg(program).args(env::args().skip(1)).env(RAISED, "1").exec();
}

#[cfg(not(unix))]
pub fn raise_file_limit() {}
