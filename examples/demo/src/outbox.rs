//! Destinations of mails: memory (shown on a page), a directory, or a mail server.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lettre::Message;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::smtp::{GaveUp, Smtp};

/// Maximum number of mails in memory, and of files that the page lists.
const MAX_MAILS: usize = 100;

/// A mail as the page shows it. No `Debug`: its link can set a password.
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) sent_at: OffsetDateTime,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// A destination of mails.
pub(crate) enum Outbox {
    /// The newest mails with their numbers, newest first.
    Memory(Mutex<VecDeque<(u64, Arc<Mail>)>>),
    /// A directory with one `.eml` file per mail.
    Directory(PathBuf),
    /// A mail server. The demo keeps no copy.
    Server(Smtp),
}

/// Why a mail was not delivered.
#[derive(Debug, Error)]
pub(crate) enum DeliveryError {
    #[error("the mail could not be written")]
    Write(#[from] io::Error),
    #[error("the mail could not be sent")]
    Send(#[from] GaveUp),
}

impl Outbox {
    pub(crate) fn in_memory() -> Self {
        Self::Memory(Mutex::new(VecDeque::with_capacity(MAX_MAILS)))
    }

    /// Opens an outbox in a directory, and creates the directory if it is missing.
    ///
    /// Writes a test file, so that missing permissions fail the start instead of the first mail.
    pub(crate) async fn in_directory(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path).await?;
        let path = fs::canonicalize(path).await?;
        let probe = path.join(format!(".{}.tmp", unique_name()));
        write_new(&probe, b"").await?;
        fs::remove_file(&probe).await?;
        Ok(Self::Directory(path))
    }

    /// Delivers a mail. `mail` is the form for the page, `message` the one for the wire.
    pub(crate) async fn deliver(&self, mail: Mail, message: &Message) -> Result<(), DeliveryError> {
        match self {
            Self::Memory(mails) => {
                let mut mails = lock(mails);
                let number = mails.front().map_or(1, |(newest, _)| newest + 1);
                mails.truncate(MAX_MAILS - 1);
                mails.push_front((number, Arc::new(mail)));
            }
            Self::Directory(path) => deliver_file(path, &message.formatted()).await?,
            Self::Server(smtp) => smtp.send(message).await?,
        }
        Ok(())
    }

    /// Returns the mails in memory, newest first.
    pub(crate) fn mails(&self) -> Vec<(u64, Arc<Mail>)> {
        match self {
            Self::Memory(mails) => lock(mails).iter().cloned().collect(),
            Self::Directory(_) | Self::Server(_) => Vec::new(),
        }
    }

    /// Returns the mail in memory with this number.
    pub(crate) fn mail(&self, number: u64) -> Option<Arc<Mail>> {
        self.mails().into_iter().find_map(|(other, mail)| (other == number).then_some(mail))
    }
}

/// Returns the names of the newest `.eml` files in a directory, newest first.
pub(crate) async fn newest_files(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut entries = fs::read_dir(path).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".eml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    // The names begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    names.truncate(MAX_MAILS);
    Ok(names)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock, so the mails are consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a mail to a hidden temporary file and renames it, so that readers of the directory never see a partial mail.
async fn deliver_file(directory: &Path, message: &[u8]) -> io::Result<()> {
    let name = unique_name();
    let temporary = directory.join(format!(".{name}.tmp"));
    let written = match write_new(&temporary, message).await {
        Ok(()) => fs::rename(&temporary, directory.join(format!("{name}.eml"))).await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary).await;
    }
    written
}

async fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // The link in a mail can set a password, so other users of the machine must not read it.
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(path).await?;
    file.write_all(content).await?;
    file.flush().await
}

/// Returns a file name that sorts by time. The process id and a counter make it unique.
fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, micro) = now.to_hms_micro();
    let month = u8::from(month);
    let process = std::process::id();
    format!("{year}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micro:06}Z-{process}-{count:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: String) -> Mail {
        let sent_at = OffsetDateTime::UNIX_EPOCH;
        Mail { to: String::new(), subject, sent_at, text: String::new(), html: String::new() }
    }

    #[tokio::test]
    async fn memory_outbox_drops_the_oldest_mails() {
        let outbox = Outbox::in_memory();
        let message = Message::builder().from("demo@example.com".parse().unwrap());
        let message = message.to("ann@example.com".parse().unwrap()).body(String::new()).unwrap();
        for count in 1..=MAX_MAILS + 5 {
            outbox.deliver(mail(count.to_string()), &message).await.unwrap();
        }
        let mails = outbox.mails();
        assert_eq!(mails.len(), MAX_MAILS);
        assert!(mails.iter().all(|(number, mail)| mail.subject == number.to_string()));
        assert_eq!((mails[0].0, mails[MAX_MAILS - 1].0), (105, 6));
        assert!(outbox.mail(5).is_none() && outbox.mail(6).is_some());
    }

    #[test]
    fn file_names_are_unique_and_sort_by_time() {
        let names: Vec<String> = (0..1000).map(|_| unique_name()).collect();
        assert!(names.is_sorted());
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
