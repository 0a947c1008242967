//! Tokens and sign-ins across instances.

use crate::helpers::{KEY, NEW_PASSWORD};
use crate::process::PASSWORD;
use crate::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_one_instance_works_once_at_the_other() {
    let Some(site) = Site::start(KEY, &[]).await else { return };
    for (issuer, other) in [(0, 1), (1, 0)].map(|(one, other)| (site.instances[one], site.instances[other])) {
        let user = site.new_user();
        let token = site.token(&user, issuer).await;
        let (client, email) = (user.client, &*user.email);
        assert_eq!(client.validate(other, &token).await, 200);
        assert_eq!(client.confirm(other, &token, NEW_PASSWORD).await, 200);
        for instance in [issuer, other] {
            assert_eq!(client.validate(instance, &token).await, 404, "the token is used up");
            assert_eq!(client.confirm(instance, &token, "nine calm herons cross the river").await, 404);
            assert_eq!(client.login(instance, email, NEW_PASSWORD).await, 200);
            assert_eq!(client.login(instance, email, PASSWORD).await, 401);
        }
    }
}
