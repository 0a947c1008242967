//! Quotas of clients behind the balancer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::helpers::KEY;
use crate::site::Site;

/// The quota of one client: 30 requests an hour.
const QUOTA: usize = 30;

/// Sends `count` requests at once through the balancer, each with a forged header, and returns how many were accepted.
async fn accepted(site: &Arc<Site>, client: Client, count: usize) -> usize {
    let mut requests = JoinSet::new();
    for number in 0..count {
        let site = site.clone();
        requests.spawn(async move {
            let forged = format!("X-Forwarded-For: 203.0.113.{number}");
            let body = json!({ "email": format!("nobody{number}@example.com") });
            client.post_with(site.balancer.address, "/api/password_reset/", &[&forged], &body).await
        });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.into_iter().filter(|&status| status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_behind_the_balancer_gets_one_quota_for_both_instances() {
    // On a busy machine an answer of Redis can come too late. Then memory counts, and the log says so.
    for _ in 0..5 {
        let Some(site) = Site::start(KEY, &[]).await else { return };
        let site = Arc::new(site);
        let [one, other] = [1, 2].map(|number| Client(Ipv4Addr::new(127, 2, 0, number)));
        let counts = [accepted(&site, one, 50).await, accepted(&site, other, 20).await];
        if !site.logged("the throttle failed") {
            assert_eq!(counts, [QUOTA, 20], "the balancer's clients are counted one by one");
            for instance in site.instances {
                assert_eq!(one.request(instance, "ann@example.com").await, 429);
                assert_eq!(other.request(instance, "ann@example.com").await, 200);
            }
            return;
        }
    }
    panic!("Redis answered too late in each of five runs");
}
