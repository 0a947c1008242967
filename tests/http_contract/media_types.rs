//! `Content-Type`, `Accept`, and malformed bodies.

use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::{Encoding, HttpRequest, JSON, Operation, defaults, over_both_transports};

const EMAIL: &str = r#"{"email":"ann@example.com"}"#;

#[tokio::test]
async fn three_media_types_are_accepted_with_any_parameters() {
    over_both_transports(defaults, async |world| {
        let urlencoded = "email=ann%40example.com";
        let multipart = "--b\r\nContent-Disposition: form-data; name=email\r\n\r\nann@example.com\r\n--b--";
        for (content_type, body) in [
            (JSON, EMAIL),
            ("Application/JSON", EMAIL),
            ("application/json; charset=utf-8", EMAIL),
            ("application/json;charset=UTF-8", EMAIL),
            ("application/json; charset=iso-8859-1", EMAIL),
            ("application/json; charset=\"utf-16\"; version=1", EMAIL),
            ("application/json ;", EMAIL),
            ("application/x-www-form-urlencoded", urlencoded),
            ("APPLICATION/X-WWW-FORM-URLENCODED; charset=UTF-8", urlencoded),
            ("multipart/form-data; boundary=b", multipart),
            ("Multipart/Form-Data; charset=utf-8; boundary=\"b\"", multipart),
        ] {
            world.send(&HttpRequest::post(Request).body(content_type, body)).await.is_ok();
            world.send(&HttpRequest::post(Request).body(content_type, body).chunked()).await.is_ok();
        }
    })
    .await;
}

#[tokio::test]
async fn other_media_types_return_415() {
    over_both_transports(defaults, async |world| {
        for operation in Operation::ALL {
            for content_type in [
                "text/plain",
                "text/json",
                "application/vnd.api+json",
                "application/problem+json",
                "application/ld+json",
                "application/json+xml",
                "application/jsonl",
                "application/json, text/plain",
                "application/xml",
                "application/octet-stream",
                "multipart/mixed; boundary=b",
                "json",
                "*/*",
                "",
                ";",
            ] {
                for body in [EMAIL, "{}", " ", "\0"] {
                    let request = HttpRequest::new("POST", operation.url()).body(content_type, body);
                    world.send(&request).await.is_refused(415);
                    world.send(&request.chunked()).await.is_refused(415);
                }
            }
            let without_type = HttpRequest::post(operation).untyped_body(EMAIL);
            world.send(&without_type).await.is_refused(415);
            world.send(&without_type.chunked()).await.is_refused(415);
        }
        assert_eq!(world.reset.ledger().accepted, 0);
    })
    .await;
}

#[tokio::test]
async fn empty_body_of_any_media_type_counts_as_empty_object() {
    over_both_transports(defaults, async |world| {
        for (operation, names) in [(Request, &["email"][..]), (Validate, &["token"]), (Confirm, &["token", "password"])]
        {
            let empty_object = world.post_json(operation, "{}").await;
            empty_object.is_faulty(names);
            for content_type in [
                JSON,
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=b",
                "multipart/form-data",
                "text/plain",
                "application/vnd.api+json",
                "",
            ] {
                for request in [
                    HttpRequest::post(operation).body(content_type, ""),
                    HttpRequest::post(operation).body(content_type, "").chunked(),
                ] {
                    assert_eq!(world.send(&request).await, empty_object, "{content_type}");
                }
            }
            assert_eq!(world.send(&HttpRequest::post(operation)).await, empty_object);
            assert_eq!(world.send(&HttpRequest::post(operation).chunked()).await, empty_object);
        }
    })
    .await;
}

#[tokio::test]
async fn accept_header_that_excludes_json_returns_406() {
    over_both_transports(defaults, async |world| {
        for accept in ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", "application/json;q=0.5", ""]
        {
            world.send(&HttpRequest::post(Request).json(EMAIL).header("Accept", accept)).await.is_ok();
        }
        for accept in [
            "application/xml",
            "text/html",
            "text/html, application/xml;q=0.9",
            "application/json;q=0",
            "*/*;q=0",
            "application/vnd.api+json",
        ] {
            for operation in Operation::ALL {
                for encoding in Encoding::ALL {
                    let request = HttpRequest::post(operation).fields(encoding, &[("email", "ann@example.com")]);
                    world.send(&request.header("Accept", accept)).await.is_refused(406);
                }
            }
        }
        // Several lines are one list (RFC 9110, section 5.3).
        let two_lines = HttpRequest::post(Request).json(EMAIL).header("Accept", "text/html");
        world.send(&two_lines.header("Accept", "application/json")).await.is_ok();
    })
    .await;
}

#[tokio::test]
async fn malformed_bodies_return_400() {
    let deep = "[".repeat(16_000);
    let half = r#"{"email":"ann@example.com""#;
    over_both_transports(defaults, async |world| {
        for operation in Operation::ALL {
            for body in [
                " ",
                "\r\n\t ",
                "{",
                "{\"email\"",
                half,
                "{'email':'a'}",
                "{email:1}",
                "{\"a\":1,}",
                "{} {}",
                "{}x",
                "nul",
                "NaN",
                "Infinity",
                "01",
                "\"a\nb\"",
                "\u{feff}{}",
                "email=ann@example.com",
                "<xml/>",
                "\0",
                &deep,
            ] {
                world.post_json(operation, body).await.is_parse_error();
            }
            for body in [&b"{\"email\":\"\xff\"}"[..], b"\xff\xfe{\0}\0", b"\x1f\x8b\x08\0"] {
                world.send(&HttpRequest::post(operation).json(body)).await.is_parse_error();
            }
            for (content_type, body) in [
                ("multipart/form-data; boundary=b", " "),
                ("multipart/form-data; boundary=b", "email=ann@example.com"),
                ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=email\r\n\r\nann"),
                ("multipart/form-data; boundary=b", "--b\r\n"),
                ("multipart/form-data", "--b\r\nContent-Disposition: form-data; name=email\r\n\r\nann\r\n--b--"),
                ("multipart/form-data; boundary=", "--b--"),
                ("application/x-www-form-urlencoded", " "),
                ("application/x-www-form-urlencoded", "\r\n"),
            ] {
                world.send(&HttpRequest::post(operation).body(content_type, body)).await.is_parse_error();
            }
            for body in ["null", "[]", "1", "\"email\"", "true", " [{}] ", r#"[{"email":"ann@example.com"}]"#] {
                let reply = world.post_json(operation, body).await;
                reply.is(400, r#"{"non_field_errors":["The request body must be a JSON object."]}"#);
            }
        }
        assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
    })
    .await;
}
