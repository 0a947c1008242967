//! The demo in a browser, from "I forgot my password" to the sign-in: in headless Chromium, through chromedriver.
//!
//! Where these are not installed the tests say so and pass; with `REQUIRE_SERVICES=1` they fail.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "support/chromium.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod chromium;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::sync::Arc;

use fantoccini::key::Key;
use serde_json::{Value, json};

use self::chromium::{Browser, Driver};
use self::process::{Demo, PASSWORD};

const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// Runs a test in a browser of its own, which is closed also if the test panics.
fn in_browser<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Browser, Arc<Demo>) -> F) {
    in_browser_with(&["--no-throttle"], test);
}

fn in_browser_with<F: Future<Output = ()> + Send + 'static>(
    flags: &[&str],
    test: impl FnOnce(Browser, Arc<Demo>) -> F,
) {
    let Some(driver) = Driver::start() else { return };
    // Kept until the log of the browser is read: the last page may still load its icon.
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

/// Asks for a reset and follows the link in the mail.
async fn follow_link(browser: &Browser, demo: &Demo, email: &str) {
    browser.open(&format!("{}/forgot-password", demo.site)).await;
    browser.fill("#email", email).await;
    browser.click("button[type=submit]").await;
    browser.wait_for_text("#message.good", "a mail is on its way").await;
    browser.click("#message a").await;
    // The mail may come after the page: the page sees to that.
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

#[test]
fn from_a_forgotten_password_to_the_sign_in() {
    in_browser(|browser, demo| async move {
        follow_link(&browser, &demo, "ann@example.com").await;
        let address = browser.client.current_url().await.unwrap();
        assert_eq!(address.as_str(), format!("{}/reset-password", demo.site), "the token has left the address bar");
        assert!(browser.run("return history.length").await.as_u64().is_some());

        // Weak: the server's words stand under the field, which has the focus; nothing is lost.
        browser.fill("#password", "12345678").await;
        browser.find("#password").await.send_keys(&Key::Enter.to_string()).await.unwrap();
        browser.wait_for_text("#password-errors", "digit").await;
        let errors = browser.run("return document.querySelectorAll('#password-errors li').length").await;
        assert!(errors.as_u64() > Some(1), "every rule that fails: {errors}");
        let field = browser.find("#password").await;
        assert_eq!(field.attr("aria-invalid").await.unwrap().as_deref(), Some("true"));
        assert_eq!(
            browser.client.active_element().await.unwrap().attr("id").await.unwrap().as_deref(),
            Some("password")
        );

        browser.click("#show").await;
        assert_eq!(field.prop("type").await.unwrap().as_deref(), Some("text"));
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;
        let shown = browser.run("return [form.hidden, password.value, password.type]").await;
        assert_eq!(shown, json!([true, "", "password"]));
        browser.click("#message a").await;

        browser.fill("#email", "ann@example.com").await;
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.good", "you are signed in").await;
        sign_in(&browser, &demo, PASSWORD).await;
        browser.wait_for_text("#message.bad", "wrong").await;

        browser.open(&format!("{}/outbox", demo.site)).await;
        browser.wait_for_text(".mail h2", "Your password was changed").await;

        // The same link again, from the mail below the notice.
        browser.click(".mail:last-of-type pre a").await;
        browser.wait_for_text("#message.bad", "not valid").await;
        assert_eq!(browser.run("return form.hidden").await, json!(true));
        browser.click("#message a").await;
        browser.find("form[action='/api/password_reset/']").await;
    });
}

#[test]
fn a_link_that_dies_while_its_page_is_open() {
    in_browser(|browser, demo| async move {
        follow_link(&browser, &demo, "ann@example.com").await;
        let mail = demo.get("/outbox/1").body;
        let (_, link) = mail.split_once("#token=").unwrap();
        let token = link.split('"').next().unwrap();
        assert_eq!(demo.confirm(token, NEW_PASSWORD).status, 200);
        browser.fill("#password", "another four words here").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.bad", "not valid").await;
        assert_eq!(browser.run("return form.hidden").await, json!(true));

        // A new link opened in the same tab changes nothing of the address but what is behind the #.
        demo.request("ann@example.com");
        let mail = process::wait_for("the mail", || Some(demo.get("/outbox/3")).filter(|answer| answer.status == 200));
        let (_, link) = mail.body.split_once("#token=").unwrap();
        browser.open(&format!("{}/reset-password#token={}", demo.site, link.split('"').next().unwrap())).await;
        browser.find("#form:not([hidden])").await;

        browser.open(&format!("{}/login", demo.site)).await;
        browser.open(&format!("{}/reset-password", demo.site)).await;
        browser.wait_for_text("#message", "needs the link from your email").await;
    });
}

/// The token in a mail in the outbox.
fn mailed_token(demo: &Demo, number: u32) -> String {
    let path = format!("/outbox/{number}");
    let mail = process::wait_for("the mail", || Some(demo.get(&path)).filter(|answer| answer.status == 200));
    let (_, link) = mail.body.split_once("#token=").unwrap();
    link.split('"').next().unwrap().to_owned()
}

/// Fails if the token is anywhere but in the history entry of the page.
async fn assert_hidden(browser: &Browser, demo: &Demo) {
    let exposed =
        "return [location.href, document.referrer, document.cookie, localStorage.length, sessionStorage.length,
        [...document.links].some((link) => link.href.includes('eyJ'))]";
    let expected = json!([format!("{}/reset-password", demo.site), "", "", 0, 0, false]);
    assert_eq!(browser.run(exposed).await, expected);
}

/// For recipients whose mail scanner strips fragments. The token is in one request to the page, and nowhere afterwards.
#[test]
fn link_with_its_token_in_the_query_works_and_leaves_the_address_bar() {
    in_browser_with(&["--no-throttle", "--link-style", "query"], |browser, demo| async move {
        browser.open(&format!("{}/login", demo.site)).await;
        demo.request("ann@example.com");
        browser.open(&format!("{}/outbox", demo.site)).await;
        browser.wait_for_text(".mail", "ann@example.com").await;
        let link = browser.find(".mail pre a").await.attr("href").await.unwrap().unwrap();
        assert!(link.starts_with(&format!("{}/reset-password?token=eyJ", demo.site)), "{link}");
        browser.open(&link).await;
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;
        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // The next page and the requests to the API do not learn the token from a referrer.
        let policy = "return fetch(location.pathname).then((answer) => answer.headers.get('referrer-policy'))";
        assert_eq!(browser.run(policy).await, "no-referrer");
        browser.click("nav a[href='/forgot-password']").await;
        browser.find("#email").await;
        assert_eq!(browser.run("return document.referrer").await, "");
        browser.client.back().await.unwrap();
        browser.find("#form:not([hidden])").await;

        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;
        sign_in(&browser, &demo, NEW_PASSWORD).await;
        browser.wait_for_text("#message.good", "you are signed in").await;
    });
}

#[test]
fn reset_page_keeps_its_token_over_reload_and_history() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let token = mailed_token(&demo, 1);
        browser.open(&format!("{}/login", demo.site)).await;
        browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // Another tab does not have it.
        let tab = browser.client.window().await.unwrap();
        let other = browser.client.new_window(true).await.unwrap().handle;
        browser.client.switch_to_window(other).await.unwrap();
        browser.open(&format!("{}/reset-password", demo.site)).await;
        browser.wait_for_text("#message", "needs the link from your email").await;
        browser.client.close_window().await.unwrap();
        browser.client.switch_to_window(tab).await.unwrap();

        // Away with a link, back with the button of the browser.
        browser.click("nav a[href='/forgot-password']").await;
        browser.find("#email").await;
        assert_eq!(browser.run("return document.referrer").await, "", "the next page learns nothing");
        browser.client.back().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // Further back, and forward again.
        browser.client.back().await.unwrap();
        browser.find("form[action='/api/login']").await;
        browser.client.forward().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // A fragment without a token adds a history entry, which has the token as well.
        browser.fill("#password", NEW_PASSWORD).await;
        browser.run("document.querySelector('.skip').click()").await;
        browser.wait_for("a clean address", "return location.hash === ''").await;
        assert_eq!(browser.run("return [form.hidden, password.value]").await, json!([false, NEW_PASSWORD]));
        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;
        assert_eq!(browser.run("return history.state").await, Value::Null, "a used token is removed");
        browser.client.refresh().await.unwrap();
        browser.wait_for_text("#message", "needs the link from your email").await;
    });
}

#[test]
fn reset_page_follows_the_link_of_each_history_entry() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let ann = mailed_token(&demo, 1);
        demo.request("bob@example.com");
        let bob = mailed_token(&demo, 2);
        let state = "return form.hidden ? null : history.state?.token";
        for token in [&ann, &bob] {
            browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
            assert_eq!(browser.wait_for("the form", state).await, json!(token));
        }
        browser.client.back().await.unwrap();
        browser.wait_for("the first token", &format!("return !form.hidden && history.state.token === {ann:?}")).await;
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;
        assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200);
        assert_eq!(demo.login("bob@example.com", PASSWORD), 200, "the token of the other entry was not used");
    });
}

#[test]
fn reset_page_without_token_takes_a_pasted_link() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let token = mailed_token(&demo, 1);
        let open = async || {
            browser.open(&format!("{}/login", demo.site)).await;
            browser.open(&format!("{}/reset-password", demo.site)).await;
            browser.wait_for_text("#message", "or paste it here:").await;
            browser.find("#paste:not([hidden])").await;
        };
        open().await;
        for text in ["", "https://www.example.com/", "a.b.c", &format!("{}/reset-password", demo.site), &token[..60]] {
            browser.fill("#link", text).await;
            browser.click("#paste button[type=submit]").await;
            browser.wait_for_text("#link-errors", "not the link from the email").await;
        }
        let (head, tail) = token.split_at(70);
        for text in [
            format!("{}/reset-password#token={token}", demo.site),
            format!("https://app.example.com/reset/{token}/"),
            format!("https://app.example.com/reset?token={token}&lang=en#top"),
            format!("https://links.example.net/click?to=https%3A%2F%2Fapp.example.com%2F%23token%3D{token}"),
            format!(" <https://www.example.com/reset-password#token={token}>. "),
            format!("{head} {tail} The link works once"),
            token.clone(),
        ] {
            open().await;
            browser.fill("#link", &text).await;
            browser.click("#paste button[type=submit]").await;
            browser.find("#form:not([hidden])").await;
            assert_hidden(&browser, &demo).await;
            let found = browser.run("return [history.state.token, paste.hidden, link.value]").await;
            assert_eq!(found, json!([token, true, ""]), "{text}");
        }
        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;

        // A refused password stays in its field.
        browser.fill("#password", "12345678").await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#password-errors", "digit").await;
        assert_eq!(browser.run("return password.value").await, "12345678");
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;

        // A link that was used is told apart from text that is no link.
        open().await;
        browser.fill("#link", &token).await;
        browser.click("#paste button[type=submit]").await;
        browser.wait_for_text("#message.bad", "not valid").await;
        assert_eq!(browser.run("return [history.state, form.hidden]").await, json!([null, true]));
    });
}

#[test]
fn lost_answer_to_a_confirmation_offers_to_sign_in() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let token = mailed_token(&demo, 1);
        browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
        browser.find("#form:not([hidden])").await;
        let network = |offline: bool| {
            let conditions =
                json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
            browser.devtools("Network.emulateNetworkConditions", conditions);
        };
        browser.devtools("Network.enable", json!({}));
        network(true);
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.bad", "We did not get an answer").await;
        browser.find("#message a[href='/login']").await;
        assert_eq!(browser.run("return [form.hidden, password.value]").await, json!([false, NEW_PASSWORD]));
        network(false);

        // The server did get the confirmation, and the page tries again. It remembers the first try over a reload.
        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.bad", "may have changed the password").await;
        browser.find("#message a[href='/login']").await;

        // Without a try of its own the page does not say so.
        browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
        browser.wait_for_text("#message.bad", "Ask for a new link").await;
    });
}

#[test]
fn faulty_fields_are_told_apart() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/login", demo.site)).await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#email-errors", "blank").await;
        browser.wait_for_text("#password-errors", "blank").await;
        let focus = browser.run("return document.activeElement.id").await;
        assert_eq!(focus, "email", "the first of them has the focus");

        browser.open(&format!("{}/forgot-password", demo.site)).await;
        browser.fill("#email", "nobody").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#email-errors", "valid email address").await;
        // Mended, the complaint is gone.
        browser.fill("#email", "nobody@example.com").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.good", "on its way").await;
        let left = browser.run("return [email.hasAttribute('aria-invalid'), document.activeElement.id]").await;
        assert_eq!(left, json!([false, "message"]));
        assert_eq!(browser.run("return document.querySelector('#email-errors').innerText").await, "");
    });
}

#[test]
fn the_html_part_is_shown_and_can_do_nothing() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/outbox", demo.site)).await;
        demo.request("bob@example.com");
        // The page shows new mail by itself.
        browser.click(".mail summary").await;
        // While somebody reads, he is only told.
        demo.request("ann@example.com");
        browser.wait_for_text("#message", "There is new mail").await;
        browser.find("iframe").await.enter_frame().await.unwrap();
        let link = browser.find("a").await;
        let address = link.attr("href").await.unwrap().unwrap();
        assert!(address.starts_with(&format!("{}/reset-password#token=", demo.site)));
        assert_eq!(browser.run("return origin").await, "null", "it is nobody's page");
        link.click().await.unwrap();
        let windows = browser.client.windows().await.unwrap();
        assert_eq!(windows.len(), 2, "the link opens a window of its own");
        browser.client.switch_to_window(windows[1].clone()).await.unwrap();
        browser.find("#form:not([hidden])").await;
    });
}

#[test]
fn swagger_ui_tries_it_out() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/docs", demo.site)).await;
        browser.wait_for("the three operations", "return document.querySelectorAll('.opblock').length === 3").await;
        // The first operation asks for a reset.
        browser.click(".opblock .opblock-summary-control").await;
        browser.click(".opblock .try-out__btn").await;
        let body = browser.find(".opblock textarea").await;
        body.clear().await.unwrap();
        body.send_keys(r#"{"email": "bob@example.com"}"#).await.unwrap();
        browser.click(".opblock .execute").await;
        browser.wait_for_text(".live-responses-table .response .response-col_status", "200").await;
        browser.wait_for_text(".live-responses-table", "\"OK\"").await;
        process::wait_for("the mail", || demo.get("/outbox").body.contains("bob@example.com").then_some(()));
    });
}

#[test]
fn every_page_fits_a_phone() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        process::wait_for("the mail", || demo.get("/outbox").body.contains("ann@example.com").then_some(()));
        let mail = demo.get("/outbox/1").body;
        let (_, link) = mail.split_once("#token=").unwrap();
        let reset = format!("/reset-password#token={}", link.split('"').next().unwrap());
        let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        browser.devtools("Emulation.setDeviceMetricsOverride", phone);
        for path in ["/", "/forgot-password", "/login", "/outbox", "/missing", &reset] {
            browser.open(&format!("{}{path}", demo.site)).await;
            if path.starts_with("/reset") {
                browser.find("#form:not([hidden])").await;
            }
            let width = browser.run("return [innerWidth, document.documentElement.scrollWidth]").await;
            assert_eq!(width, json!([360, 360]), "{path}: nothing sticks out");
            // Whatever is tapped is large enough for a finger (WCAG 2.2, 2.5.8), and every field has its name.
            let small = "return [...document.querySelectorAll('button, input, nav a, summary')]
                .filter((one) => one.getClientRects().length > 0 && one.getBoundingClientRect().height < 24)
                .map((one) => one.outerHTML)";
            assert_eq!(browser.run(small).await, json!([]), "{path}");
            let nameless = "return [...document.querySelectorAll('input')]
                .filter((one) => one.labels.length !== 1 || !one.autocomplete).map((one) => one.outerHTML)";
            assert_eq!(browser.run(nameless).await, json!([]), "{path}");
        }
    });
}
