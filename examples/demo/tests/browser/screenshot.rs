//! Makes the picture in the README, `examples/demo/screenshot.png`:
//! `cargo test --workspace --all-features --test browser screenshot -- --ignored`.

use std::fs;

use mail_parser::decoders::base64::base64_decode;
use serde_json::json;

use crate::chromium::Browser;
use crate::{follow_link, in_browser};

/// Maximum size of the picture, in bytes.
const MAX_SIZE: usize = 300 * 1024;

/// Returns a PNG of the window in base64.
fn capture(browser: &Browser) -> String {
    let picture = browser.devtools("Page.captureScreenshot", json!({ "format": "png" }));
    picture["data"].as_str().unwrap().to_owned()
}

fn resize(browser: &Browser, width: u32, height: u32) {
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics);
}

#[test]
#[ignore = "writes a file of the repository, if SCREENSHOT=1"]
fn screenshot() {
    // Not with the other ignored tests, which are long versions.
    if std::env::var_os("SCREENSHOT").is_none_or(|value| value != "1") {
        println!("skipped: SCREENSHOT=1 writes the picture");
        return;
    }
    in_browser(|browser, demo| async move {
        browser.devtools("Emulation.setScrollbarsHidden", json!({ "hidden": true }));
        resize(&browser, 420, 450);
        browser.open(&format!("{}/forgot-password", demo.site)).await;
        let forgot = capture(&browser);
        follow_link(&browser, &demo, "ann@example.com").await;
        browser.fill("#password", "12345678").await;
        browser.click("#form button[type=submit]").await;
        browser.wait_for_text("#password-errors", "digit").await;
        let reset = capture(&browser);
        resize(&browser, 680, 916);
        browser.open(&format!("{}/docs", demo.site)).await;
        browser.wait_for("the operations", "return document.querySelectorAll('.opblock').length === 3").await;
        browser.click(".opblock .opblock-summary-control").await;
        browser.wait_for("the body", "return document.querySelector('.opblock-body') !== null").await;
        let docs = capture(&browser);
        // A page of the browser puts the pictures side by side.
        let image = |data: &str| format!("<img style='display:block' src='data:image/png;base64,{data}'>");
        let page = format!(
            "<body style='margin:0;padding:16px;background:#8795ab;display:flex;gap:16px'>\
             <div style='display:grid;gap:16px'>{}{}</div>{}",
            image(&forgot),
            image(&reset),
            image(&docs)
        );
        browser.open("about:blank").await;
        let frame = browser.devtools("Page.getFrameTree", json!({}));
        let id = &frame["frameTree"]["frame"]["id"];
        browser.devtools("Page.setDocumentContent", json!({ "frameId": id, "html": page }));
        resize(&browser, 1148, 948);
        browser.wait_for("the images", "return [...document.images].every((image) => image.complete)").await;
        let png = base64_decode(capture(&browser).as_bytes()).unwrap();
        assert!(png.len() <= MAX_SIZE, "{} bytes", png.len());
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/screenshot.png"), png).unwrap();
    });
}
