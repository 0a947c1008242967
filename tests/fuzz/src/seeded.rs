//! Checks the properties on the seeds and on random variations of them, as a plain test. A failure prints the input.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use crate::random::Random;

/// Number of variations per target. The environment variable `FUZZ_ROUNDS` overrides it.
const ROUNDS: usize = 10_000;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_string_lossy().contains("seed-")).collect();
    paths.sort();
    assert!(paths.len() > 5, "{target} has seeds");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs the seeds unchanged, then with random changes: bytes flipped, inserted, removed or repeated, or parts of other
/// seeds.
fn run(target: &str, holds: fn(&[u8])) {
    let seeds = seeds(target);
    let mut random = Random::seeded();
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let variations = std::iter::repeat_with(|| variation(&seeds, &mut random)).take(rounds);
    for input in seeds.iter().cloned().chain(variations) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| holds(&input))) {
            println!("{target} does not hold for {:?}", input.escape_ascii().to_string());
            resume_unwind(panic);
        }
    }
}

fn variation(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let end = input.len() + 1;
        let (one, other) = (random.below(end), random.below(end));
        let (from, to) = (one.min(other), one.max(other).min(one.min(other) + 16));
        match random.below(7) {
            0 if from < input.len() => input[from] = random.next() as u8,
            1 if from < input.len() => input[from] ^= 1 << random.below(8),
            2 => input.insert(from, random.next() as u8),
            3 => input.insert(from, b" \0\"\\%&=+,.;:@-_{}[]\r\n/"[random.below(22)]),
            4 => drop(input.drain(from..to)),
            5 => input.extend_from_within(from..to),
            _ => {
                let seed = &seeds[random.below(seeds.len())];
                let start = random.below(seed.len() + 1);
                let piece = seed[start..].iter().copied().take(random.below(40));
                drop(input.splice(from..to, piece));
            }
        }
    }
    input
}

#[test]
fn addresses_properties_hold_for_seeds_and_variations() {
    run("addresses", crate::addresses::holds);
}

#[test]
fn bodies_properties_hold_for_seeds_and_variations() {
    run("bodies", crate::bodies::holds);
}

#[test]
fn forwarded_properties_hold_for_seeds_and_variations() {
    run("forwarded", crate::forwarded::holds);
}

#[test]
fn passwords_properties_hold_for_seeds_and_variations() {
    run("passwords", crate::passwords::holds);
}

#[test]
fn token_properties_hold_for_seeds_and_variations() {
    run("token", crate::token::holds);
}
