//! Random histories of steps. Steps refer to users and tokens by number, so a history stays valid when steps are
//! removed.

use crate::random::Random;

/// A history. The seed also determines the random choices within a step.
#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub steps: Vec<Step>,
}

/// A fault of the store during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Errs,
    Panics,
    Hangs,
    /// Performs the call, then returns an error.
    LosesTheAnswer,
    /// Performs the call, then never returns.
    HangsAfterwards,
}

/// A failure of a handler or the hasher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Fails,
    Panics,
    Hangs,
}

/// The form in which a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    AsIssued,
    /// One character is changed at this position.
    Forged(usize),
    Cut(usize),
}

/// The parameters of a confirm.
#[derive(Clone, Copy, Debug)]
pub struct Confirm {
    pub instance: usize,
    pub token: usize,
    pub shape: Shape,
    pub weak: bool,
    pub veto: Option<Bad>,
    pub hasher: Option<Bad>,
    pub post: Option<Bad>,
    /// The fault of the store, and the number of calls before it.
    pub store: Option<(usize, Fault)>,
}

#[derive(Clone, Debug)]
pub enum Step {
    Request {
        instance: usize,
        user: usize,
        mail: Option<Bad>,
        store: Option<(usize, Fault)>,
    },
    Issue {
        instance: usize,
        user: usize,
    },
    Send {
        instance: usize,
        user: usize,
        mail: Option<Bad>,
    },
    Settle,
    Validate {
        instance: usize,
        token: usize,
        shape: Shape,
        store: Option<(usize, Fault)>,
    },
    Confirm(Confirm),
    /// The caller drops the future after this number of polls.
    ConfirmAndLeave(Confirm, usize),
    Race {
        token: usize,
        confirms: usize,
    },
    /// The process crashes after this number of polls of a confirm.
    ConfirmAndCrash(Confirm, usize),
    ChangeEmail {
        user: usize,
        to: usize,
    },
    ChangePassword {
        user: usize,
    },
    SetActive {
        user: usize,
        active: bool,
    },
    Delete {
        user: usize,
    },
    Recreate {
        user: usize,
        with_password: bool,
    },
    MoveClock {
        seconds: i64,
    },
    PassTime {
        seconds: u64,
    },
    RollOutKeys {
        instance: usize,
    },
    Crash,
}

impl History {
    pub fn new(seed: u64, steps: usize) -> Self {
        let mut random = Random::new(seed);
        Self { seed, steps: (0..steps).map(|_| step(&mut random)).collect() }
    }
}

fn bad(random: &mut Random) -> Option<Bad> {
    let bad = [Bad::Fails, Bad::Panics, Bad::Hangs][random.below(3)];
    random.once_in(6).then_some(bad)
}

fn store_fault(random: &mut Random) -> Option<(usize, Fault)> {
    let faults = [Fault::Errs, Fault::Panics, Fault::Hangs, Fault::LosesTheAnswer, Fault::HangsAfterwards];
    let fault = (random.below(3), faults[random.below(5)]);
    random.once_in(5).then_some(fault)
}

fn shape(random: &mut Random) -> Shape {
    match random.below(12) {
        0 => Shape::Forged(random.below(1000)),
        1 => Shape::Cut(random.below(1000)),
        _ => Shape::AsIssued,
    }
}

fn confirm(random: &mut Random) -> Confirm {
    Confirm {
        instance: random.below(2),
        token: random.below(1000),
        shape: shape(random),
        weak: random.once_in(10),
        veto: bad(random),
        hasher: bad(random).filter(|bad| *bad != Bad::Hangs),
        post: bad(random),
        store: store_fault(random),
    }
}

fn step(random: &mut Random) -> Step {
    let (instance, user) = (random.below(2), random.below(5));
    match random.below(28) {
        0..4 => Step::Request { instance, user, mail: bad(random), store: store_fault(random) },
        4..6 => Step::Issue { instance, user },
        6 => Step::Send { instance, user, mail: bad(random) },
        7..9 => Step::Settle,
        9..13 => {
            Step::Validate { instance, token: random.below(1000), shape: shape(random), store: store_fault(random) }
        }
        13..17 => Step::Confirm(confirm(random)),
        17 => Step::ConfirmAndLeave(confirm(random), 1 + random.below(40)),
        18 => Step::Race { token: random.below(1000), confirms: 2 + random.below(6) },
        19 => Step::ConfirmAndCrash(confirm(random), 1 + random.below(40)),
        20 => Step::ChangeEmail { user, to: random.below(5) },
        21 => Step::ChangePassword { user },
        22 => Step::SetActive { user, active: random.below(3) > 0 },
        23 if random.once_in(3) => Step::Delete { user },
        23 | 24 => Step::Recreate { user, with_password: random.below(4) > 0 },
        25 => {
            let jumps = [1, 59, 61, 600, 1800, 3599, 3600, 3601, -1, -59, -61, -3600, -1_900_000_000];
            Step::MoveClock { seconds: jumps[random.below(jumps.len())] }
        }
        26 if random.once_in(2) => Step::PassTime { seconds: [1, 6, 30, 3600][random.below(4)] },
        26 => Step::RollOutKeys { instance },
        _ if random.once_in(3) => Step::Crash,
        _ => Step::Settle,
    }
}
