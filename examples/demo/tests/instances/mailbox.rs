//! The tokens in the mails of an outbox directory, by recipient. Each file is parsed once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::eml::Eml;

const POLL: Duration = Duration::from_millis(20);

/// Reads an outbox directory until it is dropped.
pub(crate) struct Mailbox {
    tokens: Arc<Mutex<HashMap<String, Vec<String>>>>,
    task: JoinHandle<()>,
}

impl Mailbox {
    pub(crate) fn open(directory: PathBuf) -> Self {
        let tokens = Arc::<Mutex<HashMap<String, Vec<String>>>>::default();
        let found = tokens.clone();
        let task = tokio::spawn(async move {
            let mut known = HashSet::new();
            loop {
                for path in new_files(&directory, &mut known) {
                    let mail = Eml::parse(&fs::read(path).unwrap());
                    if mail.subject == "Reset your password" {
                        let token = mail.token().to_owned();
                        found.lock().unwrap().entry(mail.to).or_default().push(token);
                    }
                }
                sleep(POLL).await;
            }
        });
        Self { tokens, task }
    }

    /// Returns the last token that was mailed to this address.
    pub(crate) fn token(&self, email: &str) -> Option<String> {
        self.tokens.lock().unwrap().get(email)?.last().cloned()
    }

    /// Waits for a token. Returns `None` if no mail arrives in time.
    pub(crate) async fn wait(&self, email: &str, deadline: Duration) -> Option<String> {
        let begun = Instant::now();
        loop {
            assert!(!self.task.is_finished(), "the reader of the outbox panicked");
            match self.token(email) {
                None if begun.elapsed() < deadline => sleep(POLL).await,
                found => return found,
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn new_files(directory: &PathBuf, known: &mut HashSet<OsString>) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap());
    let mails = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "eml"));
    mails.filter(|entry| known.insert(entry.file_name())).map(|entry| entry.path()).collect()
}
