//! A simulator: runs random histories of users, clients, faults, crashes, clock changes and key rotations, and compares
//! the results with a small model. The same seed gives the same history.
//!
//! `cargo test --release --test simulator -- --ignored --nocapture` runs 100,000 histories. A failure prints its seed
//! and the shortest history found that fails; `SEED=<seed>` runs that one again.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/random.rs"]
mod random;

mod history;
mod model;
mod operations;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use history::{History, Step};
use random::Random;
use world::{Tally, World};

/// Runs a history. Returns an error for a violated invariant or a panic that reached the caller.
fn violation(history: &History) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| World::run(history))).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Shrinks a failing history by removing steps while it still fails.
fn shortest(history: &History) -> Vec<Step> {
    let mut steps = history.steps.clone();
    let mut length = steps.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at + length <= steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..at + length);
            match violation(&History { steps: fewer.clone(), ..*history }) {
                Ok(_) => at += length,
                Err(_) => steps = fewer,
            }
        }
        length /= 2;
    }
    steps
}

/// Suppresses the messages of panics that a history injects.
fn silence_planned_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&"an injected fault") {
            report(panic);
        }
    }));
}

fn run(histories: u64, steps: usize) {
    silence_planned_panics();
    if let Ok(seed) = std::env::var("SEED") {
        let history = History::new(seed.parse().expect("a seed is a number"), steps);
        return println!("{:?}", violation(&history).expect("the history holds"));
    }
    let first = Random::seeded().next();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let tallies = std::thread::scope(|scope| {
        let shares = (0..threads).map(|thread| {
            let seeds = (thread..histories).step_by(threads as usize).map(move |offset| first.wrapping_add(offset));
            scope.spawn(move || seeds.map(|seed| check_seed(seed, steps)).collect::<Vec<Tally>>())
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().flat_map(|share| share.join().expect("every history holds")).collect::<Vec<Tally>>()
    });
    let mut sum = Tally::default();
    tallies.into_iter().for_each(|tally| sum += tally);
    println!("{histories} histories of {steps} steps: {sum:?}");
    sum.assert_all_happened();
}

fn check_seed(seed: u64, steps: usize) -> Tally {
    let history = History::new(seed, steps);
    violation(&history)
        .unwrap_or_else(|fault| panic!("SEED={seed}: {fault}\nthe shortest history: {:#?}", shortest(&history)))
}

#[test]
fn simulator_passes_500_random_histories() {
    run(500, 60);
}

#[test]
#[ignore = "a hundred thousand histories of 200 steps: half an hour in a release build"]
fn simulator_passes_100_000_random_histories() {
    run(100_000, 200);
}
