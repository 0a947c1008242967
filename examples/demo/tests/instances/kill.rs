//! One instance is killed with SIGKILL under load.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::helpers::{KEY, NEW_PASSWORD};
use crate::load::{Confirmed, Load};
use crate::process::{PASSWORD, STEP_TIMEOUT};
use crate::site::Site;

/// Requests in the queue of the killed instance.
const BURST: usize = 8;

/// Checks at both instances that the new password works and the token is used up.
async fn check(site: &Site, Confirmed { user, token }: &Confirmed) {
    for instance in site.instances {
        assert_eq!(user.client.login(instance, &user.email, NEW_PASSWORD).await, 200, "{}", user.email);
        assert_eq!(user.client.validate(instance, token).await, 404, "{}", user.email);
    }
    assert_eq!(user.client.login(site.instances[0], &user.email, PASSWORD).await, 401, "{}", user.email);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_instance_loses_only_the_requests_in_its_memory() {
    // The delay keeps accepted requests in the queue.
    let Some(site) = Site::start(KEY, &["--mail-delay-ms", "700"]).await else { return };
    let site = Arc::new(site);
    let mut load = Load::start(&site, Duration::from_secs(10));
    load.confirms(10).await;

    let waiting: Vec<_> = (0..BURST).map(|_| site.new_user()).collect();
    let mut requests = JoinSet::new();
    for user in waiting.clone() {
        let instance = site.instances[0];
        requests.spawn(async move { user.client.request(instance, &user.email).await });
    }
    assert_eq!(requests.join_all().await, [200; BURST]);
    site.kill_instance(0);

    // The balancer passes each request to the other instance. None is answered 502.
    for _ in 0..6 {
        let user = site.new_user();
        assert_eq!(user.client.request(site.balancer.address, &user.email).await, 200);
    }
    load.confirms(10).await;
    site.start_instance(0, KEY);
    load.confirms(10).await;
    let results = load.stop().await;
    let without_mail: Vec<_> = waiting.iter().filter(|user| site.mailbox.token(&user.email).is_none()).collect();
    println!(
        "{} confirmed, {} refused, {} of {BURST} waiting requests lost, {} of the other users, {} repeated",
        results.confirmed.len(),
        results.refused,
        without_mail.len(),
        results.lost.len(),
        results.repeated,
    );
    assert_eq!(results.refused, 0);
    assert!(!without_mail.is_empty(), "the memory queue does not survive its process");
    for confirmed in &results.confirmed {
        check(&site, confirmed).await;
    }
    // A user whose request was lost asks again.
    for user in without_mail.into_iter().chain(&results.lost) {
        assert_eq!(user.client.request(site.balancer.address, &user.email).await, 200);
        let token = site.mailbox.wait(&user.email, STEP_TIMEOUT).await.expect("the mail arrives");
        assert_eq!(user.client.confirm(site.balancer.address, &token, NEW_PASSWORD).await, 200);
    }
}
