//! Command line of a bench.

/// Whether `cargo test` runs the bench, only to see that it works. Its figures mean nothing then.
pub fn is_smoke_test() -> bool {
    !has("--bench")
}

/// Whether the command line contains `argument`.
pub fn has(argument: &str) -> bool {
    std::env::args().skip(1).any(|given| given == argument)
}
