//! HTTP requests to the endpoints, in each encoding.

/// Where the endpoints are mounted.
pub const MOUNT: &str = "/api/password_reset";

pub const JSON: &str = "application/json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Request,
    Validate,
    Confirm,
}

impl Operation {
    pub const ALL: [Self; 3] = [Self::Request, Self::Validate, Self::Confirm];

    /// Returns the path below the mount point, as in the OpenAPI document.
    pub fn path(self) -> &'static str {
        match self {
            Self::Request => "/",
            Self::Validate => "/validate_token",
            Self::Confirm => "/confirm",
        }
    }

    /// Returns the URL without and with the trailing slash.
    pub fn urls(self) -> [String; 2] {
        let bare = format!("{MOUNT}{}", self.path().trim_end_matches('/'));
        [bare.clone(), bare + "/"]
    }

    pub fn url(self) -> String {
        self.urls()[1].clone()
    }

    /// Returns the operation at a path, with or without extra slashes.
    pub fn at(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        let below = path.strip_prefix(MOUNT)?.trim_matches('/');
        Self::ALL.into_iter().find(|operation| operation.path().trim_matches('/') == below)
    }
}

/// The three encodings of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    UrlEncoded,
    Multipart,
}

impl Encoding {
    pub const ALL: [Self; 3] = [Self::Json, Self::UrlEncoded, Self::Multipart];

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::UrlEncoded => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data; boundary=between-the-fields",
        }
    }

    /// Encodes the fields in this order, including repeated names.
    pub fn encode(self, fields: &[(&str, &str)]) -> Vec<u8> {
        let each = |write: fn(&str, &str) -> String| fields.iter().map(|(name, text)| write(name, text)).collect();
        match self {
            Self::Json => {
                let members: Vec<String> =
                    each(|name, text| format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(text)));
                format!("{{{}}}", members.join(",")).into_bytes()
            }
            Self::UrlEncoded => {
                let pairs: Vec<String> = each(|name, text| format!("{}={}", percent(name), percent(text)));
                pairs.join("&").into_bytes()
            }
            Self::Multipart => {
                let mut parts: Vec<String> = each(|name, text| {
                    format!("--between-the-fields\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
                });
                parts.push("--between-the-fields--\r\n".to_owned());
                parts.concat().into_bytes()
            }
        }
    }
}

fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub chunked: bool,
}

impl HttpRequest {
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self { method: method.to_owned(), url: url.into(), headers: Vec::new(), body: Vec::new(), chunked: false }
    }

    pub fn post(operation: Operation) -> Self {
        Self::new("POST", operation.url())
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.untyped_body(body).header("Content-Type", content_type)
    }

    /// Sets a body without a `Content-Type`.
    #[must_use]
    pub fn untyped_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body(JSON, body)
    }

    #[must_use]
    pub fn fields(self, encoding: Encoding, fields: &[(&str, &str)]) -> Self {
        self.body(encoding.content_type(), encoding.encode(fields))
    }

    /// Sends the body in chunks, without a `Content-Length`.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Returns the request as it is sent over a socket.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: app.example.com\r\n", self.method, self.url);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = match (self.chunked, self.body.as_slice()) {
            (true, body) => {
                head += "Transfer-Encoding: chunked\r\n";
                body.chunks(1000).flat_map(Self::chunk).chain(*b"0\r\n\r\n").collect()
            }
            (false, body) => {
                head += &format!("Content-Length: {}\r\n", body.len());
                body.to_vec()
            }
        };
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    /// Encodes one chunk of a chunked body.
    pub fn chunk(bytes: &[u8]) -> Vec<u8> {
        [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
    }
}
