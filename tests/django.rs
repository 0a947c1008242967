//! The example that moves the users of a Django project runs to its end.

#[allow(dead_code, reason = "the example has a `main`")]
#[path = "../examples/django.rs"]
mod django;

#[tokio::test]
async fn users_of_django_sign_in_reset_and_get_new_hashes() {
    if let Err(error) = django::run().await {
        panic!("{error}");
    }
}
