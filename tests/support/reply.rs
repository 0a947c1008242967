//! HTTP responses, and assertions about them.

/// Headers that belong to the connection and not to the response.
const OF_THE_CONNECTION: [&str; 4] = ["date", "content-length", "connection", "transfer-encoding"];

/// A response without the headers of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case, in alphabetical order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn new(status: u16, headers: impl Iterator<Item = (String, String)>, body: Vec<u8>) -> Self {
        let mut headers: Vec<_> = headers.filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str())).collect();
        headers.sort();
        Self { status, headers, body: String::from_utf8(body).expect("every body is text") }
    }

    /// Returns the values of a header. The name is in lower case.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("every body is JSON")
    }

    #[track_caller]
    pub fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }

    #[track_caller]
    pub fn is_ok(&self) {
        self.is(200, r#"{"status":"OK"}"#);
    }

    /// Asserts 400 with at least one sentence under each of these names, and no other name.
    #[track_caller]
    pub fn is_faulty(&self, fields: &[&str]) {
        let body = self.json();
        let sentences = body.as_object().expect("an object");
        assert_eq!(self.status, 400, "{body}");
        let mut expected = fields.to_vec();
        expected.sort_unstable();
        assert_eq!(sentences.keys().collect::<Vec<_>>(), expected, "{body}");
        for list in sentences.values() {
            let list = list.as_array().expect("a list");
            assert!(!list.is_empty() && list.iter().all(|text| text.as_str().is_some_and(|text| text.ends_with('.'))));
        }
    }

    /// Asserts the response to every bad token.
    #[track_caller]
    pub fn is_bad_token(&self) {
        self.is(
            404,
            r#"{"detail":"This reset token is invalid or has expired. Request a new one.","code":"invalid_token"}"#,
        );
    }

    #[track_caller]
    pub fn is_parse_error(&self) {
        self.is(400, r#"{"detail":"The request body could not be parsed.","code":"parse_error"}"#);
    }

    /// Asserts `{"detail": ".."}` with this status.
    #[track_caller]
    pub fn is_refused(&self, status: u16) {
        let body = self.json();
        assert_eq!(self.status, status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|text| text.ends_with('.')), "{body}");
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    }

    /// Asserts 503 with its only text and a `Retry-After`.
    #[track_caller]
    pub fn is_unavailable(&self) {
        self.is(503, r#"{"detail":"The service is temporarily unavailable. Try again in a moment."}"#);
        let [after] = self.header("retry-after")[..] else { panic!("one Retry-After: {self:?}") };
        assert!((1..=5).contains(&after.parse::<u64>().expect("whole seconds")), "{after}");
    }
}

/// Converts a response of poem.
pub async fn reply_of(response: poem::Response, method: &str) -> Reply {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    let body = match method {
        // A server sends no body for HEAD.
        "HEAD" => Vec::new(),
        _ => body.into_vec().await.unwrap(),
    };
    Reply::new(parts.status.as_u16(), headers, body)
}
