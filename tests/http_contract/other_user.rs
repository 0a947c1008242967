//! A token decides whose password changes. Nothing else in the request can name another user.

use std::sync::atomic::{AtomicUsize, Ordering};

use poem_password_reset::StoredUser;

use crate::http::Operation::{Confirm, Validate};
use crate::http::{Encoding, HttpRequest, Operation, World, defaults};

/// Fields that an implementation might read instead of the user in the token. All of them name Bob. An empty value stands
/// for Bob's token.
const FIELDS: [(&str, &str); 16] = [
    ("user", "2"),
    ("user_id", "2"),
    ("userId", "2"),
    ("id", "2"),
    ("uid", "2"),
    ("sub", "2"),
    ("user[id]", "2"),
    ("user", "bob@example.com"),
    ("email", "bob@example.com"),
    ("username", "bob"),
    ("token", ""),
    ("Token", ""),
    ("TOKEN", ""),
    ("token[]", ""),
    (" token", ""),
    ("reset_token", ""),
];

/// Members that only JSON can express.
const JSON_MEMBERS: [&str; 5] = [
    r#""user_id":2"#,
    r#""id":[2]"#,
    r#""user":{"id":2,"email":"bob@example.com"}"#,
    r#""claims":{"sub":"2"}"#,
    r#""__proto__":{"user_id":"2"}"#,
];

#[tokio::test]
async fn confirm_changes_only_the_user_of_the_token() {
    // Not `over_both_transports`: its journal compares headers, and tokens in headers differ between two worlds.
    for world in [World::in_process(defaults).await, World::over_a_socket(defaults).await] {
        let attack = Attack { world: &world, bobs_token: world.token("2"), others: others(&world) };
        for encoding in Encoding::ALL {
            for (name, value) in FIELDS {
                let value = if value.is_empty() { attack.bobs_token.as_str() } else { value };
                for before in [true, false] {
                    attack.with_field(encoding, (name, value), before).await;
                }
            }
            attack.with_everything_in_url_and_headers(encoding).await;
        }
        for member in JSON_MEMBERS {
            attack.with_json_member(member).await;
        }
        // Bob's token was not used up by any of this.
        world.post(Validate, &[("token", &attack.bobs_token)]).await.is_ok();
    }
}

/// The users other than Ann.
fn others(world: &World) -> Vec<StoredUser> {
    ["2", "3", "4"].map(|id| world.users.get(id).expect("one of the people")).into()
}

struct Attack<'w> {
    world: &'w World,
    bobs_token: String,
    /// The users other than Ann, as they were before the first request.
    others: Vec<StoredUser>,
}

impl Attack<'_> {
    /// Sends one more field before or after the fields of the operation.
    async fn with_field(&self, encoding: Encoding, field: (&str, &str), is_first: bool) {
        let label = format!("{encoding:?} {field:?}, first: {is_first}");
        // If a field is repeated, its last value counts. A second `token` is therefore only harmless before Ann's.
        if field.0 == "token" && !is_first {
            return;
        }
        let (token, password) = (self.world.token("1"), new_password());
        let own = [("token", token.as_str()), ("password", password.as_str())];
        let fields = if is_first { [field, own[0], own[1]] } else { [own[0], own[1], field] };
        self.only_ann_changes(&HttpRequest::post(Confirm).fields(encoding, &fields), &password, &label).await;
    }

    /// Names Bob in the query and in headers, in each place alone and in all at once.
    async fn with_everything_in_url_and_headers(&self, encoding: Encoding) {
        let bob = &self.bobs_token;
        let queries =
            [format!("token={bob}"), "user_id=2&id=2".to_owned(), format!("token={bob}&email=bob@example.com&user=2")];
        let headers = [
            ("Cookie", "user_id=2".to_owned()),
            ("Cookie", format!("token={bob}; session=2")),
            ("X-User-Id", "2".to_owned()),
            ("X-User", "bob@example.com".to_owned()),
            ("X-Reset-Token", bob.clone()),
            ("Token", bob.clone()),
            ("Authorization", format!("Bearer {bob}")),
            ("Authorization", "Basic Ym9iOmJvYg==".to_owned()),
            ("From", "bob@example.com".to_owned()),
        ];
        for query in &queries {
            self.with_query_and_headers(encoding, query, &[]).await;
        }
        for header in &headers {
            self.with_query_and_headers(encoding, "", std::slice::from_ref(header)).await;
        }
        self.with_query_and_headers(encoding, &queries[2], &headers).await;
    }

    async fn with_query_and_headers(&self, encoding: Encoding, query: &str, headers: &[(&str, String)]) {
        let label = format!("{encoding:?} ?{query} {headers:?}");
        let (token, password) = (self.world.token("1"), new_password());
        let mut request = HttpRequest::new("POST", format!("{}?{query}", Operation::Confirm.url()));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.fields(encoding, &[("token", &token), ("password", &password)]);
        self.only_ann_changes(&request, &password, &label).await;
    }

    async fn with_json_member(&self, member: &str) {
        for is_first in [true, false] {
            let (token, password) = (self.world.token("1"), new_password());
            let own = format!(r#""token":"{token}","password":"{password}""#);
            let body = if is_first { format!("{{{member},{own}}}") } else { format!("{{{own},{member}}}") };
            self.only_ann_changes(&HttpRequest::post(Confirm).json(body), &password, member).await;
        }
    }

    /// The request succeeds, Ann has the password, and no other row has changed.
    async fn only_ann_changes(&self, request: &HttpRequest, password: &str, label: &str) {
        let reply = self.world.send(request).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"OK"}"#), "{label}");
        assert!(self.world.has_password("1", password), "{label}: Ann's password did not change");
        for (other, before) in others(self.world).iter().zip(&self.others) {
            let hashes = [other, before].map(|user| user.password_hash().map(|hash| hash.expose().to_owned()));
            assert_eq!(hashes[0], hashes[1], "{label}: the password of user {} changed", other.id());
        }
    }
}

/// A password that no earlier request set, so that each success proves itself.
fn new_password() -> String {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    format!("purple tractor {} hums at dawn", REQUESTS.fetch_add(1, Ordering::Relaxed))
}
