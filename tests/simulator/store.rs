//! The store of the simulation. It yields at every call and injects the planned fault in one call.

use std::future::pending;
use std::sync::{Arc, Mutex};

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{BoxError, PasswordHash, StoredUser, Swap, UserStore};

use crate::history::Fault;
use crate::random::Random;

#[derive(Clone)]
pub struct FaultyStore {
    pub users: MemoryUsers,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    /// The fault, and the number of calls that succeed before it.
    fault: Option<(usize, Fault)>,
    /// Whether only look-ups by address count, or all other calls. A background request must not consume a fault that
    /// is planned for a confirm.
    by_address: bool,
    /// Whether the calls after the fault fail too.
    lasting: bool,
    random: Random,
}

impl FaultyStore {
    pub fn new(users: MemoryUsers, seed: u64) -> Self {
        Self {
            users,
            plan: Arc::new(Mutex::new(Plan {
                fault: None,
                by_address: false,
                lasting: false,
                random: Random::new(seed),
            })),
        }
    }

    /// Plans a fault after a number of calls other than look-ups by address.
    pub fn plan(&self, fault: Option<(usize, Fault)>) {
        let mut plan = self.plan.lock().unwrap();
        (plan.fault, plan.by_address, plan.lasting) = (fault, false, false);
    }

    /// Plans a fault after a number of look-ups by address.
    pub fn plan_for_addresses(&self, fault: Option<(usize, Fault)>) {
        let mut plan = self.plan.lock().unwrap();
        (plan.fault, plan.by_address, plan.lasting) = (fault, true, false);
    }

    /// Makes every look-up by address fail after a number of calls.
    pub fn go_down(&self, calls: usize) {
        let mut plan = self.plan.lock().unwrap();
        (plan.fault, plan.by_address, plan.lasting) = (Some((calls, Fault::Errs)), true, true);
    }

    async fn call<T>(&self, by_address: bool, work: impl AsyncFnOnce() -> T) -> Result<T, BoxError> {
        let (yields, fault) = {
            let mut plan = self.plan.lock().unwrap();
            let counts = plan.by_address == by_address;
            let fault = match &mut plan.fault {
                _ if !counts => None,
                Some((0, fault)) => Some(*fault),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if fault.is_some() && !plan.lasting {
                plan.fault = None;
            }
            (plan.random.below(4), fault)
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        match fault {
            Some(Fault::Errs) => return Err("the connection is gone".into()),
            Some(Fault::Panics) => panic!("an injected panic"),
            Some(Fault::Hangs) => return pending().await,
            Some(Fault::LosesTheAnswer | Fault::HangsAfterwards) | None => {}
        }
        let answer = work().await;
        tokio::task::yield_now().await;
        match fault {
            Some(Fault::LosesTheAnswer) => Err("the answer is lost".into()),
            Some(Fault::HangsAfterwards) => pending().await,
            _ => Ok(answer),
        }
    }
}

impl UserStore for FaultyStore {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        Ok(self.call(true, async || self.users.find_by_email(email).await).await??)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(self.call(false, async || self.users.find_by_id(id).await).await??)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        Ok(self.call(false, async || self.users.replace_password(user, new_hash).await).await??)
    }

    /// Fails only during an outage, and does not consume a planned fault.
    async fn check(&self) -> Result<(), BoxError> {
        let plan = self.plan.lock().unwrap();
        if plan.lasting && matches!(plan.fault, Some((0, _))) { Err("the connection is gone".into()) } else { Ok(()) }
    }
}
