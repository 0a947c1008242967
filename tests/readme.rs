//! README and SECURITY tell the truth: the quickstart is the example, and every test that they name exists.

use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../README.md");
const SECURITY: &str = include_str!("../SECURITY.md");

#[test]
fn readme_quickstart_equals_the_example() {
    let example = include_str!("../examples/quickstart.rs");
    let (_about, program) = example.split_once("\n\n").unwrap();
    let block = README.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(block, program);
}

#[test]
fn every_test_and_bench_in_readme_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for command in README.split('`').filter(|code| code.starts_with("cargo ")) {
        let words: Vec<&str> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            let exists = match *pair {
                ["--test", name] => {
                    let is_demos = words.windows(2).any(|pair| pair == ["-p", "demo"]);
                    let test = root.join(if is_demos { "examples/demo/tests" } else { "tests" }).join(name);
                    test.with_extension("rs").is_file() || test.join("main.rs").is_file()
                }
                ["--bench", name] => root.join("benches").join(name).with_extension("rs").is_file(),
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
    assert!(named > 10, "{named} tests and benches are named");
    for script in README.split('`').filter_map(|code| code.split_whitespace().next()).filter(|word| word.contains('/'))
    {
        let is_script = script.ends_with(".sh") || script.starts_with(".ci/");
        assert!(!is_script || root.join(script).is_file(), "the README names {script}");
    }
}

/// The promises and the faults, by their names in the first column of a table.
fn expected_rows() -> BTreeSet<String> {
    let counts = [("R", 12), ("T", 18), ("C", 13), ("P", 6), ("L", 12), ("H", 10), ("S", 8), ("F", 24)];
    let numbered =
        counts.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    numbered.chain(["R4b".to_owned()]).collect()
}

#[test]
fn every_promise_has_a_row_in_security() {
    let first = |line: &'static str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.trim());
    let rows: Vec<&str> =
        SECURITY.lines().filter_map(first).filter(|name| name.starts_with(char::is_uppercase)).collect();
    assert_eq!(rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>(), expected_rows());
    assert_eq!(rows.len(), 80 + 24, "each of them once");
}

/// A test as SECURITY names it: where it is, and its name.
fn test_exists(root: &Path, path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let [place @ .., name] = &parts[..] else { return false };
    let (folder, modules) = match place {
        ["lib", modules @ ..] => ("src", modules),
        ["demo", modules @ ..] => ("examples/demo/tests", modules),
        ["interop"] => ("tests/interop/src", &["lib"][..]),
        modules => ("tests", modules),
    };
    let file = root.join(folder).join(modules.join("/"));
    let source = [file.with_extension("rs"), file.join("main.rs")]
        .into_iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    let source = source.unwrap_or_default();
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    // The attributes stand right before it.
    before
        .rsplit("\n\n")
        .next()
        .is_some_and(|attributes| attributes.contains("#[test") || attributes.contains("#[tokio::test"))
}

#[test]
fn every_test_named_in_security_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for path in SECURITY
        .split('`')
        .filter(|code| code.contains("::") && code.starts_with(|letter: char| letter.is_ascii_lowercase()))
    {
        // Of the library itself SECURITY names a function, too.
        if path == "jsonwebtoken::decode" {
            continue;
        }
        assert!(test_exists(root, path), "SECURITY names `{path}`, and there is no such test");
        named += 1;
    }
    assert!(named > 100, "{named} tests are named");
    assert!(!test_exists(root, "request::no_such_test") && !test_exists(root, "request::settled"));
}

#[test]
fn readme_has_the_two_commands() {
    for command in ["cargo run -p demo", "cargo test --workspace"] {
        assert!(README.contains(command), "{command}");
    }
}
