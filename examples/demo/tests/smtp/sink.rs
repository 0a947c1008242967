//! A mail server that does what a test tells it, to see what the demo makes of it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::eml::Eml;

/// What is answered.
#[derive(Clone)]
pub enum Reply {
    Say(&'static [u8]),
    /// Nothing more, whatever comes.
    Silence,
    /// A line without an end.
    Flood,
    /// A refusal that repeats, among control characters, the recipient and the token in the mail.
    Quote,
}

/// What is answered to what; to all else what a mail server should.
#[derive(Clone, Default)]
pub struct Script(Vec<(&'static str, Reply)>);

impl Script {
    /// For `command`, four letters; `""` for the greeting, `"."` for the end of the mail.
    pub fn at(mut self, command: &'static str, reply: Reply) -> Self {
        self.0.push((command, reply));
        self
    }

    pub fn say(self, command: &'static str, reply: &'static (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.at(command, Reply::Say(reply.as_ref()))
    }

    fn reply(&self, command: &str) -> Reply {
        let told = self.0.iter().find(|(other, _)| *other == command).map(|(_, reply)| reply.clone());
        told.unwrap_or(Reply::Say(match command {
            "" => b"220 sink ESMTP\r\n",
            "EHLO" => b"250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH" => b"235 2.7.0 welcome\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        }))
    }
}

/// What came on one connection.
#[derive(Clone, Default)]
pub struct Session {
    /// The lines, without the mail.
    pub commands: Vec<String>,
    /// As it was before dots were doubled.
    pub mail: Option<Vec<u8>>,
    /// How many bytes of a flood were taken.
    pub flooded: usize,
}

impl Session {
    pub fn eml(&self) -> Eml {
        Eml::parse(self.mail.as_deref().expect("a mail was sent"))
    }
}

pub struct Sink {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// For the next connections; the last one stays.
    scripts: Vec<Script>,
    sessions: Vec<Session>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { scripts: vec![Script::default()], sessions: Vec::new() }));
        let shared = state.clone();
        // It ends with the process of the test; a connection, when one of the two sides has had enough.
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

    /// From now on, for the next connections, one each; the last one stays.
    pub fn play(&self, scripts: impl Into<Vec<Script>>) {
        self.state.lock().unwrap().scripts = scripts.into();
    }

    /// The connections so far.
    pub fn sessions(&self) -> Vec<Session> {
        self.state.lock().unwrap().sessions.clone()
    }
}

struct Connection {
    stream: TcpStream,
    script: Script,
    state: Arc<Mutex<State>>,
    /// Which of the sessions it is.
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
        self.answer("")?;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            self.note(|session| session.commands.push(line.trim_end().to_owned()));
            let command = line.get(..4)?.to_ascii_uppercase();
            self.answer(&command)?;
            if command == "DATA" && matches!(self.script.reply("DATA"), Reply::Say(said) if said.starts_with(b"354")) {
                let mail = content(&mut from)?;
                self.note(|session| session.mail = Some(mail));
                self.answer(".")?;
            }
        }
    }

    fn answer(&self, command: &str) -> Option<()> {
        let mut to = &self.stream;
        match self.script.reply(command) {
            Reply::Say(said) => to.write_all(said).ok(),
            Reply::Silence => {
                // Until the other side hangs up; what it still says is noted by nobody.
                let _ = io::copy(&mut to, &mut io::sink());
                None
            }
            Reply::Flood => {
                // More than what the sockets buffer, and not so much that a client that takes it all does harm.
                for _ in 0..1024 {
                    to.write_all(&[b'x'; 64 * 1024]).ok()?;
                    self.note(|session| session.flooded += 64 * 1024);
                }
                None
            }
            Reply::Quote => {
                let mut told = Session::default();
                self.note(|session| told = session.clone());
                let recipient = told.commands.iter().find(|command| command.starts_with("RCPT"))?;
                let token = told.mail.as_ref().map(|_| told.eml().token().to_owned()).unwrap_or_default();
                let said = format!("550-5.7.1 {recipient}\x1b[2J\x07\u{2028}\r\n550 5.7.1 {token}\x00\r\n");
                to.write_all(said.as_bytes()).ok()
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Session)) {
        note(&mut self.state.lock().unwrap().sessions[self.number]);
    }
}

/// A mail, to the line with a single dot.
fn content(from: &mut impl BufRead) -> Option<Vec<u8>> {
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
