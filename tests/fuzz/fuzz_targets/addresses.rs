//! Email addresses.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| poem_password_reset_fuzz::addresses::holds(input));
