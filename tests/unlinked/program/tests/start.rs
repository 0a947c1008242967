//! A program whose handlers are not linked in does not start, and says what to write.

use std::process::Command;

fn run(program: &str) -> (Option<i32>, String, String) {
    let output = Command::new(program).output().expect("cargo has built the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn without_a_mention_the_program_refuses_to_start_and_says_why() {
    let (code, started, error) = run(env!("CARGO_BIN_EXE_forgets"));
    assert_eq!((code, started.as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("no handler for ResetTokenCreated"), "{error}");
    assert!(error.contains("its crate is not linked"), "{error}");
    assert!(error.contains("`use my_handlers as _;`"), "{error}");
}

#[test]
fn with_the_one_line_it_starts() {
    for program in [env!("CARGO_BIN_EXE_mentions"), env!("CARGO_BIN_EXE_by_macro")] {
        let (code, started, error) = run(program);
        assert_eq!((code, started.as_str(), error.as_str()), (Some(0), "started\n", ""));
    }
}
