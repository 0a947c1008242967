//! Checks of README, SECURITY and the guide: the quickstart is the example, every test that they name exists, and code
//! blocks fit into a page of docs.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");
const SECURITY: &str = include_str!("../SECURITY.md");
const CONTRIBUTING: &str = include_str!("../CONTRIBUTING.md");

#[test]
fn readme_has_at_most_150_lines() {
    assert!(README.lines().count() <= 150, "{} lines", README.lines().count());
}

#[test]
fn readme_quickstart_equals_the_example() {
    let example = include_str!("../examples/quickstart.rs");
    let (_about, program) = example.split_once("\n\n").unwrap();
    let block = README.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(block, program);
}

#[test]
fn every_test_and_bench_named_in_a_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [README, SECURITY, CONTRIBUTING].join("\n");
    let text = chapters().into_iter().fold(pages, |text, (_, chapter)| text + "\n" + &chapter);
    let mut named = 0;
    for command in text.split('`').filter(|code| code.starts_with("cargo ")) {
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
                    let members = [".", "examples/demo", "tests/interop", "tests/no-backend", "tests/unlinked/program"];
                    let manifest =
                        |member: &&str| std::fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
                    members.iter().any(|member| manifest(member).contains(&format!("name = \"{name}\"")))
                }
                _ => continue,
            };
            assert!(exists, "a document names `{command}`, and there is no {}", pair[1]);
            named += 1;
        }
    }
    assert!(named > 10, "{named} tests and benches are named");
    for script in text.split('`').filter_map(|code| code.split_whitespace().next()).filter(|word| word.contains('/')) {
        let is_script = script.ends_with(".sh") || script.starts_with(".ci/");
        let is_example = script.starts_with("examples/");
        assert!(!(is_script || is_example) || root.join(script).exists(), "a document names {script}");
    }
}

/// Returns the name and the text of each chapter of the guide.
fn chapters() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut chapters: Vec<_> = paths
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    chapters.sort();
    chapters
}

#[test]
fn guide_lists_every_chapter_once() {
    let guide = include_str!("../src/guide.rs");
    for (name, text) in chapters() {
        assert_eq!(guide.matches(&format!("//! | [`{name}`] |")).count(), 1, "{name} in the table of chapters");
        let module = format!("#[doc = include_str!(\"guide/{name}.md\")]\npub mod {name} {{}}\n");
        assert_eq!(guide.matches(&module).count(), 1, "{name} as a module");
        let mut lines = text.lines().filter(|line| !line.is_empty());
        assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{name} begins with its title");
        assert!(lines.next().is_some_and(|line| line.starts_with("This chapter ")), "{name} says what it is for");
        assert!(!text.contains("```ignore"), "{name} has an example that is not tested");
    }
}

/// Texts of log lines that the guide names.
const LOG_TEXTS: [&str; 3] = ["password reset is ready", "no mail for a reset request", "a handler failed"];

/// Returns the source of the library, without the guide.
fn source(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| match path.is_dir() {
        true => source(&path),
        false if path.extension().is_some_and(|extension| extension == "rs") => fs::read_to_string(path).unwrap(),
        false => String::new(),
    };
    paths.map(read).collect()
}

#[test]
fn guide_names_log_texts_that_the_library_writes() {
    let source = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let guide: String = chapters().into_iter().map(|(_, chapter)| chapter).collect();
    for text in LOG_TEXTS {
        assert!(guide.contains(&format!("`{text}`")), "the guide does not name {text:?}");
        assert!(source.contains(&format!("\"{text}\"")), "the library does not log {text:?}");
    }
}

/// Maximum width of a line of code, in characters: docs.rs shows as many without a scroll bar.
const MAX_CODE_WIDTH: usize = 85;

/// Returns the lines of fenced code blocks that are wider than [`MAX_CODE_WIDTH`].
fn wide_lines_of_code(text: &str) -> Vec<&str> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks.flat_map(|block| block.lines().skip(1)).filter(|line| line.chars().count() > MAX_CODE_WIDTH).collect()
}

#[test]
fn code_blocks_of_readme_and_guide_are_at_most_85_columns_wide() {
    for (name, text) in [("README".to_owned(), README.to_owned())].into_iter().chain(chapters()) {
        assert_eq!(wide_lines_of_code(&text), <[&str; 0]>::default(), "{name}");
        assert_eq!(text.matches("\n```").count() % 2, 0, "{name} has a code block without an end");
    }
    let wide = "x".repeat(MAX_CODE_WIDTH + 1);
    assert_eq!(wide_lines_of_code(&format!("{wide}\n```\n{wide}\n```\n{wide}\n")), [wide.as_str()]);
}

/// Returns the names of the promises and faults, as in the first column of the tables of SECURITY.
fn expected_rows() -> BTreeSet<String> {
    let counts = [("R", 12), ("T", 18), ("C", 15), ("P", 6), ("L", 12), ("M", 6), ("H", 10), ("S", 8), ("F", 24)];
    let numbered =
        counts.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    numbered.chain(["R4b".to_owned()]).collect()
}

/// Returns whether a cell is the name of a promise or a fault: a capital letter and a number, like `R4b`.
fn is_row_name(cell: &str) -> bool {
    cell.starts_with(|char: char| char.is_ascii_uppercase())
        && cell[1..].starts_with(|char: char| char.is_ascii_digit())
}

#[test]
fn every_promise_has_a_row_in_security() {
    let first = |line: &'static str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.trim());
    let rows: Vec<&str> = SECURITY.lines().filter_map(first).filter(|name| is_row_name(name)).collect();
    assert_eq!(rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>(), expected_rows());
    assert_eq!(rows.len(), 88 + 24, "each of them once");
}

/// Returns whether a test exists that SECURITY names by this path.
fn test_exists(root: &Path, path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let [modules @ .., name] = &parts[..] else { return false };
    let (folder, modules) = match modules {
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
    // The attributes are in the lines directly before the function.
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
        // A function of another crate, not a test.
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
