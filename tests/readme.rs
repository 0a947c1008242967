//! The README tells the truth: its quickstart is the example, and every test that it names exists.

use std::path::Path;

const README: &str = include_str!("../README.md");

#[test]
fn the_quickstart_is_the_example() {
    let example = include_str!("../examples/quickstart.rs");
    let (_about, program) = example.split_once("\n\n").unwrap();
    let block = README.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(block, program);
}

#[test]
fn every_test_that_it_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for command in README.split('`').filter(|code| code.starts_with("cargo ")) {
        let words: Vec<&str> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            let exists = match *pair {
                ["--test", name] => {
                    let test = root.join("tests").join(name);
                    test.with_extension("rs").is_file() || test.join("main.rs").is_file()
                }
                ["-p", name] => {
                    let members = ["examples/demo", "tests/interop", "tests/no-backend", "tests/unlinked/program"];
                    let manifest =
                        |member: &&str| std::fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
                    members.iter().any(|member| manifest(member).contains(&format!("name = \"{name}\"")))
                }
                _ => continue,
            };
            assert!(exists, "the README says `{command}`, and there is no {}", pair[1]);
            named += 1;
        }
    }
    assert!(named > 10, "{named} tests are named");
}

#[test]
fn the_two_commands_are_there() {
    for command in ["cargo run -p demo", "cargo test --workspace"] {
        assert!(README.contains(command), "{command}");
    }
}
