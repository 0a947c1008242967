//! Mistakes in a handler are compile errors at the user's own tokens that say what to write.
//!
//! The `.stderr` files are those of the pinned toolchain. Where the messages were changed on purpose,
//! `TRYBUILD=overwrite cargo test --test ui` writes them anew: read each before it is committed.

#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
