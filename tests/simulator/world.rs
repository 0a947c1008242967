//! Runs a history: the users of an application, two instances of the service, and a record of observations, which is
//! compared with the model after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{
    BoxError, KeyRing, Ledger, PasswordPolicy, PasswordReset, PostPasswordReset, PrePasswordReset, ResetTokenCreated,
    SigningKey, StoredUser, Strength, Veto,
};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::doubles::cheap_hash;
use crate::history::{Bad, Fault, History, Step};
use crate::model::{Issued, LIFETIME, hash_of, is_eligible};
use crate::store::FaultyStore;

const START: i64 = 1_800_000_000;

/// The number of requests an hour that lead to mail.
const MAILS: u16 = 2;

/// The time after which all accepted work is done, even if calls hang.
const SETTLED: Duration = Duration::from_secs(300);

/// Counts of what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub mails: usize,
    pub confirmed: usize,
    pub refused_good: usize,
    pub bad_tokens: usize,
    pub unknown_outcomes: usize,
    pub store_down: usize,
    pub races_won: usize,
    pub left: usize,
    pub crashes: usize,
    pub lost: usize,
    pub validated: usize,
    pub suppressed: usize,
}

impl Tally {
    fn all(&mut self) -> [&mut usize; 12] {
        let Self { mails, confirmed, refused_good, bad_tokens, unknown_outcomes, store_down, .. } = self;
        let Self { races_won, left, crashes, lost, validated, suppressed, .. } = self;
        [
            mails,
            confirmed,
            refused_good,
            bad_tokens,
            unknown_outcomes,
            store_down,
            races_won,
            left,
            crashes,
            lost,
            validated,
            suppressed,
        ]
    }

    /// Checks that each kind of event happened. A simulation proves nothing about an event that never happens.
    pub fn assert_all_happened(mut self) {
        assert!(self.all().iter().all(|count| **count > 0), "{self:?}");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, mut other: Self) {
        for (sum, count) in self.all().into_iter().zip(other.all()) {
            *sum += *count;
        }
    }
}

/// The current behavior of the application's code.
#[derive(Clone, Copy, Default)]
pub struct Behavior {
    pub mail: Option<Bad>,
    pub veto: Option<Bad>,
    pub hasher: Option<Bad>,
    pub post: Option<Bad>,
}

/// The calls that handlers recorded.
#[derive(Default)]
pub struct Records {
    /// Mails, each with the life of the instance that sent it and whether the handler succeeded.
    mails: Vec<(Arc<ResetTokenCreated>, usize, bool)>,
    posts: Vec<(String, Option<String>)>,
}

pub struct Instance {
    pub reset: PasswordReset,
    pub ring: Vec<usize>,
    life: usize,
    since: Instant,
    /// Mails for requests, by user and address.
    mails: BTreeMap<(String, String), usize>,
}

pub struct World {
    pub users: MemoryUsers,
    pub store: FaultyStore,
    clock: Arc<AtomicI64>,
    behavior: Arc<Mutex<Behavior>>,
    records: Arc<Mutex<Records>>,
    /// The stage of the key rotation on each instance.
    stages: [usize; 2],
    pub issued: Vec<Issued>,
    /// The expected rows.
    rows: BTreeMap<String, StoredUser>,
    addresses: BTreeSet<(String, String)>,
    /// The time until which the store may count as down.
    pub down_until: Option<Instant>,
    passwords: usize,
    lives: usize,
    /// Addresses whose counter a reset has cleared, with the instance that cleared it.
    pub cleared: Vec<(usize, String)>,
    pub posts: usize,
    pub tally: Tally,
}

/// The end of a step or a life.
pub enum Ended {
    Continue,
    Crashed,
    Done,
}

pub type Checked<T = ()> = Result<T, String>;

/// Returns an error with this message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

pub(crate) use ensure;

pub fn email(number: usize) -> String {
    ["ann@example.com", "bob@example.com", "carol@example.com", "dave@example.com", "eve@example.com"][number]
        .to_owned()
}

/// Returns the key ring of a stage: a new key is first accepted, then signs, then is the only key.
fn ring(stage: usize) -> Vec<usize> {
    let key = stage / 3;
    match stage % 3 {
        0 => vec![key],
        1 => vec![key, key + 1],
        _ => vec![key + 1, key],
    }
}

fn key(number: usize) -> SigningKey {
    SigningKey::from_bytes(format!("the simulated signing key number {number:08}").as_bytes()).unwrap()
}

async fn behave(bad: Option<Bad>, error: impl Into<BoxError>) -> Result<(), BoxError> {
    match bad {
        None => Ok(()),
        Some(Bad::Fails) => Err(error.into()),
        Some(Bad::Panics) => panic!("an injected panic"),
        Some(Bad::Hangs) => std::future::pending().await,
    }
}

impl World {
    pub fn run(history: &History) -> Checked<Tally> {
        let users = MemoryUsers::new([]);
        let mut world = Self {
            store: FaultyStore::new(users.clone(), history.seed),
            users,
            clock: Arc::new(AtomicI64::new(START)),
            behavior: Arc::default(),
            records: Arc::default(),
            stages: [0, 0],
            issued: Vec::new(),
            rows: BTreeMap::new(),
            addresses: BTreeSet::new(),
            down_until: None,
            passwords: 0,
            lives: 0,
            cleared: Vec::new(),
            posts: 0,
            tally: Tally::default(),
        };
        for user in 0..5 {
            world.recreate(user, user != 4);
        }
        let mut steps = history.steps.iter().enumerate();
        loop {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let ended = runtime.block_on(world.live(&mut steps));
            runtime.shutdown_background();
            if matches!(ended?, Ended::Done) {
                return Ok(world.tally);
            }
            world.tally.crashes += 1;
            // Handlers that have not run are lost with the process.
            world.posts = 0;
            world.down_until = None;
        }
    }

    /// Runs from a start to a crash or to the end.
    async fn live<'h>(&mut self, steps: &mut impl Iterator<Item = (usize, &'h Step)>) -> Checked<Ended> {
        let mut instances = [self.instance(0).await, self.instance(1).await];
        for (number, step) in steps {
            let ended = self.step(&mut instances, step).await;
            let ended = ended.and_then(|ended| self.look_around(&mut instances).map(|()| ended));
            if let Ended::Crashed = ended.map_err(|fault| format!("step {number}, {step:?}: {fault}"))? {
                instances.iter().for_each(|instance| self.close(instance));
                return Ok(Ended::Crashed);
            }
        }
        self.settle(&mut instances).await?;
        instances.iter().for_each(|instance| self.close(instance));
        Ok(Ended::Done)
    }

    async fn instance(&mut self, number: usize) -> Instance {
        self.lives += 1;
        let life = self.lives;
        let ring = ring(self.stages[number]);
        let mut keys = KeyRing::new(key(ring[0]));
        for previous in &ring[1..] {
            keys = keys.previous(key(*previous)).unwrap();
        }
        let clock = Arc::clone(&self.clock);
        let behavior = || Arc::clone(&self.behavior);
        let records = || Arc::clone(&self.records);
        let (mail, veto, hasher, post) = (behavior(), behavior(), behavior(), behavior());
        let (mails, posts) = (records(), records());
        let reset = PasswordReset::builder(self.store.clone(), keys)
            .link("https://app.example.com/reset-password#token={token}")
            .linked_handlers(false)
            // A failed request is tried twice: at once and after a second.
            .max_age(Duration::from_secs(2))
            .clock(move || OffsetDateTime::from_unix_timestamp(clock.load(Ordering::SeqCst)).unwrap())
            .quotas(Quotas::off().mails_per_address(Quota::per_hour(MAILS).unwrap()))
            .policy(PasswordPolicy::default().strength(Strength::Any))
            .hasher(move |password: &str| {
                let bad = hasher.lock().unwrap().hasher;
                match bad {
                    None => Ok::<_, BoxError>(cheap_hash(password)?),
                    Some(Bad::Panics) => panic!("an injected panic"),
                    Some(_) => Err("no hash today".into()),
                }
            })
            .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
                let behavior = mail.lock().unwrap().mail;
                mails.lock().unwrap().mails.push((event, life, behavior.is_none()));
                behave(behavior, "no mail today")
            })
            .on_pre_password_reset(move |_: Arc<PrePasswordReset>| {
                behave(veto.lock().unwrap().veto, Veto::new("Not today."))
            })
            .on_post_password_reset(move |event: Arc<PostPasswordReset>| {
                posts.lock().unwrap().posts.push((event.user().id().to_owned(), hash_of(event.user())));
                behave(post.lock().unwrap().post, "no notice today")
            });
        // `build()` calls the hasher, which may be set to fail.
        let bad = std::mem::take(&mut *self.behavior.lock().unwrap());
        let reset = reset.build().await.unwrap();
        *self.behavior.lock().unwrap() = bad;
        Instance { reset, ring, life, since: Instant::now(), mails: BTreeMap::new() }
    }

    pub fn behave(&self, behavior: Behavior, fault: Option<(usize, Fault)>) {
        *self.behavior.lock().unwrap() = behavior;
        self.store.plan(fault);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    async fn step(&mut self, instances: &mut [Instance; 2], step: &Step) -> Checked<Ended> {
        self.behave(Behavior::default(), None);
        match *step {
            Step::Request { instance, user, mail, store } => {
                self.request(&instances[instance], user, mail, store).await?;
                match store {
                    Some((_, Fault::Errs)) => self.wait_until_down().await,
                    // A fault affects this request and everything else that is running.
                    _ if mail.is_some() || store.is_some() => self.settle(instances).await?,
                    _ => {}
                }
            }
            Step::Issue { instance, user } => self.issue(&instances[instance], user)?,
            Step::Send { instance, user, mail } => self.send(&instances[instance], user, mail).await?,
            Step::Settle => self.settle(instances).await?,
            Step::Validate { instance, token, shape, store } => {
                self.validate(&instances[instance], token, shape, store).await?;
            }
            Step::Confirm(confirm) => self.confirm(instances, confirm, None).await?,
            Step::ConfirmAndLeave(confirm, polls) => self.confirm(instances, confirm, Some(polls)).await?,
            Step::Race { token, confirms } => self.race(instances, token, confirms).await?,
            Step::ConfirmAndCrash(confirm, yields) => {
                self.confirm_and_crash(&instances[confirm.instance], confirm, yields).await?;
                return Ok(Ended::Crashed);
            }
            Step::ChangeEmail { user, to } => self
                .change(user, |row| StoredUser::new(row.id(), email(to), hash_of(&row)).with_active(row.is_active())),
            Step::ChangePassword { user } => {
                let password = self.new_password();
                self.change(user, |row| {
                    StoredUser::new(row.id(), row.email(), cheap_hash(&password).ok()).with_active(row.is_active())
                });
            }
            Step::SetActive { user, active } => self.change(user, |row| row.with_active(active)),
            Step::Delete { user } => {
                self.users.remove(&user.to_string());
                self.rows.remove(&user.to_string());
            }
            Step::Recreate { user, with_password } => self.recreate(user, with_password),
            Step::MoveClock { seconds } => self.clock.store((self.now() + seconds).max(0), Ordering::SeqCst),
            Step::PassTime { seconds } => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Step::RollOutKeys { instance } => self.roll_out(instances, instance).await?,
            Step::Crash => return Ok(Ended::Crashed),
        }
        Ok(Ended::Continue)
    }
}

impl World {
    pub fn user(&self, id: &str) -> Option<StoredUser> {
        self.users.get(id)
    }

    pub fn new_password(&mut self) -> String {
        self.passwords += 1;
        format!("new password number {}", self.passwords)
    }

    /// Waits until the look-ups of a request have failed so often that the store counts as down.
    async fn wait_until_down(&mut self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.store.plan(None);
        // The pause between two probes.
        self.down_until = Some(Instant::now() + Duration::from_secs(1));
    }

    fn change(&mut self, user: usize, change: impl Fn(StoredUser) -> StoredUser) {
        let id = user.to_string();
        if self.users.update(&id, &change) {
            self.expect_row(self.users.get(&id).unwrap());
        }
    }

    fn recreate(&mut self, user: usize, with_password: bool) {
        let password = self.new_password();
        let hash = with_password.then(|| cheap_hash(&password).unwrap());
        let row = StoredUser::new(user, email(user), hash);
        self.users.put(row.clone());
        self.expect_row(row);
    }

    /// Sets the expected row.
    pub fn expect_row(&mut self, row: StoredUser) {
        self.addresses.insert((row.id().to_owned(), row.email().to_owned()));
        self.rows.insert(row.id().to_owned(), row);
    }

    /// Adds the counts of an instance.
    fn close(&mut self, instance: &Instance) {
        let ledger = instance.reset.ledger();
        self.tally.lost += ledger.lost as usize;
        self.tally.suppressed += ledger.suppressed as usize;
    }

    async fn roll_out(&mut self, instances: &mut [Instance; 2], instance: usize) -> Checked {
        if self.stages[instance] > self.stages[1 - instance] {
            return Ok(());
        }
        let report = instances[instance].reset.shutdown(SETTLED).await;
        ensure!(report.lost_requests == 0 && report.unfinished_confirms == 0, "the shutdown lost work: {report:?}");
        let ledger = instances[instance].reset.ledger();
        ensure!(ledger.waiting == 0, "after the shutdown {ledger:?}");
        self.look_around(instances)?;
        self.close(&instances[instance]);
        self.stages[instance] += 1;
        instances[instance] = self.instance(instance).await;
        Ok(())
    }

    /// Waits until all work is done.
    pub async fn settle(&mut self, instances: &mut [Instance; 2]) -> Checked {
        tokio::time::sleep(SETTLED).await;
        self.behave(Behavior::default(), None);
        for instance in instances.iter() {
            let ledger = instance.reset.ledger();
            ensure!(ledger.waiting == 0, "{SETTLED:?} later {ledger:?}");
        }
        self.look_around(instances)?;
        ensure!(self.posts == 0, "{} handlers after a reset never ran", self.posts);
        Ok(())
    }

    /// Compares everything observable with the model.
    pub fn look_around(&mut self, instances: &mut [Instance; 2]) -> Checked {
        for instance in instances.iter() {
            let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting, .. } =
                instance.reset.ledger();
            let sum = delivered + failed + ineligible + suppressed + lost + waiting;
            ensure!(accepted == sum, "the ledger does not add up: {:?}", instance.reset.ledger());
        }
        for id in 0..5 {
            let id = id.to_string();
            let row =
                |user: Option<&StoredUser>| user.map(|user| (user.email().to_owned(), user.is_active(), hash_of(user)));
            let (is, must_be) = (row(self.users.get(&id).as_ref()), row(self.rows.get(&id)));
            ensure!(is == must_be, "user {id} is {is:?} and must be {must_be:?}");
        }
        let Records { mails, posts } = std::mem::take(&mut *self.records.lock().unwrap());
        for (event, life, is_sent) in mails {
            let instance = instances
                .iter_mut()
                .find(|instance| instance.life == life)
                .ok_or("a mail from an instance that has crashed")?;
            self.look_at_mail(instance, &event, is_sent)?;
        }
        for (instance, email) in std::mem::take(&mut self.cleared) {
            instances[instance].mails.retain(|(_, address), _| *address != email);
        }
        for (id, hash) in posts {
            ensure!(self.posts > 0, "user {id} was notified of a reset that did not happen ({hash:?})");
            self.posts -= 1;
        }
        Ok(())
    }

    fn look_at_mail(&mut self, instance: &mut Instance, event: &ResetTokenCreated, is_sent: bool) -> Checked {
        let user = event.user();
        self.tally.mails += 1;
        ensure!(is_eligible(user), "mail for {user:?}, who may not reset a password");
        let address = (user.id().to_owned(), user.email().to_owned());
        ensure!(self.addresses.contains(&address), "mail to {address:?}, which was never on record");
        self.note(user, event, instance.ring[0]);
        // A request whose mail failed gives its count back.
        if is_sent && event.client().address().is_some() {
            let mails = instance.mails.entry(address).or_default();
            *mails += 1;
            let one_window = instance.since.elapsed() < Duration::from_secs(3600);
            ensure!(!one_window || *mails <= MAILS.into(), "{mails} mails to {} within an hour", user.email());
        }
        Ok(())
    }

    /// Records that this token was issued.
    pub fn note(&mut self, user: &StoredUser, event: &ResetTokenCreated, key: usize) {
        self.issued.push(Issued {
            text: event.token().expose().to_owned(),
            id: user.id().to_owned(),
            email: user.email().to_owned(),
            hash: hash_of(user),
            issued_at: event.expires_at().unix_timestamp() - LIFETIME,
            key,
        });
    }
}
