//! The demo as a process, and a minimal HTTP client that shows the bytes on the wire.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Time limit for each step of a test. Long, because machines that run tests are busy.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The password of the seeded users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A running demo; killed when dropped.
pub(crate) struct Demo {
    child: Child,
    /// The URL that it printed: `http://127.0.0.1:4711`.
    pub(crate) site: String,
    pub(crate) address: SocketAddr,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Demo {
    /// Starts the demo with these flags on a free port.
    pub(crate) fn start<S: AsRef<OsStr>>(flags: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(Self::command().args(["--listen", "127.0.0.1:0"]).args(flags))
    }

    /// Returns a command without `--listen`.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.env_remove("RUST_LOG");
        command
    }

    /// Starts a command that runs the demo, and waits for its output.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the demo starts");
        let output = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().expect("the output is piped"), output.clone()),
            collect(child.stderr.take().expect("the output is piped"), output.clone()),
        ];
        let mut demo = Self { child, site: String::new(), address: ([127, 0, 0, 1], 0).into(), output, readers };
        demo.site = wait_for("the demo to start", || {
            if let Some(status) = demo.child.try_wait().unwrap() {
                panic!("the demo ended with {status}: {}", demo.output());
            }
            let output = demo.output();
            // The last line of the output.
            output.lines().find(|line| line.starts_with("database "))?;
            let line = output.lines().find_map(|line| line.strip_prefix("poem-password-reset demo: "));
            Some(line.expect("the first line has the URL").trim_end_matches('/').to_owned())
        });
        let port = demo.site.rsplit(':').next().unwrap().parse().unwrap();
        demo.address.set_port(port);
        demo
    }

    /// Returns the output so far, of standard output and standard error.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        assert!(sent.expect("`kill` is installed").success());
    }

    /// Waits until the demo ends, and returns its status and output.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let status = wait_for("the demo to end", || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, self.output())
    }

    /// Sends a request with a connection of its own.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Response {
        send(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &["Content-Type: application/json"], &body.to_string())
    }

    /// Signs in and returns the status.
    pub(crate) fn login(&self, email: &str, password: &str) -> u16 {
        self.post("/api/login", &json!({ "email": email, "password": password })).status
    }

    /// Requests a reset.
    pub(crate) fn request(&self, email: &str) {
        let response = self.post("/api/password_reset/", &json!({ "email": email }));
        assert_eq!((response.status, response.body.as_str()), (200, r#"{"status":"OK"}"#));
    }

    pub(crate) fn confirm(&self, token: &str, password: &str) -> Response {
        self.post("/api/password_reset/confirm/", &json!({ "token": token, "password": password }))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The demo may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut into = into.lock().unwrap();
            into.push_str(&line);
            into.push('\n');
        }
    })
}

/// Repeats `look` until it returns a value. Panics after [`STEP_TIMEOUT`].
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < STEP_TIMEOUT, "timeout while waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// Parses the received bytes, or returns `None` if the head is incomplete.
    fn parse(received: &[u8]) -> Option<Self> {
        let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let body = String::from_utf8_lossy(&received[head + 4..]).into_owned();
        let mut lines = str::from_utf8(&received[..head]).expect("a head is ASCII").lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let headers = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let response = Self { status, headers, body };
        assert_eq!(response.header("Transfer-Encoding"), None, "the demo sends no chunked responses");
        Some(response)
    }

    fn is_complete(&self) -> bool {
        self.header("Content-Length").is_some_and(|length| length.parse() == Ok(self.body.len()))
    }

    /// Returns the value of a header. Panics if the header occurs twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "duplicate header {name}: {self:?}");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request and reads the response.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Response {
    let mut stream = connect(address);
    stream.write_all(head(address, method, path, headers, body.len()).as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    receive(&mut stream)
}

/// Opens a connection with a read timeout.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STEP_TIMEOUT)).unwrap();
    stream
}

/// Returns the head of a request that closes its connection.
pub(crate) fn head(address: SocketAddr, method: &str, path: &str, headers: &[&str], length: usize) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}{headers}\r\n")
}

/// Reads a response to its end. Does not rely on the end of the connection, because some servers keep it open.
pub(crate) fn receive(stream: &mut TcpStream) -> Response {
    let mut received = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        received.extend_from_slice(&buffer[..count]);
        match Response::parse(&received) {
            Some(response) if count == 0 || response.is_complete() => return response,
            None if count == 0 => panic!("no response: {:?}", String::from_utf8_lossy(&received)),
            _ => {}
        }
    }
}

/// A temporary directory, removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
