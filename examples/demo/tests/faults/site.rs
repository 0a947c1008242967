//! A demo with a database file, an outbox directory and a known key. The tests issue tokens, and read password hashes and
//! mails.

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

use crate::process::{Demo, Directory, STEP_TIMEOUT, head};

const KEY: &str = "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";

/// The subjects of the two mails.
const RESET: &str = "Reset your password";
const NOTICE: &str = "Your password was changed";

/// Number of links and of notices, by address.
pub type Mails = BTreeMap<String, (usize, usize)>;

pub struct Site {
    directory: Directory,
    pool: SqlitePool,
    codec: TokenCodec,
    users: usize,
}

impl Site {
    /// Creates a database with this many users. All have the same password.
    pub async fn new(users: usize) -> Self {
        let directory = Directory::new();
        let url = format!("sqlite://{}?mode=rwc", directory.join("users.db").display());
        let options = SqliteConnectOptions::from_str(&url).unwrap().busy_timeout(std::time::Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let table = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL, username TEXT, \
                     active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT)";
        sqlx::query(table).execute(&pool).await.unwrap();
        let hash = Argon2::default().hash_password(b"the old password of all users").unwrap().to_string();
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
        self.start_with_command(&mut Demo::command(), flags)
    }

    /// Starts the demo with this command, to which the flags are added.
    pub fn start_with_command(&self, command: &mut Command, flags: &[&str]) -> Demo {
        let database = format!("sqlite://{}?mode=rwc", self.directory.join("users.db").display());
        let outbox = self.directory.join("outbox").display().to_string();
        let common = ["--no-throttle", "--key", KEY, "--database", &database, "--outbox", &outbox];
        Demo::spawn(command.args(["--listen", "127.0.0.1:0"]).args(common).args(flags))
    }

    pub fn users(&self) -> std::ops::Range<usize> {
        0..self.users
    }

    /// Returns the password hashes in the database, in the order of the users' ids.
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

    /// Issues a token for the user with this password hash.
    pub fn token(&self, id: usize, hash: &str) -> String {
        let token = self.codec.issue(&Self::user(id, hash), OffsetDateTime::now_utc(), Duration::HOUR);
        token.unwrap().expose().to_owned()
    }

    /// Returns `true` if the token is valid for the user with this password hash.
    pub fn is_valid(&self, token: &str, id: usize, hash: &str) -> bool {
        let claims = self.codec.verify(token, OffsetDateTime::now_utc()).unwrap();
        self.codec.bind(claims, Self::user(id, hash)).is_ok()
    }

    /// Returns the password hash of a user.
    pub async fn hash(&self, id: usize) -> String {
        let select = sqlx::query_scalar("SELECT password_hash FROM users WHERE id = ?");
        select.bind(id.to_string()).fetch_one(&self.pool).await.unwrap()
    }

    /// Counts the mails in the outbox.
    pub fn mails(&self) -> Mails {
        let mut mails = Mails::new();
        self.count_mails(&mut mails, |_| ());
        mails
    }

    /// Adds the mails in the outbox to the counts and deletes them, so that a long test does not fill the disk.
    pub fn take_mails(&self, mails: &mut Mails) {
        self.count_mails(mails, |path| std::fs::remove_file(path).unwrap());
    }

    fn count_mails(&self, mails: &mut Mails, counted: impl Fn(&Path)) {
        let Ok(entries) = std::fs::read_dir(self.directory.join("outbox")) else { return };
        for path in
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "eml"))
        {
            let raw = std::fs::read(&path).unwrap();
            let mail = MessageParser::default().parse(&raw).expect("the mail is complete");
            let to = mail.to().and_then(|to| to.first()?.address()).expect("the mail has a recipient").to_owned();
            let (links, notices) = mails.entry(to).or_default();
            match mail.subject() {
                Some(RESET) => *links += 1,
                Some(NOTICE) => *notices += 1,
                other => panic!("unexpected subject {other:?}"),
            }
            counted(&path);
        }
    }

    /// Returns the number of notices to a user.
    pub fn notices(&self, id: usize) -> usize {
        self.mails().get(&email(id)).map_or(0, |(_, notices)| *notices)
    }
}

pub fn email(id: usize) -> String {
    format!("user{id}@example.com")
}

/// Returns a password that is unique for the user and the round.
pub fn password(id: usize, round: usize) -> String {
    format!("otter {id} paints barn {round} at dusk")
}

pub fn verifies(hash: &str, password: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(hash).unwrap()).is_ok()
}

/// Returns the bytes of a confirmation.
pub fn confirm(address: SocketAddr, token: &str, password: &str) -> Vec<u8> {
    post(address, "confirm/", &json!({ "token": token, "password": password }))
}

/// Returns the bytes of a request to an endpoint. It closes its connection.
pub fn post(address: SocketAddr, endpoint: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let path = format!("/api/password_reset/{endpoint}");
    (head(address, "POST", &path, &["Content-Type: application/json"], body.len()) + &body).into_bytes()
}

/// Sends a request. Returns the status, or `None` if the connection fails.
pub fn send(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(STEP_TIMEOUT)).ok()?;
    stream.write_all(request).ok()?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).ok()?;
    std::str::from_utf8(&status_line[9..12]).ok()?.parse().ok()
}
