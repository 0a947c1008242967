//! A program without linked handlers does not start. Its error says what to write.

use std::process::Command;

fn run(program: &str) -> (Option<i32>, String, String) {
    let output = Command::new(program).output().expect("cargo has built the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn program_that_does_not_mention_its_handlers_fails_to_start() {
    let (code, started, error) = run(env!("CARGO_BIN_EXE_forgets"));
    assert_eq!((code, started.as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("no handler for ResetTokenCreated"), "{error}");
    assert!(error.contains("its crate is not linked"), "{error}");
    assert!(error.contains("`use my_handlers as _;`"), "{error}");
}

#[test]
fn program_that_mentions_its_handlers_starts() {
    for program in [env!("CARGO_BIN_EXE_mentions"), env!("CARGO_BIN_EXE_by_macro")] {
        let (code, started, error) = run(program);
        assert_eq!((code, started.as_str(), error.as_str()), (Some(0), "started\n", ""));
    }
}

#[test]
fn error_returned_from_main_says_how_to_fix_it() {
    let error_with_key = |key: Option<&str>| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_returns_error"));
        program.env_remove("PASSWORD_RESET_KEY");
        program.envs(key.map(|key| ("PASSWORD_RESET_KEY", key)));
        let output = program.output().expect("cargo has built the program");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("the error is text")
    };
    assert_eq!(
        error_with_key(None),
        "Error: the environment variable PASSWORD_RESET_KEY is not set; set it to a signing key, for example \
         with `export PASSWORD_RESET_KEY=$(head -c 32 /dev/urandom | base64)`\n"
    );
    assert_eq!(
        error_with_key(Some("c2hvcnQ=")),
        "Error: the environment variable PASSWORD_RESET_KEY does not contain a signing key: the signing key is too \
         short: it has 5 bytes and needs at least 32; create one with `head -c 32 /dev/urandom | base64`\n"
    );
    let built = error_with_key(Some("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="));
    assert!(built.starts_with("Error: the password reset cannot start:\n  - no link: set the URL"), "{built}");
    assert!(built.contains("\n  - no handler for ResetTokenCreated: annotate an async fn"), "{built}");
}
