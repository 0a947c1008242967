//! A mail server that follows a script of the test.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::eml::Eml;

/// A reply of the server.
#[derive(Clone)]
pub enum Reply {
    Text(&'static [u8]),
    /// No further reply on this connection.
    Silence,
    /// An endless line.
    Flood,
    /// A rejection that quotes the recipient and the token, with control characters.
    Quote,
}

/// Replies to commands. Other commands get the usual reply.
#[derive(Clone, Default)]
pub struct Script(Vec<(&'static str, Reply)>);

impl Script {
    /// Sets the reply to a command of four letters. `""` is the greeting, `"."` the end of the mail.
    pub fn at(mut self, command: &'static str, reply: Reply) -> Self {
        self.0.push((command, reply));
        self
    }

    /// Sets the text of the reply to a command.
    pub fn say(self, command: &'static str, reply: &'static (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.at(command, Reply::Text(reply.as_ref()))
    }

    fn reply(&self, command: &str) -> Reply {
        let reply = self.0.iter().find(|(other, _)| *other == command).map(|(_, reply)| reply.clone());
        reply.unwrap_or(Reply::Text(match command {
            "" => b"220 sink ESMTP\r\n",
            "EHLO" => b"250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH" => b"235 2.7.0 welcome\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        }))
    }
}

/// A connection, as the server saw it.
#[derive(Clone, Default)]
pub struct Session {
    /// The received lines, without the mail.
    pub commands: Vec<String>,
    /// The mail, without dot-stuffing.
    pub mail: Option<Vec<u8>>,
    /// Number of bytes of an endless line that the client has read.
    pub flooded: usize,
}

impl Session {
    pub fn eml(&self) -> Eml {
        Eml::parse(self.mail.as_deref().expect("a mail was sent"))
    }
}

/// A running server.
pub struct Sink {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Scripts of the next connections. The last one is reused.
    scripts: Vec<Script>,
    sessions: Vec<Session>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { scripts: vec![Script::default()], sessions: Vec::new() }));
        let shared = state.clone();
        // The server ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = Connection::new(stream, shared.clone());
                thread::spawn(move || connection.serve());
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Sets the scripts of the next connections, one each. The last one is reused.
    pub fn play(&self, scripts: impl Into<Vec<Script>>) {
        self.state.lock().unwrap().scripts = scripts.into();
    }

    /// Returns the connections so far.
    pub fn sessions(&self) -> Vec<Session> {
        self.state.lock().unwrap().sessions.clone()
    }
}

struct Connection {
    stream: TcpStream,
    script: Script,
    state: Arc<Mutex<State>>,
    /// Index of the session.
    number: usize,
}

impl Connection {
    fn new(stream: TcpStream, shared: Arc<Mutex<State>>) -> Self {
        let mut state = shared.lock().unwrap();
        let script = if state.scripts.len() > 1 { state.scripts.remove(0) } else { state.scripts[0].clone() };
        let number = state.sessions.len();
        state.sessions.push(Session::default());
        drop(state);
        Self { stream, script, state: shared, number }
    }

    fn serve(&self) -> Option<()> {
        let mut from = BufReader::new(&self.stream);
        self.reply("")?;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            self.record(|session| session.commands.push(line.trim_end().to_owned()));
            let command = line.get(..4)?.to_ascii_uppercase();
            self.reply(&command)?;
            if command == "DATA" && matches!(self.script.reply("DATA"), Reply::Text(text) if text.starts_with(b"354")) {
                let mail = read_mail(&mut from)?;
                self.record(|session| session.mail = Some(mail));
                self.reply(".")?;
            }
        }
    }

    fn reply(&self, command: &str) -> Option<()> {
        let mut to = &self.stream;
        match self.script.reply(command) {
            Reply::Text(text) => to.write_all(text).ok(),
            Reply::Silence => {
                // Reads and ignores input until the client closes the connection.
                let _ = io::copy(&mut to, &mut io::sink());
                None
            }
            Reply::Flood => {
                // 64 MiB: more than the sockets buffer, and little enough for the memory of the machine.
                for _ in 0..1024 {
                    to.write_all(&[b'x'; 64 * 1024]).ok()?;
                    self.record(|session| session.flooded += 64 * 1024);
                }
                None
            }
            Reply::Quote => {
                let mut session = Session::default();
                self.record(|current| session = current.clone());
                let recipient = session.commands.iter().find(|command| command.starts_with("RCPT"))?;
                let token = session.mail.as_ref().map(|_| session.eml().token().to_owned()).unwrap_or_default();
                let reply = format!("550-5.7.1 {recipient}\x1b[2J\x07\u{2028}\r\n550 5.7.1 {token}\x00\r\n");
                to.write_all(reply.as_bytes()).ok()
            }
        }
    }

    fn record(&self, record: impl FnOnce(&mut Session)) {
        record(&mut self.state.lock().unwrap().sessions[self.number]);
    }
}

/// Reads a mail up to the line with a single dot.
fn read_mail(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(mail);
        }
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
