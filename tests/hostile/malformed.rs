//! Malformed bodies, listed by kind: the same response in process and over a socket, and no look-up.

use crate::ADDRESS_MODES;
use crate::http::Operation::Request;
use crate::http::{HttpRequest, JSON, Reply, over_both_transports};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

#[derive(Clone, Copy)]
enum Expected {
    ParseError,
    NotAnObject,
    InvalidEmail,
}

impl Expected {
    #[track_caller]
    fn check(self, reply: &Reply) {
        match self {
            Self::ParseError => reply.is_parse_error(),
            Self::NotAnObject => reply.is_faulty(&["non_field_errors"]),
            Self::InvalidEmail => reply.is_faulty(&["email"]),
        }
    }
}

use Expected::{InvalidEmail, NotAnObject, ParseError};

async fn check(content_type: &str, expected: Expected, bodies: &[&[u8]]) {
    for mode in ADDRESS_MODES {
        over_both_transports(mode, async |world| {
            for body in bodies {
                for chunked in [false, true] {
                    let request = HttpRequest::post(Request).body(content_type, *body);
                    let reply = world.send(&if chunked { request.chunked() } else { request }).await;
                    expected.check(&reply);
                }
            }
            assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
        })
        .await;
    }
}

#[tokio::test]
async fn malformed_json_is_rejected_without_look_up() {
    let deep = "{\"email\":".repeat(1_500);
    let lists = "[".repeat(16_000);
    check(
        JSON,
        ParseError,
        &[
            // No value, or several.
            b" ",
            b"\n\t\r ",
            b"\0",
            b",",
            b":",
            b"{}{}",
            b"{},",
            b"{}{\"email\":\"ann@example.com\"}",
            b"{\"email\":\"ann@example.com\"}x",
            b"[]]",
            b"nul",
            b"truefalse",
            // Punctuation.
            b"{",
            b"}",
            b"{\"",
            b"{\"email",
            b"{\"email\"",
            b"{\"email\":",
            b"{\"email\":}",
            b"{\"email\":\"ann@example.com\"",
            b"{\"email\":\"ann@example.com\",}",
            b"{,\"email\":\"a\"}",
            b"{\"email\":\"a\",,\"b\":1}",
            b"{\"email\" \"a\"}",
            b"{\"email\"::\"a\"}",
            b"{\"email\":\"a\" \"b\":1}",
            b"{\"email\":\"a\";\"b\":1}",
            b"{\"email\"=\"a\"}",
            b"{\"email\",\"a\"}",
            b"{\"email\"}",
            b"[\"email\":1]",
            b"{\"a\":[1,]}",
            b"{\"a\":[,1]}",
            b"{\"a\":[1}",
            b"{\"a\":{]}",
            // Names and texts.
            b"{email:\"ann@example.com\"}",
            b"{'email':'ann@example.com'}",
            b"{1:\"a\"}",
            b"{null:1}",
            b"{\"email\":ann@example.com}",
            b"{\"email\":'a'}",
            b"{\"email\":\"a\nb\"}",
            b"{\"email\":\"a\0b\"}",
            b"{\"email\":\"a\tb\"}",
            b"{\"email\":\"\\x41\"}",
            b"{\"email\":\"\\u12\"}",
            b"{\"email\":\"\\u{41}\"}",
            b"{\"email\":\"\\'\"}",
            b"{\"email\":\"\\",
            b"{\"a\\ud800\":1}",
            "{\u{201c}email\u{201d}:1}".as_bytes(),
            // Numbers and words.
            b"{\"email\":01}",
            b"{\"email\":+1}",
            b"{\"email\":.5}",
            b"{\"email\":5.}",
            b"{\"email\":1e}",
            b"{\"email\":--1}",
            b"{\"email\":0x10}",
            b"{\"email\":1_000}",
            b"{\"email\":NaN}",
            b"{\"email\":Infinity}",
            b"{\"email\":-Infinity}",
            b"{\"email\":True}",
            b"{\"email\":NULL}",
            b"{\"email\":undefined}",
            b"{\"email\":1 000}",
            // Syntax of other languages.
            b"/* a */{}",
            b"{}//",
            b"# a\n{}",
            b"{\"email\":\"a\"}/**/",
            b"email: ann@example.com",
            b"<email>ann@example.com</email>",
            b"email=ann@example.com",
            b")]}',\n{}",
            b"{\"email\":`a`}",
            b"{\"email\":b\"a\"}",
            b"({})",
            // Encodings.
            b"\xef\xbb\xbf{\"email\":\"ann@example.com\"}",
            b"{\0\"\0e\0m\0a\0i\0l\0\"\0:\0\"\0a\0\"\0}\0",
            b"\xff\xfe{\0}\0",
            b"\0{\0}",
            b"\xfe\xff\0{\0}",
            b"{\"email\":\"\xff\"}",
            b"{\"email\":\"\xc0\x80\"}",
            b"{\"email\":\"\xed\xa0\x80\"}",
            b"{\"email\":\"\xe2\x82\"}",
            b"{\"\xff\":1}",
            b"{\"a\":\"\xf4\x90\x80\x80\"}",
            b"{}\xff",
            b"\xa0{}",
            // Deep nesting without an end.
            deep.as_bytes(),
            lists.as_bytes(),
        ],
    )
    .await;
    let closed = "[".repeat(8_000) + &"]".repeat(8_000);
    check(
        JSON,
        NotAnObject,
        &[
            b"null",
            b"true",
            b"false",
            b"0",
            b"-0.0e-0",
            b"1e400",
            b"\"\"",
            b"\"ann@example.com\"",
            b"\"\\ud800\"",
            b"[]",
            b"[{}]",
            b" [\"email\",\"ann@example.com\"] ",
            b"[{\"email\":\"ann@example.com\"}]",
            closed.as_bytes(),
        ],
    )
    .await;
    let nested = format!("{{\"email\":{closed}}}").replacen("[[", "[", 500).replacen("]]", "]", 500);
    check(
        JSON,
        InvalidEmail,
        &[
            b"{}",
            b"{ }",
            b"{\"\":\"ann@example.com\"}",
            b"{\"Email\":\"ann@example.com\"}",
            b"{\"email\\u0000\":\"ann@example.com\"}",
            b"{\"email\":null}",
            b"{\"email\":true}",
            b"{\"email\":0}",
            b"{\"email\":1e400}",
            b"{\"email\":[]}",
            b"{\"email\":[\"ann@example.com\"]}",
            b"{\"email\":[\"ann@example.com\",\"bob@example.com\"]}",
            b"{\"email\":{\"email\":\"ann@example.com\"}}",
            b"{\"email\":{\"$ne\":null}}",
            b"{\"email\":\"\"}",
            b"{\"email\":\"\\u0000\"}",
            b"{\"email\":\"ann@example.com\\u0000\"}",
            b"{\"email\":\"ann@example.com\\u000d\\u000aBcc: b@c.de\"}",
            b"{\"email\":\"ann\\ud800@example.com\"}",
            b"{\"email\":\"ann\\udc00\\ud800@example.com\"}",
            b"{\"email\":\"\\ud83d\\udca9\"}",
            b"{\"email\":\"ann@example.com\",\"email\":null}",
            b"{\"email\":\"ann@example.com\",\"\\u0065mail\":[]}",
            nested.as_bytes(),
        ],
    )
    .await;
}

/// Almost any text is a well-formed urlencoded body, so most of these fail as addresses.
#[tokio::test]
async fn malformed_urlencoded_is_rejected_without_look_up() {
    let many = "a=&".repeat(5_000);
    let names = "email[".repeat(2_000) + "=ann@example.com";
    check(URLENCODED, ParseError, &[b" ", b"\r\n", b"\t \n"]).await;
    check(
        URLENCODED,
        InvalidEmail,
        &[
            b"&",
            b"&&&",
            b"=",
            b"==",
            b"&=&",
            b"a",
            b"email",
            b"email=",
            b"email=&",
            b"=ann@example.com",
            b"Email=ann@example.com",
            b"email%00=ann@example.com",
            b"email[]=ann@example.com",
            b"email%5B0%5D=ann@example.com",
            b"email.x=ann@example.com",
            b"email%3Dann@example.com",
            b"email=ann@example.com;email=bob@example.com",
            b"email=ann%40example.com%00",
            b"email=ann%2540example.com",
            b"email=ann%40example.com%0d%0aBcc:bob@example.com",
            b"email=%FFann@example.com",
            b"email=%c0%80ann@example.com",
            b"email=%ED%A0%80@example.com",
            b"email=\xffann@example.com",
            b"email=ann@example.com\0",
            b"email=%zzann",
            b"email=%",
            b"email=%4",
            b"email=ann+bob@example.com+",
            b"email=ann@example.com&email=",
            b"email=ann@example.com&email=%00",
            b"email=ann@example.com&email",
            b"\xff=1&email",
            b"{\"email\":\"ann@example.com\"}",
            b"--b\r\nemail: ann@example.com\r\n--b--",
            b"\xef\xbb\xbfemail=ann@example.com",
            b"e\0m\0a\0i\0l\0=\0a\0",
            b"e%6Dail=bob",
            b"&amp;email=ann@example.com",
            b"#email=ann@example.com",
            b"?email=ann@example.com",
            many.as_bytes(),
            names.as_bytes(),
        ],
    )
    .await;
}

#[tokio::test]
async fn malformed_multipart_is_rejected_without_look_up() {
    /// Returns a complete body with one part.
    fn with(headers: &str, value: &str) -> Vec<u8> {
        format!("--b\r\n{headers}\r\n\r\n{value}\r\n--b--\r\n").into_bytes()
    }
    const EMAIL: &str = "Content-Disposition: form-data; name=\"email\"";

    let cut = [
        "--b",
        "--b\r\n",
        "--b\r\nContent-Disposition",
        "--b\r\nContent-Disposition: form-data; name=\"email\"",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nann@example.com",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nann@example.com\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nann@example.com\r\n--b",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nann@example.com\r\n--b-",
        "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nann@example.com\r\n--c--\r\n",
        // Other line ends.
        "--b\nContent-Disposition: form-data; name=\"email\"\n\nann@example.com\n--b--\n",
        "--b\rContent-Disposition: form-data; name=\"email\"\r\rann@example.com\r--b--\r",
        "",
        " ",
        "\r\n",
        "{\"email\":\"ann@example.com\"}",
        "email=ann@example.com",
        "b--",
        "-b\r\n",
    ];
    let cut: Vec<&[u8]> = cut.iter().filter(|body| !body.is_empty()).map(|body| body.as_bytes()).collect();
    check(MULTIPART, ParseError, &cut).await;

    let parts: Vec<Vec<u8>> = [
        ("", "ann@example.com"),
        ("X: y", "ann@example.com"),
        ("Content-Disposition: form-data", "ann@example.com"),
        ("Content-Disposition: form-data; filename=\"email\"", "ann@example.com"),
        ("Content-Disposition: form-data; name=\"\"", "ann@example.com"),
        ("Content-Disposition: form-data; name=\"Email\"", "ann@example.com"),
        ("Content-Disposition: form-data; name=\"email[]\"", "ann@example.com"),
        ("Content-Disposition: form-data; name=\"email\"; filename=\"a.txt\"", "ann@example.com"),
        ("Content-Disposition: form-data; name=\"email\"; filename=\"\"", "ann@example.com"),
        (EMAIL, ""),
        (EMAIL, " \r\n "),
        (EMAIL, "ann@example.com\0"),
        (EMAIL, "ann@example.com\r\nBcc: bob@example.com"),
        (EMAIL, "ann@example.com\r\n--c\r\n"),
        (EMAIL, "ann@example.com\r\n--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n"),
        (&format!("{EMAIL}\r\nContent-Transfer-Encoding: base64"), "YW5uQGV4YW1wbGUuY29t"),
        (&format!("{EMAIL}\r\nContent-Transfer-Encoding: quoted-printable"), "ann=40example.com"),
        (&format!("{EMAIL}\r\nContent-Type: application/json"), "\"ann@example.com\""),
    ]
    .iter()
    .map(|(headers, value)| with(headers, value))
    .chain([
        b"--b--\r\n".to_vec(),
        b"--b--".to_vec(),
        [b"--b\r\n", EMAIL.as_bytes(), b"\r\n\r\nann\xff@example.com\r\n--b--\r\n"].concat(),
        // UTF-16 without a charset parameter.
        [b"--b\r\n", EMAIL.as_bytes(), b"\r\n\r\na\0n\0n\0@\0\r\n--b--\r\n"].concat(),
    ])
    .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    check(MULTIPART, InvalidEmail, &parts).await;

    let whole = with(EMAIL, "ann@example.com");
    for boundary in ["", ";", "; boundary", "; boundary=", "; boundary=c", "; boundary=\"", "; boundary=\"\"", "; x=b"]
    {
        check(&format!("multipart/form-data{boundary}"), ParseError, &[whole.as_slice()]).await;
    }
}
