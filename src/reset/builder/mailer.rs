//! The mailer of a password reset: one handler for the link, one for the notice.

use std::panic::Location;
use std::sync::Arc;

use super::PasswordResetBuilder;
use crate::error::Problem;
use crate::event::{PostPasswordReset, ResetTokenCreated};
use crate::handler::HandlersBuilder;
use crate::mail::Mailer;
use crate::reset::Clock;

/// Name of both handlers in the log.
const NAME: &str = "Mailer";

impl PasswordResetBuilder {
    /// Sets the [`Mailer`] (feature `mail`), which sends the mail with the link and the notice after a reset. Annotated handlers
    /// run beside it. A second mailer replaces the first. Default: none.
    ///
    /// The log names its two handlers `Mailer`, with file and line of this call.
    #[track_caller]
    pub fn mailer(mut self, mailer: Mailer) -> Self {
        self.mailer = Some((mailer, Location::caller()));
        self
    }
}

/// Adds the handlers of the mailer, if there is one, or the problems of its settings.
pub(super) fn add(
    mailer: Option<(Mailer, &'static Location<'static>)>,
    clock: &Clock,
    mut handlers: HandlersBuilder,
    problems: &mut Vec<Problem>,
) -> HandlersBuilder {
    let Some((mailer, location)) = mailer else { return handlers };
    let mailer = match mailer.prepare() {
        Ok(mailer) => Arc::new(mailer),
        Err(found) => {
            problems.extend(found);
            // `build` fails. The handler keeps it from reporting that there is none.
            handlers.add_named::<ResetTokenCreated, _, _, _>(NAME, async |_| (), location);
            return handlers;
        }
    };
    let (notifier, now) = (Arc::clone(&mailer), Arc::clone(clock));
    let send_notice = move |event: Arc<PostPasswordReset>| {
        let (mailer, now) = (Arc::clone(&notifier), now());
        async move { mailer.send_notice(&event, now).await }
    };
    handlers.add_named(NAME, send_notice, location);
    let now = Arc::clone(clock);
    let send_link = move |event: Arc<ResetTokenCreated>| {
        let (mailer, now) = (Arc::clone(&mailer), now());
        async move { mailer.send_link(&event, now).await }
    };
    handlers.add_named(NAME, send_link, location);
    handlers
}
