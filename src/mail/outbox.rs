//! [`OutboxDirectory`]: one file for each mail.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use super::{Mail, MailTransport};

/// A [`MailTransport`] that writes each mail into a directory, for development and for a mail program that picks them up.
///
/// Each mail is one file with the ending `.eml`. It is written under a hidden name and then renamed, so that readers of the
/// directory never see a partial mail. Names sort by time. On Unix only the owner can read the files: the link in a mail can
/// set a password.
///
/// ```no_run
/// use poem_password_reset::mail::{Mailer, OutboxDirectory};
///
/// # fn main() -> std::io::Result<()> {
/// let mailer = Mailer::new(OutboxDirectory::open("outbox")?).from("no-reply@acme.example");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OutboxDirectory {
    path: Arc<Path>,
}

impl OutboxDirectory {
    /// Opens the directory, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be created, or if a test file cannot be written into it. Missing permissions thus fail
    /// the start instead of the first mail.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let path = fs::canonicalize(path)?;
        let probe = hidden(&path, &unique_name());
        write_new(&probe, b"")?;
        fs::remove_file(&probe)?;
        Ok(Self { path: path.into() })
    }

    /// Returns the absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl MailTransport for OutboxDirectory {
    type Error = io::Error;

    async fn send(&self, mail: &Mail) -> io::Result<()> {
        let (path, message) = (Arc::clone(&self.path), mail.mime());
        spawn_blocking(move || write_mail(&path, &message)).await.map_err(io::Error::other)?
    }
}

fn write_mail(directory: &Path, message: &[u8]) -> io::Result<()> {
    let name = unique_name();
    let temporary = hidden(directory, &name);
    let written = write_new(&temporary, message);
    let written = written.and_then(|()| fs::rename(&temporary, directory.join(format!("{name}.eml"))));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn hidden(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!(".{name}.tmp"))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
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

    #[test]
    fn file_names_are_unique_and_sort_by_time() {
        let names: Vec<String> = (0..1000).map(|_| unique_name()).collect();
        assert!(names.is_sorted());
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
