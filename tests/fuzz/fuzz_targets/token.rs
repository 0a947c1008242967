//! Reset tokens.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| poem_password_reset_fuzz::token::holds(input));
