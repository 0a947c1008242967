//! Users who reset their password through the balancer until they are stopped: request, mail, validate, confirm, sign in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::until_answered;
use crate::helpers::NEW_PASSWORD;
use crate::process::STEP_TIMEOUT;
use crate::site::{Site, User};

/// The number of users who reset their password at the same time.
const CLIENTS: usize = 6;

/// A reset that was confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) user: User,
    pub(crate) token: String,
}

/// The results of all users.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) confirmed: Vec<Confirmed>,
    /// Valid tokens that were answered 404.
    pub(crate) refused: usize,
    /// Accepted requests whose mail did not arrive.
    pub(crate) lost: Vec<User>,
    /// Requests sent again because an instance closed the connection.
    pub(crate) repeated: usize,
    /// Number of tokens by header, which names the key.
    pub(crate) headers: BTreeMap<String, usize>,
}

/// The running users.
pub(crate) struct Load {
    state: Arc<State>,
    clients: JoinSet<()>,
}

struct State {
    site: Arc<Site>,
    /// Time after which a mail counts as lost.
    mail_deadline: Duration,
    is_over: AtomicBool,
    results: Mutex<Results>,
}

impl Load {
    pub(crate) fn start(site: &Arc<Site>, mail_deadline: Duration) -> Self {
        let state =
            State { site: site.clone(), mail_deadline, is_over: AtomicBool::new(false), results: Mutex::default() };
        let state = Arc::new(state);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let state = state.clone();
            clients.spawn(async move {
                while !state.is_over.load(Ordering::SeqCst) {
                    state.reset(state.site.new_user()).await;
                }
            });
        }
        Self { state, clients }
    }

    /// Waits until the users have done this much more.
    pub(crate) async fn wait_for(&mut self, what: &str, more: usize, count: impl Fn(&Results) -> usize) {
        let (begun, before) = (Instant::now(), count(&self.state.results()));
        let deadline = STEP_TIMEOUT + STEP_TIMEOUT * u32::try_from(more).unwrap() / 100;
        while count(&self.state.results()) < before + more {
            if let Some(ended) = self.clients.try_join_next() {
                ended.expect("no user panics");
            }
            assert!(begun.elapsed() < deadline, "timeout while waiting for {what}: {:?}", self.state.results());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until this many more resets are confirmed.
    pub(crate) async fn confirms(&mut self, more: usize) {
        self.wait_for("confirmations", more, |results| results.confirmed.len()).await;
    }

    /// Waits until each user has finished, and returns the results.
    pub(crate) async fn stop(mut self) -> Results {
        self.state.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no user panics");
        }
        self.state.results().clone()
    }
}

impl State {
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap()
    }

    async fn send<F: Future<Output = u16>>(&self, send: impl FnMut() -> F) -> (u16, usize) {
        let (status, repeated) = until_answered(send).await;
        self.results().repeated += repeated;
        (status, repeated)
    }

    /// One reset, from the request to the sign-in.
    async fn reset(&self, user: User) {
        let (client, to, email) = (user.client, self.site.balancer.address, &*user.email);
        assert_eq!(self.send(|| client.request(to, email)).await.0, 200);
        let Some(token) = self.site.mailbox.wait(email, self.mail_deadline).await else {
            self.results().lost.push(user);
            return;
        };
        let header = token.split('.').next().unwrap().to_owned();
        *self.results().headers.entry(header).or_default() += 1;
        match self.send(|| client.validate(to, &token)).await.0 {
            200 => {}
            404 => return self.results().refused += 1,
            status => panic!("validate: {status}"),
        }
        let (status, repeated) = self.send(|| client.confirm(to, &token, NEW_PASSWORD)).await;
        let signed_in = self.send(|| client.login(to, email, NEW_PASSWORD)).await.0;
        match (status, signed_in) {
            (200, 200) => {}
            // The first confirmation succeeded, but its response was lost with the connection.
            (404, 200) if repeated > 0 => {}
            (404, 401) => return self.results().refused += 1,
            other => panic!("confirm and sign-in: {other:?} after {repeated} repetitions"),
        }
        assert_eq!(self.send(|| client.validate(to, &token)).await.0, 404, "the token is used up");
        self.results().confirmed.push(Confirmed { user, token });
    }
}
