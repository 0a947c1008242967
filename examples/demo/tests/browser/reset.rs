//! The reset, from the forgotten password to the sign-in.

use fantoccini::key::Key;
use serde_json::json;

use crate::process::{self, PASSWORD};
use crate::token::assert_hidden;
use crate::{NEW_PASSWORD, follow_link, in_browser, mailed_token, sign_in};

#[test]
fn forgotten_password_is_reset_by_mail_and_signs_in() {
    in_browser(|browser, demo| async move {
        follow_link(&browser, &demo, "ann@example.com").await;
        let address = browser.client.current_url().await.unwrap();
        assert_eq!(
            address.as_str(),
            format!("{}/reset-password", demo.site),
            "the address bar does not show the token"
        );

        // A weak password: the server's errors are shown below the field, and the field has the focus.
        browser.fill("#password", "12345678").await;
        browser.find("#password").await.send_keys(&Key::Enter.to_string()).await.unwrap();
        browser.wait_for_text("#password-errors", "digit").await;
        let errors = browser.run("return document.querySelectorAll('#password-errors li').length").await;
        assert!(errors.as_u64() > Some(1), "all failed rules are shown: {errors}");
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
        browser.wait_for_text("#message.good", "You are signed in").await;
        sign_in(&browser, &demo, PASSWORD).await;
        browser.wait_for_text("#message.bad", "wrong").await;

        browser.open(&format!("{}/outbox", demo.site)).await;
        browser.wait_for_text(".mail h2", "Your password was changed").await;

        // The used link again, from the mail below the notice.
        browser.click(".mail:last-of-type pre a").await;
        browser.wait_for_text("#message.bad", "has expired or was already used").await;
        assert_eq!(browser.run("return form.hidden").await, json!(true));
        browser.click("#message a").await;
        browser.find("form[action='/api/password_reset/']").await;
    });
}

#[test]
fn link_that_is_used_elsewhere_while_its_page_is_open_is_reported_dead() {
    in_browser(|browser, demo| async move {
        follow_link(&browser, &demo, "ann@example.com").await;
        let mail = demo.get("/outbox/1").body;
        let (_, link) = mail.split_once("#token=").unwrap();
        let token = link.split('"').next().unwrap();
        assert_eq!(demo.confirm(token, NEW_PASSWORD).status, 200);
        browser.fill("#password", "another four words here").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.bad", "has expired or was already used").await;
        assert_eq!(browser.run("return form.hidden").await, json!(true));

        // A new link in the same tab differs from the old one in its fragment only, so the browser does not load the page again.
        demo.request("ann@example.com");
        let mail =
            process::wait_for("the mail", || Some(demo.get("/outbox/3")).filter(|response| response.status == 200));
        let (_, link) = mail.body.split_once("#token=").unwrap();
        browser.open(&format!("{}/reset-password#token={}", demo.site, link.split('"').next().unwrap())).await;
        browser.find("#form:not([hidden])").await;

        browser.open(&format!("{}/login", demo.site)).await;
        browser.open(&format!("{}/reset-password", demo.site)).await;
        browser.wait_for_text("#message", "needs the link from your email").await;
    });
}

#[test]
fn reset_page_without_token_accepts_a_pasted_link() {
    in_browser(|browser, demo| async move {
        demo.request("ann@example.com");
        let token = mailed_token(&demo, 1);
        let open = async || {
            browser.open(&format!("{}/login", demo.site)).await;
            browser.open(&format!("{}/reset-password", demo.site)).await;
            browser.wait_for_text("#message", "or paste it below.").await;
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

        // A rejected password stays in its field.
        browser.fill("#password", "12345678").await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#password-errors", "digit").await;
        assert_eq!(browser.run("return password.value").await, "12345678");
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.good", "Your password was changed").await;

        // A used link gets another message than text without a link.
        open().await;
        browser.fill("#link", &token).await;
        browser.click("#paste button[type=submit]").await;
        browser.wait_for_text("#message.bad", "has expired or was already used").await;
        assert_eq!(browser.run("return [history.state, form.hidden]").await, json!([null, true]));
    });
}

#[test]
fn lost_response_to_a_confirmation_offers_to_sign_in() {
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
        browser.wait_for_text("#message.bad", "We did not receive an answer").await;
        browser.find("#message a[href='/login']").await;
        assert_eq!(browser.run("return [form.hidden, password.value]").await, json!([false, NEW_PASSWORD]));
        network(false);

        // The server has received the confirmation, and the user submits again. A reload keeps the uncertainty.
        browser.client.refresh().await.unwrap();
        browser.find("#form:not([hidden])").await;
        assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
        browser.fill("#password", NEW_PASSWORD).await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#message.bad", "may already have been changed").await;
        browser.find("#message a[href='/login']").await;

        // A page that has sent nothing does not mention it.
        browser.open(&format!("{}/reset-password#token={token}", demo.site)).await;
        browser.wait_for_text("#message.bad", "Request a new one").await;
    });
}
