//! The mail server `server.py`: aiosmtpd with faults on demand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::services::{self, TempDirectory};

/// The program of the server. Passed as an argument, because the test crates that share it belong to several packages.
const PROGRAM: &str = include_str!("server.py");

/// The longest wait for something that happens soon on an idle machine.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

#[allow(dead_code, reason = "each test crate uses a part")]
pub struct MailServer {
    process: Child,
    directory: TempDirectory,
    pub port: u16,
    events: Arc<Mutex<Vec<Value>>>,
    input: Mutex<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

#[allow(dead_code, reason = "each test crate uses a part")]
impl MailServer {
    /// Starts a server. Returns `None`, with a message, if Python or its packages are not installed.
    pub fn start(mut settings: Value) -> Option<Self> {
        let python = services::installed("python3", &[])?;
        let import = ["-c", "import aiosmtpd, cryptography"];
        let has_packages = Command::new(&python).args(import).stderr(Stdio::null()).status().unwrap().success();
        if !has_packages {
            services::skip("the Python packages aiosmtpd and cryptography are");
            return None;
        }
        let directory = TempDirectory::new();
        settings["directory"] = json!(directory.path());
        let command = &mut Command::new(python);
        let command =
            command.args(["-c", PROGRAM]).arg(settings.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the server prints its port").unwrap().parse().unwrap();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shared = Arc::clone(&events);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let input = Mutex::new(process.stdin.take().unwrap());
        Some(Self { process, directory, port, events, input, reader: Some(reader) })
    }

    /// Returns the URL of the server, with a scheme like `smtp`, and with what comes before the host and after the port.
    pub fn url(&self, scheme: &str, before: &str, after: &str) -> String {
        format!("{scheme}://{before}localhost:{}{after}", self.port)
    }

    /// Returns the certificate of the authority that signed the server's certificate.
    pub fn root_certificate(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("ca.pem")).unwrap()
    }

    /// Returns the events of a kind: `connect`, `command` or `mail`.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.synchronize();
        self.events_so_far(kind)
    }

    fn events_so_far(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    /// Waits until every event that the server has reported so far is read.
    fn synchronize(&self) {
        let mut input = self.input.lock().unwrap();
        let expected = self.events_so_far("synchronized").len() + 1;
        writeln!(input).unwrap();
        let begun = Instant::now();
        while self.events_so_far("synchronized").len() < expected {
            assert!(begun.elapsed() < STEP_TIMEOUT, "the server reports no event");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the number of times that the server received a command.
    pub fn commands(&self, command: &str) -> usize {
        self.events("command").iter().filter(|event| event["command"] == command).count()
    }

    /// Returns the mails that the server accepted.
    pub fn accepted(&self) -> Vec<Value> {
        accepted(self.events("mail"))
    }

    /// Kills the server with SIGKILL. Returns the mails that it accepted: it reports each one before it replies.
    pub fn kill(mut self) -> Vec<Value> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        accepted(self.events_so_far("mail"))
    }

    /// Waits until the server has accepted this many mails, and returns them.
    pub async fn wait_for_mails(&self, count: usize) -> Vec<Value> {
        wait_until("the mails", || self.accepted().len() >= count).await;
        self.accepted()
    }

    /// Sends a signal to the server's process.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn accepted(mails: Vec<Value>) -> Vec<Value> {
    mails.into_iter().filter(|mail| mail["reply"] == "250 OK").collect()
}

/// Waits until `is_true` returns `true`.
pub async fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < STEP_TIMEOUT, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
