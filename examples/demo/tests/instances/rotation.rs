//! The signing key is replaced under load, instance by instance.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::helpers::{KEY as OLD, NEW_PASSWORD};
use crate::load::{Load, Results};
use crate::process::STEP_TIMEOUT;
use crate::site::Site;

const NEW: &str = "AJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";

/// Requests that wait in the queue of an instance when it is stopped.
const WAITING: usize = 4;

/// Keeps accepted requests in the queue for a while.
const MAIL_DELAY: [&str; 2] = ["--mail-delay-ms", "200"];

/// Time for a mail that is in the outbox already to be read.
const MAIL_DEADLINE: Duration = Duration::from_secs(10);

/// Checks that a token of each instance is valid at both. Returns the headers of the tokens, which name the keys.
async fn check_exchange(site: &Site) -> [String; 2] {
    let mut headers = Vec::new();
    for issuer in site.instances {
        let user = site.new_user();
        let token = site.token(&user, issuer).await;
        for instance in site.instances {
            assert_eq!(user.client.validate(instance, &token).await, 200, "{issuer} issued it, {instance} checks it");
        }
        headers.push(token.split('.').next().unwrap().to_owned());
    }
    headers.try_into().unwrap()
}

/// Restarts one instance while requests wait in its queue. It sends their mails before it ends, and their tokens stay valid.
async fn restart(site: &Site, instance: usize, keys: &str) {
    let users = [(); WAITING].map(|()| site.new_user());
    let mut requests = JoinSet::new();
    for user in users.clone() {
        let to = site.instances[instance];
        requests.spawn(async move { user.client.request(to, &user.email).await });
    }
    assert_eq!(requests.join_all().await, [200; WAITING]);
    site.restart_instance(instance, keys);
    for user in users {
        let token = site.mailbox.wait(&user.email, MAIL_DEADLINE).await.expect("the stopped instance sent the mail");
        for instance in site.instances {
            assert_eq!(user.client.validate(instance, &token).await, 200, "{instance} refuses a token");
        }
    }
}

/// Restarts one instance after the other with these keys. Under load, `confirms` resets are confirmed in each state.
async fn deploy(site: &Site, load: &mut Load, keys: &str, confirms: usize) -> [String; 2] {
    restart(site, 0, keys).await;
    load.confirms(confirms).await;
    let between = check_exchange(site).await;
    restart(site, 1, keys).await;
    load.confirms(confirms).await;
    check_exchange(site).await;
    between
}

fn report(step: &str, results: &Results) {
    println!(
        "{step}: {} confirmed, {} refused, {} lost, {} repeated, {} keys",
        results.confirmed.len(),
        results.refused,
        results.lost.len(),
        results.repeated,
        results.headers.len(),
    );
}

/// Replaces the key in three steps. No valid token is refused.
async fn rotate(confirms: usize) {
    let Some(site) = Site::start(OLD, &MAIL_DELAY).await else { return };
    let site = Arc::new(site);
    let [early, late] = [site.new_user(), site.new_user()];
    let of_early = site.token(&early, site.instances[0]).await;
    let of_late = site.token(&late, site.instances[1]).await;

    let mut load = Load::start(&site, STEP_TIMEOUT);
    load.confirms(confirms).await;
    let [first, second] = deploy(&site, &mut load, &format!("{OLD},{NEW}"), confirms).await;
    assert_eq!(first, second, "in step 1 the old key signs everywhere");
    let [first, second] = deploy(&site, &mut load, &format!("{NEW},{OLD}"), confirms).await;
    assert_ne!(first, second, "in the middle of step 2 each instance signs with another key");
    assert_eq!(early.client.confirm(site.instances[1], &of_early, NEW_PASSWORD).await, 200);
    // The end of the load stands for the wait of one lifetime: each token of the old key is used or kept on purpose.
    let results = load.stop().await;
    report("steps 1 and 2", &results);
    assert_eq!((results.refused, results.lost.len()), (0, 0));
    assert_eq!(results.headers.len(), 2, "tokens of both keys were used: {:?}", results.headers);

    let mut load = Load::start(&site, STEP_TIMEOUT);
    deploy(&site, &mut load, NEW, confirms).await;
    let results = load.stop().await;
    report("step 3", &results);
    assert_eq!((results.refused, results.lost.len()), (0, 0));
    assert_eq!(results.headers.len(), 1, "{:?}", results.headers);
    for instance in site.instances {
        assert_eq!(late.client.validate(instance, &of_late).await, 404, "the old key is no longer accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_in_three_steps_refuses_no_valid_token() {
    rotate(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version: some minutes"]
async fn long_rotation_in_three_steps_refuses_no_valid_token() {
    rotate(500).await;
}

/// The new key signs at one instance before the other one knows it. This shows that the load notices a refused token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_without_the_first_step_refuses_valid_tokens() {
    let Some(site) = Site::start(OLD, &[]).await else { return };
    let site = Arc::new(site);
    let ring = format!("{NEW},{OLD}");
    let mut load = Load::start(&site, STEP_TIMEOUT);
    load.confirms(5).await;
    site.restart_instance(0, &ring);
    load.wait_for("refused tokens", 5, |results| results.refused).await;
    let user = site.new_user();
    let token = site.token(&user, site.instances[0]).await;
    let statuses = [0, 1].map(|instance| user.client.validate(site.instances[instance], &token));
    let [at_issuer, at_other] = statuses;
    assert_eq!((at_issuer.await, at_other.await), (200, 404));
    site.restart_instance(1, &ring);
    report("without step 1", &load.stop().await);

    let mut load = Load::start(&site, STEP_TIMEOUT);
    load.confirms(10).await;
    assert_eq!(load.stop().await.refused, 0, "both instances accept both keys");
}
