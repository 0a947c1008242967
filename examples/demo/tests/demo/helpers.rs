//! Helpers of several tests: keys, passwords, and the mails in an outbox directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::eml::Eml;
use crate::process::{Demo, Directory, wait_for};

pub(crate) const KEY: &str = "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";
pub(crate) const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// Returns the mails in a directory by file name.
pub(crate) fn mails(directory: &Path) -> BTreeMap<String, Eml> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "eml"))
        .map(|file| (file.file_name().into_string().unwrap(), Eml::parse(&fs::read(file.path()).unwrap())))
        .collect()
}

/// Waits for a mail with this subject that is not among the known ones.
pub(crate) fn next_mail(directory: &Path, subject: &str, known: &BTreeMap<String, Eml>) -> Eml {
    wait_for(subject, || {
        mails(directory).into_iter().find(|(name, mail)| mail.subject == subject && !known.contains_key(name))
    })
    .1
}

/// Requests a reset and returns the token from the mail.
pub(crate) fn token_for(demo: &Demo, directory: &Path, email: &str) -> String {
    let known = mails(directory);
    demo.request(email);
    let mail = next_mail(directory, "Reset your password", &known);
    assert_eq!(mail.to, email);
    mail.token().to_owned()
}

pub(crate) fn outbox_flags(directory: &Directory) -> [String; 2] {
    ["--outbox".to_owned(), directory.path().to_str().unwrap().to_owned()]
}
