//! A mistake in a handler is a compile error that points at the user's own tokens and says what to write.
//!
//! The `.stderr` files contain the messages of the pinned toolchain. After an intended change of a message, update them
//! with `TRYBUILD=overwrite cargo test --test ui`, and read each before you commit it.

#[test]
fn mistakes_in_handlers_are_compile_errors() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
