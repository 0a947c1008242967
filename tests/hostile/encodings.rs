//! The three encodings are equivalent, and the last of several fields with the same name wins, for any fields in any order.

use std::collections::BTreeMap;

use crate::ADDRESS_MODES;
use crate::generator::{damaged, text};
use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::GOOD_PASSWORD;
use crate::http::{Encoding, HttpRequest, Operation, World};
use crate::random::Random;

const CASES: usize = 1_500;

/// The names of the fields, and similar names.
const NAMES: &[&str] = &[
    "email",
    "token",
    "password",
    "Email",
    "TOKEN",
    "email[]",
    "email ",
    " password",
    "e-mail",
    "pass",
    "password2",
    "__proto__",
    "",
    "tok\u{e9}n",
    "\u{ff45}mail",
];

fn value(random: &mut Random, token: &str) -> String {
    let value = match random.below(7) {
        0 => text(random),
        1 | 2 => token.to_owned(),
        3 => "ann@example.com".to_owned(),
        4 => GOOD_PASSWORD.to_owned(),
        5 => damaged(random, "ann@example.com"),
        _ => damaged(random, GOOD_PASSWORD),
    };
    value.replace("--between-the-fields", "") // no part of a multipart body can contain its delimiter
}

fn fields(random: &mut Random, operation: Operation, token: &str) -> Vec<(&'static str, String)> {
    let mut fields: Vec<_> = (0..random.below(7)).map(|_| (random.pick(NAMES), value(random, token))).collect();
    if random.once_in(2) {
        let good: &[(&str, &str)] = match operation {
            Request => &[("email", "ann@example.com")],
            Validate => &[("token", token)],
            Confirm => &[("token", token), ("password", GOOD_PASSWORD)],
        };
        fields.extend(good.iter().map(|(name, value)| (*name, (*value).to_owned())));
    }
    fields
}

#[tokio::test]
async fn fields_have_the_same_meaning_in_every_encoding() {
    let mut random = Random::seeded();
    let [strict, lenient] = ADDRESS_MODES.map(World::in_process);
    let worlds = [strict.await, lenient.await];
    let ann = worlds[0].users.get("1").unwrap();
    let mut statuses = BTreeMap::<(String, u16), usize>::new();
    for case in 0..CASES {
        let world = &worlds[case % 2];
        world.users.put(ann.clone());
        let operation = Operation::ALL[random.below(3)];
        let fields = fields(&mut random, operation, &world.token("1"));
        let mut outcomes = Vec::new();
        // The reference is JSON with the last field of each name. Then all fields follow in each encoding.
        let last: BTreeMap<&str, &str> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let last: Vec<_> = last.into_iter().collect();
        let all: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (encoding, fields) in
            [(Encoding::Json, &last)].into_iter().chain(Encoding::ALL.map(|encoding| (encoding, &all)))
        {
            world.users.put(ann.clone());
            let (mails, accepted) = (world.mails().await.len(), world.reset.ledger().accepted);
            let reply = world.send(&HttpRequest::post(operation).fields(encoding, fields)).await;
            let mailed = world.mails().await.len() - mails;
            let password = last.iter().find(|(name, _)| *name == "password").map(|(_, value)| *value);
            let set = password.is_some_and(|password| world.has_password("1", password));
            assert_eq!(set, operation == Confirm && reply.status == 200, "{operation:?} {encoding:?} {fields:?}");
            outcomes.push((reply, mailed, world.reset.ledger().accepted - accepted));
        }
        for outcome in &outcomes[1..] {
            assert_eq!(*outcome, outcomes[0], "{operation:?} {fields:?}");
        }
        *statuses.entry((format!("{operation:?}"), outcomes[0].0.status)).or_default() += 1;
    }
    for (operation, status) in [
        ("Request", 200),
        ("Request", 400),
        ("Validate", 200),
        ("Validate", 400),
        ("Validate", 404),
        ("Confirm", 200),
        ("Confirm", 400),
    ] {
        // The rarest outcome occurs about twenty times, so no seed misses it by chance.
        assert!(statuses.get(&(operation.to_owned(), status)).is_some_and(|count| *count > 2), "{statuses:?}");
    }
}
