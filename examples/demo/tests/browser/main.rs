//! The demo in headless Chromium, driven by chromedriver.
//!
//! The tests are skipped with a message if one of them is not installed. With `REQUIRE_SERVICES=1` they fail instead.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/chromium.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod chromium;
mod pages;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
mod reset;
mod screenshot;
mod token;

use std::sync::Arc;

use self::chromium::{Browser, Driver};
use self::process::Demo;

const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// Runs a test in its own browser, which is closed even if the test panics.
fn in_browser<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Browser, Arc<Demo>) -> F) {
    in_browser_with(&["--no-throttle"], test);
}

fn in_browser_with<F: Future<Output = ()> + Send + 'static>(
    flags: &[&str],
    test: impl FnOnce(Browser, Arc<Demo>) -> F,
) {
    let Some(driver) = Driver::start() else { return };
    // The demo runs until the browser's log is read, because the last page may still load its icon.
    let demo = Arc::new(Demo::start(flags.iter().copied()));
    let link = flags.contains(&"query").then(|| format!("{}/reset-password?token=", demo.site));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = driver.browser().await;
        let site = demo.site.clone();
        let outcome = tokio::spawn(test(browser.clone(), Arc::clone(&demo))).await;
        if outcome.is_ok() {
            browser.assert_clean(&site, link.as_deref());
        }
        let closed = browser.client.close().await;
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
        closed.unwrap();
    });
}

/// Requests a reset and follows the link in the mail.
async fn follow_link(browser: &Browser, demo: &Demo, email: &str) {
    browser.open(&format!("{}/forgot-password", demo.site)).await;
    browser.fill("#email", email).await;
    browser.click("button[type=submit]").await;
    browser.wait_for_text("#message.good", "we have sent a link").await;
    browser.click("#message a").await;
    // If the mail arrives after the page, the page reloads itself.
    browser.wait_for_text(".mail", email).await;
    browser.click(".mail pre a").await;
    browser.find("#form:not([hidden])").await;
}

async fn sign_in(browser: &Browser, demo: &Demo, password: &str) {
    browser.open(&format!("{}/login", demo.site)).await;
    browser.fill("#email", "ann@example.com").await;
    browser.fill("#password", password).await;
    browser.click("button[type=submit]").await;
}

/// Waits for a mail in the outbox and returns its token.
fn mailed_token(demo: &Demo, number: u32) -> String {
    let path = format!("/outbox/{number}");
    let mail = process::wait_for("the mail", || Some(demo.get(&path)).filter(|response| response.status == 200));
    let (_, link) = mail.body.split_once("#token=").unwrap();
    link.split('"').next().unwrap().to_owned()
}
