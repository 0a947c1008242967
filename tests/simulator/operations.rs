//! The operations of a history. Each result is compared with the model.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use poem_password_reset::{Client, NewPassword, Requested, ResetError, StoredUser, Unavailable};
use tokio::time::Instant;

use crate::doubles::verifies;
use crate::history::{Bad, Confirm, Fault, Shape};
use crate::model::{Issued, hash_of, is_eligible};
use crate::world::{Behavior, Checked, Instance, World, email, ensure};

fn client() -> Client {
    Client::new(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), None)
}

/// The input of a confirm, and the model's prediction.
struct Attempt {
    confirm: Confirm,
    password: String,
    token: Option<Issued>,
    good: bool,
    before: Option<StoredUser>,
}

impl World {
    pub async fn request(
        &mut self,
        instance: &Instance,
        user: usize,
        mail: Option<Bad>,
        store: Option<(usize, Fault)>,
    ) -> Checked {
        self.behave(Behavior { mail, ..Behavior::default() }, None);
        self.store.plan_for_addresses(store);
        if let Some((calls, Fault::Errs)) = store {
            self.store.go_down(calls);
        }
        let known = instance.reset.request(&email(user), client()).await;
        let unknown = instance.reset.request("nobody@example.com", client()).await;
        let kind = |answer: &Result<Requested, ResetError>| answer.as_ref().map(drop).map_err(ResetError::as_str);
        ensure!(kind(&known) == kind(&unknown), "a known user gets {known:?}, an unknown one {unknown:?}");
        if let Err(error) = known {
            self.is_down(&error)?;
        }
        Ok(())
    }

    /// Checks that an error is `StoreDown` and that the store can count as down.
    fn is_down(&mut self, error: &ResetError) -> Checked {
        self.tally.store_down += 1;
        let down = matches!(error, ResetError::Unavailable { reason: Unavailable::StoreDown, .. });
        let possible = self.down_until.is_some_and(|until| Instant::now() <= until);
        ensure!(down && possible, "{error:?}, although the store works");
        Ok(())
    }

    pub fn issue(&mut self, instance: &Instance, user: usize) -> Checked {
        let Some(row) = self.user(&user.to_string()) else { return Ok(()) };
        let issued = instance.reset.issue(&row, None);
        ensure!(issued.is_ok() == is_eligible(&row), "issued {issued:?} to {row:?}");
        if let Ok(event) = issued {
            self.note(&row, &event, instance.ring[0]);
        }
        Ok(())
    }

    pub async fn send(&mut self, instance: &Instance, user: usize, mail: Option<Bad>) -> Checked {
        let Some(row) = self.user(&user.to_string()).filter(is_eligible) else { return Ok(()) };
        self.behave(Behavior { mail, ..Behavior::default() }, None);
        let sent = instance.reset.send(&row, None).await;
        let down = self.down_until.is_some_and(|until| Instant::now() <= until);
        ensure!(down || sent.is_ok() == mail.is_none(), "sent: {sent:?}");
        Ok(())
    }

    fn token(&self, number: usize, shape: Shape) -> (Option<Issued>, String) {
        if self.issued.is_empty() {
            return (None, "garbage".to_owned());
        }
        // Prefer recent tokens, because more of them are still valid.
        let back = number % self.issued.len().min(8);
        let token = self.issued[self.issued.len() - 1 - back].clone();
        let mut text = token.text.clone();
        match shape {
            Shape::AsIssued => return (Some(token), text),
            Shape::Forged(at) => {
                let at = at % text.len();
                let other = if &text[at..=at] == "A" { "B" } else { "A" };
                text.replace_range(at..=at, other);
            }
            Shape::Cut(at) => text.truncate(at % text.len()),
        }
        (None, text)
    }

    fn is_good(&self, instance: &Instance, token: Option<&Issued>) -> bool {
        token.is_some_and(|token| token.is_good(self.now(), &instance.ring, self.user(&token.id).as_ref()))
    }

    pub async fn validate(
        &mut self,
        instance: &Instance,
        token: usize,
        shape: Shape,
        store: Option<(usize, Fault)>,
    ) -> Checked {
        // A panic of the store reaches the caller here; the HTTP layer converts it to status 500.
        let store = store.filter(|(_, fault)| *fault != Fault::Panics);
        let (token, text) = self.token(token, shape);
        self.behave(Behavior::default(), store);
        let good = self.is_good(instance, token.as_ref());
        match instance.reset.validate(&text).await {
            Ok(validated) => {
                self.tally.validated += 1;
                ensure!(good && token.is_some_and(|token| token.id == validated.user().id()), "accepted {text:?}");
            }
            Err(ResetError::InvalidToken(refusal)) => ensure!(!good, "refused a good token: {:?}", refusal.refusal()),
            Err(error) if matches!(store, Some((0, _))) => {
                let down = matches!(error, ResetError::Unavailable { reason: Unavailable::StoreDown, .. });
                ensure!(down, "{error:?}, although the store failed");
            }
            Err(error) => self.is_down(&error)?,
        }
        Ok(())
    }

    fn prepare(&mut self, instance: &Instance, confirm: Confirm) -> (Attempt, String) {
        let (token, text) = self.token(confirm.token, confirm.shape);
        let good = self.is_good(instance, token.as_ref());
        let before = token.as_ref().and_then(|token| self.user(&token.id));
        let password = if confirm.weak { "short".to_owned() } else { self.new_password() };
        let Confirm { veto, hasher, post, store, .. } = confirm;
        self.behave(Behavior { mail: None, veto, hasher, post }, store);
        (Attempt { confirm, password, token, good, before }, text)
    }

    /// Confirms, and drops the future after `leaves` polls if it is set.
    pub async fn confirm(&mut self, instances: &mut [Instance; 2], confirm: Confirm, leaves: Option<usize>) -> Checked {
        let (attempt, text) = self.prepare(&instances[confirm.instance], confirm);
        let reset = instances[confirm.instance].reset.clone();
        let answer = reset.confirm(&text, NewPassword::new(attempt.password.as_str()), client());
        match leaves {
            None => {
                let answer = answer.await.map(drop);
                self.check_answer(&attempt, &answer)?;
            }
            Some(polls) => {
                if !is_left(answer, polls).await {
                    return self.check_by_the_row(&attempt);
                }
                self.tally.left += 1;
                tokio::time::sleep(Duration::from_secs(100)).await;
                self.check_by_the_row(&attempt)?;
            }
        }
        if confirm.post.is_some() {
            self.settle(instances).await?;
        }
        Ok(())
    }

    /// Whether a confirm without a fault must succeed.
    fn must_succeed(attempt: &Attempt) -> bool {
        let Confirm { weak, veto, hasher, store, .. } = attempt.confirm;
        let untouched = store.is_none_or(|(call, _)| call > 1);
        attempt.good && !weak && veto.is_none() && hasher.is_none() && untouched
    }

    fn changed(&mut self, attempt: &Attempt) -> Checked {
        let id = &attempt.token.as_ref().ok_or("a password changed without a token")?.id;
        let user = self.user(id).ok_or("the user is gone")?;
        ensure!(verifies(&user, &attempt.password), "the new password of {id} does not verify");
        ensure!(hash_of(&user) != attempt.before.as_ref().and_then(hash_of), "the hash is the old one");
        self.cleared.push((attempt.confirm.instance, user.email().to_owned()));
        self.expect_row(user);
        Ok(())
    }

    fn is_changed(&self, attempt: &Attempt) -> bool {
        let id = attempt.token.as_ref().map(|token| token.id.as_str());
        id.is_some_and(|id| self.user(id).as_ref().and_then(hash_of) != attempt.before.as_ref().and_then(hash_of))
    }

    fn check_answer(&mut self, attempt: &Attempt, answer: &Result<(), ResetError>) -> Checked {
        let Confirm { weak, veto, hasher, store, .. } = attempt.confirm;
        let Attempt { good, .. } = *attempt;
        let store = store.filter(|(call, _)| *call < 2);
        match answer {
            Ok(()) => {
                self.tally.confirmed += 1;
                ensure!(Self::must_succeed(attempt), "succeeded");
                self.posts += 1;
                return self.changed(attempt);
            }
            Err(ResetError::InvalidToken(refusal)) => {
                self.tally.bad_tokens += 1;
                ensure!(!good, "refused a good token: {:?}", refusal.refusal());
            }
            Err(ResetError::PasswordRefused(_)) => {
                self.tally.refused_good += 1;
                ensure!(good && (weak || veto == Some(Bad::Fails)), "refused the password");
            }
            Err(ResetError::Failed(_)) => ensure!(good && (veto.is_some() || hasher.is_some()), "failed"),
            Err(ResetError::Unavailable { reason: Unavailable::UnknownOutcome, .. }) => {
                self.tally.unknown_outcomes += 1;
                ensure!(store.is_some(), "an unknown outcome, although the store works");
                if self.is_changed(attempt) {
                    ensure!(good && !weak && veto.is_none() && hasher.is_none(), "changed for no good reason");
                    return self.changed(attempt);
                }
            }
            Err(ResetError::Unavailable { reason: Unavailable::StoreDown, .. }) if matches!(store, Some((0, _))) => {}
            Err(error) => self.is_down(error)?,
        }
        ensure!(!self.is_changed(attempt), "{answer:?}, and the password changed");
        Ok(())
    }

    /// Checks the row after a dropped confirm, which must have the same effect as an awaited one.
    fn check_by_the_row(&mut self, attempt: &Attempt) -> Checked {
        let untouched = attempt.confirm.store.is_none_or(|(call, _)| call > 1);
        let changed = self.is_changed(attempt);
        let down = self.down_until.is_some_and(|until| Instant::now() <= until + Duration::from_secs(100));
        ensure!(
            !Self::must_succeed(attempt) || changed || down,
            "the caller dropped the confirm, and it was not completed"
        );
        if !changed {
            return Ok(());
        }
        let Confirm { weak, veto, hasher, .. } = attempt.confirm;
        ensure!(attempt.good && !weak && veto.is_none() && hasher.is_none(), "changed for no good reason");
        if untouched {
            self.posts += 1;
        }
        self.changed(attempt)
    }

    pub async fn race(&mut self, instances: &mut [Instance; 2], token: usize, confirms: usize) -> Checked {
        let (Some(token), text) = self.token(token, Shape::AsIssued) else { return Ok(()) };
        let before = self.user(&token.id);
        let mut tasks = Vec::new();
        let mut good = false;
        for number in 0..confirms {
            let instance = &instances[number % 2];
            good |= self.is_good(instance, Some(&token));
            let (reset, text, password) = (instance.reset.clone(), text.clone(), self.new_password());
            tasks.push(tokio::spawn(async move {
                let answer = reset.confirm(&text, NewPassword::new(password.as_str()), client()).await;
                (password, answer)
            }));
        }
        let mut winners = Vec::new();
        for task in tasks {
            let (password, answer) = task.await.map_err(|_| "a confirm panicked")?;
            match answer {
                Ok(_) => winners.push(password),
                Err(ResetError::InvalidToken(_)) => {}
                Err(error) => self.is_down(&error)?,
            }
        }
        let down = self.down_until.is_some_and(|until| Instant::now() <= until);
        ensure!(
            winners.len() == usize::from(good) || (down && winners.len() < 2),
            "{} of {confirms} won",
            winners.len()
        );
        if let [password] = &winners[..] {
            self.tally.races_won += 1;
            self.posts += 1;
            let user = self.user(&token.id).ok_or("the user is gone")?;
            ensure!(verifies(&user, password), "the winner's password does not verify");
            ensure!(hash_of(&user) != before.as_ref().and_then(hash_of), "the hash is the old one");
            // One of the two instances has cleared its counter.
            self.cleared.extend([0, 1].map(|instance| (instance, user.email().to_owned())));
            self.expect_row(user);
        }
        Ok(())
    }

    /// Crashes the process during a confirm. The password must be the old one or the new one.
    pub async fn confirm_and_crash(&mut self, instance: &Instance, confirm: Confirm, yields: usize) -> Checked {
        let (attempt, text) = self.prepare(instance, confirm);
        let answer = instance.reset.confirm(&text, NewPassword::new(attempt.password.as_str()), client());
        is_left(answer, yields).await;
        if self.is_changed(&attempt) {
            let Confirm { weak, veto, hasher, .. } = attempt.confirm;
            ensure!(attempt.good && !weak && veto.is_none() && hasher.is_none(), "changed for no good reason");
            self.posts += 1;
            self.changed(&attempt)?;
        }
        Ok(())
    }
}

/// Polls `work` up to `polls` times and drops it. Returns whether it was unfinished.
async fn is_left(work: impl Future, polls: usize) -> bool {
    let mut work = pin!(work);
    for _ in 0..polls {
        let done = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if done {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}
