//! A demo with a database file, an outbox directory and a key that the test knows, so that it can make tokens and look
//! passwords up.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use mail_parser::MessageParser;
use poem_password_reset::{SigningKey, StoredUser, TokenCodec};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use time::{Duration, OffsetDateTime};

use crate::process::{Demo, Directory, PATIENCE, head};

const KEY: &str = "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";

/// The subjects of the two mails.
const RESET: &str = "Reset your password";
const NOTICE: &str = "Your password was changed";

/// By address: how many links, and how many notices.
pub type Mails = BTreeMap<String, (usize, usize)>;

pub struct Site {
    directory: Directory,
    pool: SqlitePool,
    codec: TokenCodec,
    users: usize,
}

impl Site {
    /// A database with so many users, whose passwords are all the same.
    pub async fn new(users: usize) -> Self {
        let directory = Directory::new();
        let url = format!("sqlite://{}?mode=rwc", directory.join("users.db").display());
        let options = SqliteConnectOptions::from_str(&url).unwrap().busy_timeout(std::time::Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let table = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL, username TEXT, \
                     active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT)";
        sqlx::query(table).execute(&pool).await.unwrap();
        let hash = Argon2::default().hash_password(b"the old password of everybody").unwrap().to_string();
        for id in 0..users {
            let insert = "INSERT INTO users (id, email, password_hash) VALUES (?, ?, ?)";
            sqlx::query(insert).bind(id.to_string()).bind(email(id)).bind(&hash).execute(&pool).await.unwrap();
        }
        Self { directory, pool, codec: TokenCodec::new(SigningKey::from_base64(KEY).unwrap()), users }
    }

    pub fn start(&self) -> Demo {
        self.start_with(&[])
    }

    pub fn start_with(&self, flags: &[&str]) -> Demo {
        self.start_by(&mut Demo::command(), flags)
    }

    /// Starts the demo by a command of the test's own, which the flags are added to.
    pub fn start_by(&self, command: &mut Command, flags: &[&str]) -> Demo {
        let database = format!("sqlite://{}?mode=rwc", self.directory.join("users.db").display());
        let outbox = self.directory.join("outbox").display().to_string();
        let always = ["--no-throttle", "--key", KEY, "--database", &database, "--outbox", &outbox];
        Demo::spawn(command.args(["--listen", "127.0.0.1:0"]).args(always).args(flags))
    }

    pub fn users(&self) -> std::ops::Range<usize> {
        0..self.users
    }

    /// The hashes as the database file has them.
    pub async fn hashes(&self) -> Vec<String> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT password_hash FROM users ORDER BY CAST(id AS INTEGER)")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.into_iter().map(|(hash,)| hash).collect()
    }

    fn user(id: usize, hash: &str) -> StoredUser {
        StoredUser::new(id, email(id), Some(hash.to_owned()))
    }

    /// A good token of this user, whose hash this is.
    pub fn token(&self, id: usize, hash: &str) -> String {
        let token = self.codec.issue(&Self::user(id, hash), OffsetDateTime::now_utc(), Duration::HOUR);
        token.unwrap().expose().to_owned()
    }

    /// Whether this token is good for this user, whose hash this is.
    pub fn is_good(&self, token: &str, id: usize, hash: &str) -> bool {
        let claims = self.codec.verify(token, OffsetDateTime::now_utc()).unwrap();
        self.codec.bind(claims, Self::user(id, hash)).is_ok()
    }

    /// The hash of this user.
    pub async fn hash(&self, id: usize) -> String {
        let select = sqlx::query_scalar("SELECT password_hash FROM users WHERE id = ?");
        select.bind(id.to_string()).fetch_one(&self.pool).await.unwrap()
    }

    /// How many mails of each kind each address got.
    pub fn mails(&self) -> Mails {
        let mut mails = Mails::new();
        self.count_mails(&mut mails, |_| ());
        mails
    }

    /// Adds the mails that came since, and forgets them: for whoever asks a million times.
    pub fn take_mails(&self, mails: &mut Mails) {
        self.count_mails(mails, |path| std::fs::remove_file(path).unwrap());
    }

    fn count_mails(&self, mails: &mut Mails, then: impl Fn(&Path)) {
        let Ok(entries) = std::fs::read_dir(self.directory.join("outbox")) else { return };
        for path in
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "eml"))
        {
            let raw = std::fs::read(&path).unwrap();
            let mail = MessageParser::default().parse(&raw).expect("a mail is whole");
            let to = mail.to().and_then(|to| to.first()?.address()).expect("a recipient").to_owned();
            let (links, notices) = mails.entry(to).or_default();
            match mail.subject() {
                Some(RESET) => *links += 1,
                Some(NOTICE) => *notices += 1,
                other => panic!("a mail with the subject {other:?}"),
            }
            then(&path);
        }
    }

    /// How many notices this user got.
    pub fn notices(&self, id: usize) -> usize {
        self.mails().get(&email(id)).map_or(0, |(_, notices)| *notices)
    }
}

pub fn email(id: usize) -> String {
    format!("user{id}@example.com")
}

/// A password that nobody else has.
pub fn password(id: usize, round: usize) -> String {
    format!("otter {id} paints barn {round} at dusk")
}

pub fn verifies(hash: &str, password: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(hash).unwrap()).is_ok()
}

/// A whole request for a confirm.
pub fn confirm(address: SocketAddr, token: &str, password: &str) -> Vec<u8> {
    post(address, "confirm/", &json!({ "token": token, "password": password }))
}

/// A whole request for one of the endpoints, the last one of its connection.
pub fn post(address: SocketAddr, endpoint: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let path = format!("/api/password_reset/{endpoint}");
    (head(address, "POST", &path, &["Content-Type: application/json"], body.len()) + &body).into_bytes()
}

/// Asks, and gives the status of the answer if there is one.
pub fn ask(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()
}
