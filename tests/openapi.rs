//! The OpenAPI document: it matches the reviewed snapshot, is complete, and describes the real responses.
//!
//! `INSTA_UPDATE=always cargo test --test openapi` updates `snapshots/openapi__document.snap`.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/http.rs"]
mod http;

use std::collections::BTreeSet;

use http::doubles::{GOOD_PASSWORD, cheap_hash};
use http::{HttpRequest, JSON, Operation, Store, World, defaults};
use poem::Body;
use poem_password_reset::PasswordResetBuilder;
use poem_password_reset::throttle::{Quota, Quotas};
use serde_json::Value;

#[tokio::test]
async fn document_matches_the_reviewed_snapshot() {
    insta::assert_snapshot!("document", World::in_process(defaults).await.document.text);
}

#[tokio::test]
async fn each_operation_documents_its_statuses_bodies_and_headers() {
    let document = World::in_process(defaults).await.document;
    let common = [200, 400, 406, 408, 413, 415, 429, 500, 503];
    let mut ids = BTreeSet::new();
    for (path, operation) in document.operations() {
        let expected: BTreeSet<u16> = common.into_iter().chain((path != "/").then_some(404)).collect();
        assert_eq!(document.statuses(path), expected.into_iter().collect::<Vec<_>>(), "{path}");

        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path} {status}");
            assert_eq!(response["content"].as_object().unwrap().keys().collect::<Vec<_>>(), [JSON], "{path} {status}");
            let retry_after = response["headers"]["Retry-After"]["required"] == true;
            assert_eq!(retry_after, ["429", "503"].contains(&status.as_str()), "{path} {status}");
        }
        let request = operation["requestBody"].as_object().unwrap();
        let media_types: Vec<&String> = request["content"].as_object().unwrap().keys().collect();
        assert_eq!(media_types, [JSON, "application/x-www-form-urlencoded", "multipart/form-data"], "{path}");
        assert_eq!(request["required"], true, "{path}");
        for text in ["summary", "description"] {
            assert!(operation[text].as_str().is_some_and(|text| !text.is_empty()), "{path}");
        }
        ids.insert(operation["operationId"].as_str().unwrap());
    }
    assert_eq!(ids, ["PasswordResetConfirm", "PasswordResetRequest", "PasswordResetValidate"].into());
}

/// The prefix prevents collisions with names in the application's own document.
#[tokio::test]
async fn schema_and_tag_names_have_the_prefix() {
    let document: Value = serde_json::from_str(&World::in_process(defaults).await.document.text).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(schemas.len(), 10);
    let tags = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap());
    for name in schemas.keys().map(String::as_str).chain(tags) {
        assert!(name.starts_with("PasswordReset"), "{name}");
    }
}

#[tokio::test]
async fn examples_match_their_schemas() {
    let world = World::in_process(defaults).await;
    let document = &world.document;
    for operation in Operation::ALL {
        let documented = document.operations()[operation.path()];
        for media_type in documented["requestBody"]["content"].as_object().unwrap().values() {
            let schema = document.resolve(&media_type["schema"]);
            let properties = schema["properties"].as_object().unwrap();
            let example: Value =
                properties.iter().map(|(name, field)| (name.clone(), field["example"].clone())).collect();
            assert_eq!(document.fault(schema, &example), None);
            let reply = world.post_json(operation, &example.to_string()).await;
            // The example of a token is not a valid token.
            if operation == Operation::Request { reply.is_ok() } else { reply.is_bad_token() }
        }
        for (status, response) in documented["responses"].as_object().unwrap() {
            let schema = &response["content"][JSON]["schema"];
            if status != "200" {
                assert_eq!(document.fault(schema, &schema["example"]), None, "{operation:?} {status}");
            }
        }
    }
}

const UNHASHABLE: &str = "purple but not hashable";

/// Requests look up the user before the response, so that a failing store affects them.
fn settings(builder: PasswordResetBuilder) -> PasswordResetBuilder {
    builder.reveal_unknown_users(true).hasher(|password: &str| match password {
        UNHASHABLE => Err("no randomness"),
        _ => Ok(cheap_hash(password).unwrap()),
    })
}

/// `World::request` also checks each response against the document.
#[tokio::test(start_paused = true)]
async fn documented_statuses_are_exactly_the_statuses_that_occur() {
    for operation in Operation::ALL {
        let mut seen = BTreeSet::new();
        for (fields, store) in [
            (good_fields as fn(&World) -> String, Store::Works),
            (|_| "{}".to_owned(), Store::Works),
            (|_| r#"{"token":"bad","password":"purple tractor hums at dawn"}"#.to_owned(), Store::Works),
            (|world| good_fields(world).replace(GOOD_PASSWORD, UNHASHABLE), Store::Works),
            (good_fields, Store::Errs),
            (good_fields, Store::Panics),
        ] {
            let world = World::in_process(settings).await;
            let request = HttpRequest::post(operation).json(fields(&world));
            world.store(store);
            seen.insert(world.send(&request).await.status);
        }
        // A rule of the application panics outside of a task.
        let world = World::in_process(|builder| settings(builder).usable_hash(|_| panic!("planned"))).await;
        let request = HttpRequest::post(operation).json(good_fields(&world));
        seen.insert(world.send(&request).await.status);

        let world = World::in_process(defaults).await;
        for request in [
            HttpRequest::post(operation).header("Accept", "application/xml"),
            HttpRequest::post(operation).body("text/plain", "{}"),
            HttpRequest::post(operation).json(vec![b' '; 20_000]),
        ] {
            seen.insert(world.send(&request).await.status);
        }
        let (stalled, _writer) = tokio::io::duplex(1);
        let request = HttpRequest::post(operation).header("Content-Type", JSON);
        seen.insert(world.send_with(&request, Body::from_async_read(stalled)).await.status);

        let throttled = World::in_process(|builder| {
            let one = Quota::per_hour(1).unwrap();
            builder.quotas(Quotas::off().request_per_client(one).validate_per_client(one).confirm_per_client(one))
        })
        .await;
        let request = HttpRequest::post(operation).json(good_fields(&throttled));
        throttled.send(&request).await;
        seen.insert(throttled.send(&request).await.status);

        assert_eq!(world.document.statuses(operation.path()), seen.into_iter().collect::<Vec<_>>(), "{operation:?}");
    }
}

/// Returns valid fields for any operation.
fn good_fields(world: &World) -> String {
    format!(r#"{{"email":"ann@example.com","token":"{}","password":"{GOOD_PASSWORD}"}}"#, world.token("1"))
}
