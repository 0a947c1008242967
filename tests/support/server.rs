//! Servers that the tests start: on a free port of the loopback interface, with their data in a temporary directory.
//!
//! A test that needs a server is skipped with a message if its program is not installed. With `REQUIRE_SERVICES=1` it fails
//! instead.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// Returns the path of an installed program, looked for in `PATH` and in `directories`. Otherwise reports the skipped test,
/// or fails if `REQUIRE_SERVICES=1`.
pub(crate) fn installed(program: &str, directories: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|directory| directory.join(program));
    let found = in_path.chain(directories.iter().map(|directory| Path::new(directory).join(program)));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{program} is"));
    }
    found
}

/// Reports a test that is skipped because `what`, for example "postgres is", not installed. Fails if `REQUIRE_SERVICES=1`.
pub(crate) fn skip(what: &str) {
    let required = env::var_os("REQUIRE_SERVICES").is_some_and(|value| value == "1");
    assert!(!required, "{what} not installed, and REQUIRE_SERVICES=1 requests for it");
    // Written to standard error directly, because the test harness hides the output of passed tests.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    drop(writeln!(io::stderr(), "skipped: {test}, {what} not installed"));
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
    listener.local_addr().expect("the listener has an address").port()
}

/// A temporary directory, removed when dropped.
pub(crate) struct TempDirectory(PathBuf);

impl TempDirectory {
    /// Creates a directory that every user can enter: a database server started by root runs as another user.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("server-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary directory can be created");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl TempDirectory {
    /// Lets a process that runs as this user write into the directory. Does nothing unless the tests run as root.
    pub(crate) fn give_to(&self, user: &str) {
        if is_root() {
            let done = Command::new("chown").arg(user).arg(&self.0).status();
            assert!(done.expect("chown runs").success(), "the directory can be given to {user}");
        }
    }

    /// Keeps the directory when this value is dropped.
    pub(crate) fn keep(self) -> PathBuf {
        std::mem::ManuallyDrop::new(self).0.clone()
    }
}

/// Returns whether the tests run as root, as they do in many containers.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// Returns a command that runs the program as `user` if the tests run as root, because some servers refuse root.
pub(crate) fn command_as(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups").arg(program);
    command
}

/// A server that runs until the test process ends, however it ends. Its directory is then removed.
///
/// A shell starts the server and waits for the end of its input, which is a pipe from the test process. A `static` is never
/// dropped, so that a [`ServerProcess`] in one would outlive the tests.
pub(crate) struct SharedServer {
    shell: Child,
}

impl SharedServer {
    pub(crate) fn spawn(command: &Command, directory: TempDirectory) -> Self {
        // The shell must survive a Ctrl-C, which every process of the terminal gets.
        let script = r#"trap '' HUP INT TERM; directory=$1; shift; "$@" & server=$!; read -r _
            kill -QUIT $server 2>/dev/null; kill -KILL $server 2>/dev/null; wait $server; rm -rf "$directory""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(directory.keep()).arg(command.get_program()).args(command.get_args());
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { shell: shell.expect("the server starts") }
    }
}

impl Drop for SharedServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A server process, killed when dropped.
pub(crate) struct ServerProcess(Child);

impl ServerProcess {
    /// Starts the command without input and output.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the server starts"))
    }

    /// Sends a signal, for example `KILL`, `STOP`, `CONT` or `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status();
        assert!(sent.expect("kill runs").success(), "the process takes the signal {name}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) {
        self.0.wait().expect("the process can be waited for");
    }

    /// Returns `false` once the process has ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the process can be waited for").is_none()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
