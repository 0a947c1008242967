//! Storage of the token in the browser: only in the history entry of its page.

use serde_json::{Value, json};

use crate::chromium::Browser;
use crate::process::{Demo, PASSWORD};
use crate::{NEW_PASSWORD, in_browser, in_browser_with, mailed_token, sign_in};

/// Fails if the token is in the address bar, the referrer, cookies, storage or links.
pub(crate) async fn assert_hidden(browser: &Browser, demo: &Demo) {
    let exposed =
        "return [location.href, document.referrer, document.cookie, localStorage.length, sessionStorage.length,
        [...document.links].some((link) => link.href.includes('eyJ'))]";
    let expected = json!([format!("{}/reset-password", demo.site), "", "", 0, 0, false]);
    assert_eq!(browser.run(exposed).await, expected);
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

        // Another tab does not have the token.
        let tab = browser.client.window().await.unwrap();
        let other = browser.client.new_window(true).await.unwrap().handle;
        browser.client.switch_to_window(other).await.unwrap();
        browser.open(&format!("{}/reset-password", demo.site)).await;
        browser.wait_for_text("#message", "needs the link from your email").await;
        browser.client.close_window().await.unwrap();
        browser.client.switch_to_window(tab).await.unwrap();

        // To another page through a link, then back.
        browser.click("nav a[href='/forgot-password']").await;
        browser.find("#email").await;
        assert_eq!(browser.run("return document.referrer").await, "", "the next page gets no referrer");
        browser.client.back().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // Back to the previous page, then forward.
        browser.client.back().await.unwrap();
        browser.find("form[action='/api/login']").await;
        browser.client.forward().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_hidden(&browser, &demo).await;

        // A fragment without a token adds a history entry, which gets the token too.
        browser.fill("#password", NEW_PASSWORD).await;
        browser.run("document.querySelector('.skip').click()").await;
        browser.wait_for("an address without a fragment", "return location.hash === ''").await;
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
fn reset_page_uses_the_token_of_each_history_entry() {
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
        assert_eq!(demo.login("bob@example.com", PASSWORD), 200, "the token of the other entry is not used");
    });
}

/// The back/forward cache restores a page with its variables and sends no request. Headless browsers may not use the cache, so
/// the test sends the event of a restored page.
#[test]
fn reset_page_restored_from_the_cache_validates_its_token_again() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let token = mailed_token(&demo, 1);
        browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
        browser.find("#form:not([hidden])").await;
        assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
        browser.run("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))").await;
        browser.wait_for_text("#message.bad", "has expired or was already used").await;
        assert_eq!(browser.run("return [form.hidden, history.state]").await, json!([true, null]));
    });
}

/// For users whose mail scanner removes fragments. Only the request for the page contains the token.
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

        // No referrer reveals the token to the next page or to the API.
        let policy = "return fetch(location.pathname).then((response) => response.headers.get('referrer-policy'))";
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
        browser.wait_for_text("#message.good", "You are signed in").await;
    });
}
