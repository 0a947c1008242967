//! Destinations of mails: memory (shown on a page), a directory, or a mail server.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poem_password_reset::mail::{Mail, OutboxDirectory, SmtpTransport};
use time::OffsetDateTime;
use tokio::fs;

/// Maximum number of mails in memory, and of files that the page lists.
const MAX_MAILS: usize = 100;

/// A destination of mails.
pub(crate) enum Outbox {
    Memory(Memory),
    /// A directory with one `.eml` file per mail.
    Directory(OutboxDirectory),
    /// A mail server. The demo keeps no copy.
    Server(SmtpTransport),
}

/// A mail with the time when it was sent.
pub(crate) struct SentMail {
    pub(crate) mail: Mail,
    pub(crate) sent_at: OffsetDateTime,
}

/// The newest mails with their numbers, newest first.
#[derive(Default)]
pub(crate) struct Memory(Mutex<VecDeque<(u64, Arc<SentMail>)>>);

impl Memory {
    /// Adds a mail, and drops the oldest if there are too many.
    pub(crate) fn push(&self, mail: &Mail) {
        let mail = SentMail { mail: mail.clone(), sent_at: OffsetDateTime::now_utc() };
        let mut mails = self.lock();
        let number = mails.front().map_or(1, |(newest, _)| newest + 1);
        mails.truncate(MAX_MAILS - 1);
        mails.push_front((number, Arc::new(mail)));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<SentMail>)>> {
        // No code panics while it holds the lock, so the mails are consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Returns the mails in memory, newest first.
    pub(crate) fn mails(&self) -> Vec<(u64, Arc<SentMail>)> {
        match self {
            Self::Memory(mails) => mails.lock().iter().cloned().collect(),
            Self::Directory(_) | Self::Server(_) => Vec::new(),
        }
    }

    /// Returns the mail in memory with this number.
    pub(crate) fn mail(&self, number: u64) -> Option<Arc<SentMail>> {
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

#[cfg(test)]
mod tests {
    use poem_password_reset::mail::{Mailer, MemoryOutbox};
    use poem_password_reset::store::MemoryUsers;
    use poem_password_reset::{PasswordReset, SigningKey, StoredUser};

    use super::*;

    #[tokio::test]
    async fn memory_outbox_drops_the_oldest_mails() {
        let (mails, ann) = (MemoryOutbox::new(), StoredUser::new(1, "ann@example.com", Some("hash".to_owned())));
        let reset = PasswordReset::builder(MemoryUsers::new([ann.clone()]), SigningKey::generate().unwrap())
            .link("https://app.example.com/reset#token={token}")
            .mailer(Mailer::new(mails.clone()).from("no-reply@example.com"))
            .linked_handlers(false)
            .build()
            .await
            .unwrap();
        reset.send(&ann, None).await.unwrap();
        let mail = mails.next().await;

        let memory = Memory::default();
        (0..MAX_MAILS + 5).for_each(|_| memory.push(&mail));
        let outbox = Outbox::Memory(memory);
        let mails = outbox.mails();
        assert_eq!(mails.len(), MAX_MAILS);
        assert_eq!((mails[0].0, mails[MAX_MAILS - 1].0), (105, 6));
        assert!(outbox.mail(5).is_none() && outbox.mail(6).is_some());
    }
}
