//! The other pages, and the layout of all.

use serde_json::json;

use crate::in_browser;
use crate::process;

#[test]
fn field_errors_are_shown_below_their_fields() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/login", demo.site)).await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#email-errors", "blank").await;
        browser.wait_for_text("#password-errors", "blank").await;
        let focus = browser.run("return document.activeElement.id").await;
        assert_eq!(focus, "email", "the first field with an error has the focus");

        browser.open(&format!("{}/forgot-password", demo.site)).await;
        browser.fill("#email", "nobody").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#email-errors", "valid email address").await;
        // The error disappears with a valid address.
        browser.fill("#email", "nobody@example.com").await;
        browser.click("button[type=submit]").await;
        browser.wait_for_text("#message.good", "we have sent a link").await;
        let left = browser.run("return [email.hasAttribute('aria-invalid'), document.activeElement.id]").await;
        assert_eq!(left, json!([false, "message"]));
        assert_eq!(browser.run("return document.querySelector('#email-errors').innerText").await, "");
    });
}

#[test]
fn html_mail_is_shown_in_a_sandbox() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/outbox", demo.site)).await;
        demo.request("bob@example.com");
        // The page shows new mail without a click.
        browser.click(".mail summary").await;
        // While a mail is open, the page offers to reload instead of reloading.
        demo.request("ann@example.com");
        browser.wait_for_text("#message", "New email has arrived").await;
        browser.find("iframe").await.enter_frame().await.unwrap();
        let link = browser.find("a").await;
        let address = link.attr("href").await.unwrap().unwrap();
        assert!(address.starts_with(&format!("{}/reset-password#token=", demo.site)));
        assert_eq!(browser.run("return origin").await, "null", "the mail has an opaque origin");
        link.click().await.unwrap();
        let windows = browser.client.windows().await.unwrap();
        assert_eq!(windows.len(), 2, "the link opens a new window");
        browser.client.switch_to_window(windows[1].clone()).await.unwrap();
        browser.find("#form:not([hidden])").await;
    });
}

#[test]
fn swagger_ui_sends_a_request() {
    in_browser(|browser, demo| async move {
        browser.open(&format!("{}/docs", demo.site)).await;
        browser.wait_for("the three operations", "return document.querySelectorAll('.opblock').length === 3").await;
        // The first operation requests a reset.
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
        let phone = json!({ "width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": true });
        browser.devtools("Emulation.setDeviceMetricsOverride", phone);
        for path in ["/", "/forgot-password", "/login", "/outbox", "/diagnose", "/missing", &reset] {
            browser.open(&format!("{}{path}", demo.site)).await;
            if path.starts_with("/reset") {
                browser.find("#form:not([hidden])").await;
            }
            let width = browser.run("return [innerWidth, document.documentElement.scrollWidth]").await;
            assert_eq!(width, json!([320, 320]), "{path}: no horizontal scrolling");
            // Targets are at least 24 px high (WCAG 2.2, 2.5.8), and every field has a label.
            let small = "return [...document.querySelectorAll('button, input, nav a, summary')]
                .filter((element) => element.getClientRects().length > 0 && element.getBoundingClientRect().height < 24)
                .map((element) => element.outerHTML)";
            assert_eq!(browser.run(small).await, json!([]), "{path}");
            let unlabeled = "return [...document.querySelectorAll('input')]
                .filter((element) => element.labels.length !== 1 || !element.autocomplete).map((element) => element.outerHTML)";
            assert_eq!(browser.run(unlabeled).await, json!([]), "{path}");
        }
    });
}
