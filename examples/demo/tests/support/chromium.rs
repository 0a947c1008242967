//! Headless Chromium, driven by chromedriver.
//!
//! The tests are skipped with a message if one of them is not installed. With `REQUIRE_SERVICES=1` they fail instead.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};

use crate::process::{Directory, STEP_TIMEOUT, send};

/// A chromedriver process and the profile directory of its browser. Both are removed on drop.
pub(crate) struct Driver {
    child: Child,
    address: SocketAddr,
    profile: Directory,
}

impl Driver {
    /// Starts chromedriver, or returns `None` if it or the browser is not installed.
    pub(crate) fn start() -> Option<Self> {
        let installed =
            |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
        if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|program| !installed(program)) {
            let required = std::env::var_os("REQUIRE_SERVICES").is_some_and(|value| value == "1");
            assert!(!required, "{missing} is not installed, and REQUIRE_SERVICES=1 requests for it");
            // Written to standard error directly, because the test harness hides the output of passed tests.
            static REPORTED: Once = Once::new();
            REPORTED.call_once(|| drop(writeln!(io::stderr(), "skipped: browser tests, {missing} is not installed")));
            return None;
        }
        let mut command = Command::new("chromedriver");
        let command = command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("chromedriver starts");
        let mut output = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
        let mut driver = Self { child, address: ([127, 0, 0, 1], 0).into(), profile: Directory::new() };
        let port = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        driver.address.set_port(port.expect("chromedriver prints its port"));
        // A full pipe would block chromedriver.
        std::thread::spawn(move || output.for_each(drop));
        Some(driver)
    }

    pub(crate) async fn browser(&self) -> Browser {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let options = json!({
            "goog:chromeOptions": {
                "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--window-size=1000,900", profile,
                ],
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = options else { unreachable!("the literal is an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://{}", self.address)).await;
        let client = client.expect("the browser starts");
        let session = client.session_id().await.unwrap().expect("the browser has a session");
        Browser { client, driver: self.address, session }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A regular shutdown closes the browsers too, even that of a test that panicked.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = write!(stream, "GET /shutdown HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser. Its methods wait for a visible state instead of sleeping.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: SocketAddr,
    session: String,
}

impl Browser {
    pub(crate) async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(STEP_TIMEOUT).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Replaces the content of a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Waits until a script returns a value other than null and false. The page may change in the meantime.
    pub(crate) async fn wait_for(&self, what: &str, script: &str) -> Value {
        let look = async {
            loop {
                match self.client.execute(script, vec![]).await {
                    Ok(Value::Null | Value::Bool(false)) | Err(_) => tokio::task::yield_now().await,
                    Ok(found) => return found,
                }
            }
        };
        match tokio::time::timeout(STEP_TIMEOUT, look).await {
            Ok(found) => found,
            Err(_) => panic!("timeout while waiting for {what}; the page: {}", self.client.source().await.unwrap()),
        }
    }

    /// Waits until an element contains this text.
    pub(crate) async fn wait_for_text(&self, css: &str, text: &str) {
        let script = format!("return document.querySelector({css:?})?.innerText.includes({text:?})");
        self.wait_for(&format!("{text:?} in {css}"), &script).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// Sends a command that fantoccini does not support.
    fn command(&self, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        let response = send(self.driver, "POST", &path, &["Content-Type: application/json"], &body.to_string());
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["value"].take()
    }

    pub(crate) fn devtools(&self, command: &str, params: Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// Returns the log entries since the last call: `browser` is the console, `performance` lists the network requests.
    pub(crate) fn log(&self, kind: &str) -> Vec<Map<String, Value>> {
        let entries = self.command("se/log", &json!({ "type": kind }));
        entries.as_array().expect("a list").iter().map(|entry| entry.as_object().expect("an entry").clone()).collect()
    }

    /// Fails if the console has an error, a request went to another host, or the URL of a request has a token. URLs that begin
    /// with `link` may have one.
    pub(crate) fn assert_clean(&self, site: &str, link: Option<&str>) {
        for entry in self.log("browser") {
            let (level, source) = (entry["level"].as_str().unwrap(), entry["source"].as_str().unwrap());
            let message = entry["message"].as_str().unwrap();
            // The console also lists the error responses that tests provoke.
            let expected = source == "network" && ["/api/", "/missing "].iter().any(|path| message.contains(path));
            assert!(level == "DEBUG" || expected, "console: {entry:?}");
        }
        let mut requests = 0;
        for entry in self.log("performance") {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if event["message"]["method"] == "Network.requestWillBeSent" {
                let request = &event["message"]["params"]["request"];
                let url = request["url"].as_str().unwrap();
                // The initial page of the browser, and pictures in a page.
                let own = ["data:", "chrome:"].iter().any(|scheme| url.starts_with(scheme));
                assert!(own || url.starts_with(site), "a request to another host: {url}");
                // `url` excludes the fragment, which is in `urlFragment` and may have a token.
                let is_link = link.is_some_and(|link| url.starts_with(link));
                // A data URL is not sent to a server, and the base64 of a picture may contain the prefix of a token.
                assert!(own || is_link || !url.contains("eyJ"), "a token in a request: {url}");
                requests += u32::from(!own);
            }
        }
        assert!(requests > 0, "the log has requests");
    }
}
