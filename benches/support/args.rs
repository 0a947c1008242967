//! How a bench was called.

/// Whether the program is run by `cargo test`, to see that it works: nothing is measured long enough to mean anything.
pub fn is_smoke() -> bool {
    !has("--bench")
}

/// Whether this stands on the command line.
pub fn has(argument: &str) -> bool {
    std::env::args().skip(1).any(|given| given == argument)
}
